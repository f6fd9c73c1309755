"""Which published figures stand beside a run: those of its own configuration, or none.

Figures belong to the model that is best on the test set, as the official codes select; what belongs
to a last epoch says so.  How CMAM-UDA selects is not known: its code is not public.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clustercontrast.data.provenance import Provenance
from clustercontrast.report.references import bmil, cmam, llcm, official, pclhd, posed
from clustercontrast.report.references.commands import AS_IT_IS
from clustercontrast.report.references.rows import Configuration, Published

PUBLISHED: tuple[Published, ...] = (
    *pclhd.ROWS,
    *official.ROWS,
    *cmam.ROWS,
    *bmil.ROWS,
    *posed.ROWS,
    *llcm.ROWS,
)

ORDER = ("paper", "upstream README", "upstream log")
"""Which kind of row a difference is taken to, if there are several; others come last."""

LABELS = {"all": "SVI", "some": "SSVI", "none": "USVI"}
"""Supervision, as PCLHD's Table 1 writes it: trained with all, some, no identity labels."""

LABELLED = {("supervised", "supervised"): "all", ("cmam", "finetune"): "some"}
"""Method and stage that train with identity labels of the dataset, and with how many."""


@dataclass(frozen=True)
class References:
    """Published figures beside a run.

    Attributes:
        rows: what a table shows.
        own: those of the run's own configuration: it is compared with these alone.
        note: why there are none of its own; empty if there are, or if nothing could be.
    """

    rows: tuple[Published, ...] = ()
    own: tuple[Published, ...] = ()
    note: str = ""


def references(about: Mapping[str, Any], dataset: str) -> References:
    """The published figures that belong beside a run's results.

    A run on images that are not official has none.  One whose configuration nobody has published
    stands below the figures of its method as it is, and is compared with none.

    Args:
        about: what the run says of itself.
        dataset: that was searched.
    """
    run = configuration(about)
    if run is None or not is_comparable(about, dataset):
        return References()
    own = published(dataset, run)
    usual = published(dataset, AS_IT_IS[run.method]) if run.method in AS_IT_IS else ()
    reason = _unfinished(about) or ("" if own else _difference(run))
    if not reason or not (own or usual):
        return References(own, own)
    shown = "" if own else "; the published rows are those of the method as it is"
    return References(own or usual, (), f"{reason}: no difference is shown{shown}")


def configuration(about: Mapping[str, Any]) -> Configuration | None:
    """What a run was trained with; None if it does not say so."""
    if "changes" not in about or "stage" not in about:
        return None
    stage = about["stage"]
    flags = tuple(sorted(about["changes"].get(stage, ())))
    return Configuration(about["method"], stage, about["variant"], flags)


def labels_of(about: Mapping[str, Any]) -> str:
    """What a run was trained with: a key of ``LABELS``."""
    return LABELLED.get((about["method"], about.get("stage", "")), "none")


def is_comparable(about: Mapping[str, Any], dataset: str) -> bool:
    """Whether a run was trained on the official images of the dataset that was searched."""
    images = Provenance.of(about) if "images" in about else None
    return images is not None and images.is_official and images.dataset == dataset


def published(dataset: str, run: Configuration | None = None) -> tuple[Published, ...]:
    """Published results on a dataset: of one configuration, or all."""
    return tuple(
        row for row in PUBLISHED if row.dataset == dataset and (run is None or run in row.runs)
    )


def reference(
    rows: Sequence[Published], selection: str, trials: Sequence[int] = ()
) -> Published | None:
    """The one row that a difference is taken to.

    Of those whose model was selected as ours: the one of just our trials, if there is one, then
    the paper's, the README's, a log's, what others have found.

    Args:
        rows: all of our own configuration.
        selection: how our model was selected.
        trials: of RegDB, that ours is a mean over; a row of other single trials does not count.
    """
    alike = [
        row
        for row in rows
        if row.selection == selection and (not row.trials or list(row.trials) == list(trials))
    ]
    return min(alike, key=lambda row: (not row.trials, _rank(row)), default=None)


def _rank(row: Published) -> int:
    return ORDER.index(row.kind) if row.kind in ORDER else len(ORDER)


def competitors(
    dataset: str, modes: Collection[str], beside: Sequence[Published]
) -> list[Published]:
    """What others have published, each method once, by supervision and year.

    These are methods as they are, and what is in the row of the same name: other methods with the
    same share of labels.

    Args:
        dataset: a key of ``MODES``.
        modes: searches that the table has.
        beside: rows that the table shows anyway: their methods are left out.
    """
    shown, kinds = {row.method for row in beside}, {"", *(row.row for row in beside)}
    rows = [
        row
        for row in published(dataset)
        if row.row in kinds and row.method not in shown and row.scores.keys() & {*modes}
    ]
    named: dict[tuple[str, ...], list[Published]] = {}
    for row in rows:
        named.setdefault((row.method, row.labels, row.row), []).append(row)
    found = [reference(own, "test") for own in named.values()]
    return sorted(filter(None, found), key=lambda row: ([*LABELS].index(row.labels), _year(row)))


def _year(row: Published) -> str:
    """As the source says it; what says none comes last."""
    found = re.search(r"\b(?:19|20)\d\d\b", row.where)
    return found[0] if found else "later"


def _unfinished(about: Mapping[str, Any]) -> str:
    end = about.get("ends", {}).get(about["stage"])
    if end is None or about.get("epoch", end) >= end:
        return ""
    return f"stage {about['stage']} stands at epoch {about['epoch']} of {end}"


def _difference(run: Configuration) -> str:
    """What sets a configuration apart from its method as it is."""
    usual = AS_IT_IS.get(run.method, run)
    parts = [] if run.variant == usual.variant else [f"--variant {run.variant}"]
    if run.stage != usual.stage:
        parts.append(f"stage {run.stage} in place of {usual.stage}")
    return f"no published configuration ({', '.join([*parts, *typed(run.flags)])})"


def typed(flags: Sequence[str]) -> list[str]:
    """Flags as one would type them: the values of a flag's stages behind each other."""
    groups = itertools.groupby(flags, key=lambda words: words.partition(" ")[0])
    return [
        " ".join([name, *(words.partition(" ")[2] for words in own)]).rstrip()
        for name, own in groups
    ]
