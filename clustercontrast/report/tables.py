"""Results of a run as a table, and what must be read with results.

A table keeps apart what must not be mixed: how a model was selected, what the ± is taken over,
published figures with their sources, and results on images that are not the official ones.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clustercontrast.data.provenance import Provenance
from clustercontrast.evaluation.protocols import protocol_of
from clustercontrast.files import UserError
from clustercontrast.report.forms import Table
from clustercontrast.report.published import references
from clustercontrast.report.references.rows import METRICS, Published

TRIALS = 10
"""Trials of RegDB that papers average over."""

UNTRAINED = ("chance", "untrained")
"""Rows of a report that do not depend on the seed."""

UNTESTED = "nothing is tested: no test image has a known identity"
"""Of a run on images without a test."""

RERANKING_NOTE = (
    "re-ranked by k-reciprocal encoding (Zhong et al., CVPR 2017): to be compared with figures of "
    "the same re-ranking alone, no published figure stands beside them"
)


def results_table(
    results: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    provenance: Provenance,
    title: str = "Results",
) -> Table:
    """Table of one run: its models in every mode, beside what was published of its configuration.

    Re-ranked results have a table of their own, without published figures.

    Args:
        results: one mapping per row: "model" says how the model was selected, "mode" is one of the
            protocol's, every metric that is known is {"mean", "std"} in percent; "searches" is the
            number of gallery draws, "trials" and "seeds" list what is averaged over.
        about: what the run, or the model, says of itself; nothing for weights of others.
        provenance: of the images that were searched.  What it notes stands below every form, and
            where these images, or those of the training, are not official, no published figure
            stands beside them.
        title: what was run.

    Raises:
        UserError: no result, an unknown mode, or a result without "model" or "mode".
        ValueError: some results are re-ranked and others are not.
    """
    protocol = protocol_of(provenance.dataset, about.get("rules"))
    modes = protocol.headings
    check_results(results, modes)
    is_reranked = "reranking" in results[0]
    is_compared = provenance.is_official and not is_reranked
    beside = references(about if is_compared else {}, provenance.dataset)
    rows = []
    for mode, heading in modes.items():
        rows += [
            (heading, f"{entry.name} [{number}]", *quoted_cells(entry, mode))
            for number, entry in enumerate(beside.rows, start=1)
            if mode in entry.scores
        ]
        rows += [
            (heading, result["model"], *measured_cells(result))
            for result in results
            if result["mode"] == mode
        ]
    trained = Provenance.of(about).notes() if "images" in about else []
    return Table(
        title=f"{title}, re-ranked" if is_reranked else title,
        dataset=provenance.title,
        header=("search", "model", *METRICS.values()),
        rows=tuple(rows),
        notes=(
            *dict.fromkeys([*provenance.notes(), *trained]),
            *reranking_notes(results),
            *filter(None, [protocol.note]),
            *spread_notes(results),
            *filter(None, [beside.note]),
            *source_notes(beside.rows),
        ),
        content={
            "images": provenance.json(),
            "results": [dict(r) for r in results],
            "published": published_json(beside.rows),
        },
    )


def reranking_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be read with re-ranked results."""
    return [RERANKING_NOTE] if any("reranking" in result for result in results) else []


def untested_table(provenance: Provenance, title: str) -> Table:
    """The table of a run on images without a test identity: it has no rows, and says why."""
    return Table(
        title=title,
        dataset=provenance.title,
        header=("search", "model", *METRICS.values()),
        rows=(),
        notes=(*provenance.notes(), UNTESTED),
        content={
            "images": provenance.json(),
            "results": [],
            "untested": UNTESTED,
            "published": [],
        },
    )


