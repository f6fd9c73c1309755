"""Where the rows of a comparison stand: their section, their words in a paper, their rivals."""

import re
from collections.abc import Iterable, Sequence

from clustercontrast.data.provenance import TITLES
from clustercontrast.report.forms import Place
from clustercontrast.report.published import labels_of
from clustercontrast.report.references.commands import AS_IT_IS
from clustercontrast.report.references.rows import Published
from clustercontrast.report.tables import TRIALS, spread_notes
from clustercontrast.report.tested import Tested

OFFICIAL = "official images"
SECTIONS = {
    "all": "SVI: with all identity labels",
    "some": "SSVI: with some identity labels",
    "none": "USVI: without identity labels",
}
"""Headings above rows in a paper, by what was trained with."""


def of_published(entry: Published, says: Iterable[str]) -> Place:
    """Of a published row, whose words in a paper are the method and what is said of it."""
    return Place(
        section=SECTIONS[entry.labels],
        words=(entry.method, ", ".join(filter(None, says))),
        alike=f"{entry.labels}, {entry.selection}, {OFFICIAL}{_of_trials(entry.trials)}",
        remark=entry.where,
        dataset=TITLES[entry.dataset],
    )


def of_model(run: Tested, selection: str, words: tuple[str, ...] = ()) -> Place:
    """Of a run's model: it is ranked with those that were selected alike, on the same images."""
    images = OFFICIAL if run.images.is_official else run.images.digest
    shown = [row for row in run.results if row["selection"] == selection]
    return Place(
        section=SECTIONS[labels_of(run.about)],
        words=words,
        alike=f"{labels_of(run.about)}, {selection}, {images}{_few(run)}",
        remark="; ".join([*run.images.notes(), *spread_notes(shown)]),
        dataset=run.images.title,
    )


def _of_trials(trials: Sequence[int]) -> str:
    """Which trials a figure is of, where they are fewer than papers average over."""
    return f", trials {', '.join(map(str, trials))}" if 0 < len(trials) < TRIALS else ""


def _few(run: Tested) -> str:
    """What a figure is a mean over, where it is less than papers average over.

    One of several seeds is ranked with its like, and not with their mean: one of them is best by
    chance.
    """
    draws = {row["searches"] for row in run.results if row["searches"] < run.protocol.draws}
    few = "".join(f", {number} draws" for number in sorted(draws))
    is_one = "/" in run.about["name"] and not run.seeds  # NAME/seedN
    return f"{_of_trials(run.trials)}{few}" + (", one of several seeds" if is_one else "")


def of_difference(run: Tested, words: tuple[str, ...] = ()) -> Place:
    """Of a difference, which is ranked with nothing."""
    return Place(section=SECTIONS[labels_of(run.about)], words=words, dataset=run.images.title)


# --- words as short as the column of a paper needs them; the notes say all ---


def short_name(run: Tested) -> str:
    """The name of a run as a paper needs it: without the stage, if it is the method's last."""
    usual = AS_IT_IS.get(run.about["method"])
    is_last = usual is not None and usual.stage == run.about.get("stage")
    return run.name.removesuffix(f"/{run.about['stage']}") if is_last else run.name


def short_kind(entry: Published) -> str:
    """What was published."""
    return entry.kind.removeprefix("upstream ").removesuffix(" by others")


def short_venue(venue: str) -> str:
    """As papers write it in a column: MM'22 for ACM MM 2022."""
    return re.sub(r"(?:ACM )?(\S+) 20(\d\d)$", r"\1'\2", venue)