def check_results(results: Sequence[Mapping[str, Any]], modes: Mapping[str, str]) -> None:
    """Refuse results that would vanish from a table or break it.

    Raises:
        UserError: see :func:`results_table`.
        ValueError: some results are re-ranked and others are not.
    """
    if len({"reranking" in result for result in results}) > 1:
        raise ValueError("re-ranked results stand in a table of their own")
    if not results:
        raise UserError("no result to show: evaluate a model first")
    for result in results:
        if "model" not in result or result.get("mode") not in modes:
            raise UserError(
                f"a result needs 'model' and 'mode' ({' or '.join(modes)}), found "
                f"model {result.get('model')!r}, mode {result.get('mode')!r}: evaluate again"
            )


def measured_cells(result: Mapping[str, Any]) -> list[str]:
    """Cells of a result of ours; a single trial, or search, of one seed has no deviation."""
    single = len(result["trials"]) == 1 if "trials" in result else result.get("searches") == 1
    single = single and "seeds" not in result
    return [
        ""
        if name not in result
        else f"{result[name]['mean']:.2f}" + ("" if single else f" ± {result[name]['std']:.2f}")
        for name in METRICS
    ]


def quoted_cells(entry: Published, mode: str) -> list[str]:
    """Cells of a published result."""
    return [entry.shown(mode, metric) for metric in METRICS]


def spread_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the ± of some results is taken over, and how far they are from a paper's protocol."""
    notes, alone = [], [result for result in results if "seeds" not in result]
    draws = sorted({r["searches"] for r in alone if "trials" not in r and "searches" in r})
    if draws == [1]:
        notes.append("percent, a single search of one model")
    elif draws:
        notes.append(
            f"percent, mean ± population standard deviation over {_or(draws)} gallery draws of one "
            "model; the spread between trainings is not part of it"
        )
    for trials in sorted({tuple(r["trials"]) for r in alone if "trials" in r}):
        notes += [_trials_note(trials), *_few_trials(trials)]
    grouped = [result for result in results if "seeds" in result]
    for seeds, mean, trials in sorted({_averaged(result) for result in grouped}):
        notes += [
            "percent, mean ± sample standard deviation (n - 1) over the seeds "
            f"{', '.join(map(str, seeds))}, each trained by itself, of {mean}",
            *_few_trials(trials),
        ]
    if any(result.get("selection") in UNTRAINED for result in grouped):
        notes.append("chance and random weights are drawn alike for every seed")
    return list(dict.fromkeys(notes))


def _averaged(result: Mapping[str, Any]) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    """Seeds that a result is a mean over, what it is the mean of, and the trials in that."""
    seeds, trials, draws = tuple(result["seeds"]), result.get("trials", ()), result["searches"]
    if trials:
        several = f"means over the trials {', '.join(map(str, trials))}"
        return seeds, several if len(trials) > 1 else f"trial {trials[0]} alone", tuple(trials)
    return seeds, f"means over {draws} gallery draws" if draws > 1 else "single searches", ()


def _trials_note(trials: Sequence[int]) -> str:
    listed = ", ".join(map(str, trials))
    if len(trials) == 1:
        return f"percent, trial {listed} alone"
    return (
        f"percent, mean ± population standard deviation over the trials {listed}, each with a "
        "model of its own"
    )


def _few_trials(trials: Sequence[int]) -> list[str]:
    """That figures of some trials, if they are of trials, are not those of papers."""
    if not 0 < len(trials) < TRIALS:
        return []
    return [f"papers average over {TRIALS} trials: figures of fewer are no more than a hint"]


def source_notes(quoted: Sequence[Published]) -> list[str]:
    """Where published figures stand, by number, and what they may be compared with."""
    if not quoted:
        return []
    notes = [f"[{n}] {entry.name}: {entry.where}" for n, entry in enumerate(quoted, start=1)]
    if any(entry.selection == "test" for entry in quoted):
        notes.insert(
            0,
            "published figures belong to the model that is best on the test set, unless they name "
            "the last epoch: compare them with that row",
        )
    return notes


def published_json(
    quoted: Sequence[Published], numbers: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Published figures as JSON, with the numbers of their notes: 1, 2, ... unless given."""
    pairs = zip(numbers or itertools.count(1), quoted, strict=False)
    return [{"number": number} | asdict(entry) for number, entry in pairs]


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))
