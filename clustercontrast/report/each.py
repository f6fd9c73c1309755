"""A run row by row, as READMEs print it: every gallery draw, or every trial, and their average.

Rows that were published of the run's own configuration stand below ours of the same number: a draw
of one number is the same gallery, a trial the same split of the identities.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError
from clustercontrast.report.forms import Table
from clustercontrast.report.published import reference
from clustercontrast.report.references.rows import DRAWS, MEANS_OVER, METRICS, TRIALS
from clustercontrast.report.tables import (
    published_json,
    reranking_notes,
    source_notes,
)
from clustercontrast.report.tested import Tested, check_tested, gather, reranked_runs

Scores = Mapping[str, Mapping[str, float]]
OURS = "this run"
NOTES = {
    DRAWS: "gallery draws of one model; a draw of one number is the same gallery everywhere",
    TRIALS: "trials, each with a model of its own; a trial is the same split everywhere",
}


def each_tables(
    folders: Sequence[Path], selections: Sequence[str], rerank: bool = False
) -> list[Table]:
    """One table per run and model.

    Args:
        folders: of runs.
        selections: models shown, of those that a run has: "last", "test", "cycle".
        rerank: show re-ranked results, too, in tables of their own below the others.

    Raises:
        UserError: a folder has no tested run, its report has means alone, its dataset is searched
            only once, or it has not the re-ranked results asked for.
    """
    runs = [gather(folder) for folder in folders]
    for run in runs:
        check_tested(run)
    runs += reranked_runs(folders) if rerank else []
    return [
        _table(run, selection)
        for run in runs
        for selection in selections
        if run.model_row(selection)
    ]


def _table(run: Tested, selection: str) -> Table:
    dataset = run.about["dataset"]
    if run.protocol.draws == 1 and not run.trials:
        raise UserError(
            f"{run.about['method']} {run.name}: {run.images.title} is searched once by one model: "
            "it has no draws or trials to show one by one"
        )
    of, usual = MEANS_OVER[dataset]
    modes, ours = PROTOCOLS[dataset].modes, run.each(selection)
    entry = reference([own for own in run.beside.own if own.each], selection, run.trials)
    parts = {OURS: (ours, _means(run, selection))}
    if entry:
        parts[f"{entry.kind} [1]"] = (entry.each, entry.scores)
    model, *_ = run.model_row(selection)
    return Table(
        title=f"{run.about['method']} {run.name}, {model}",
        dataset=run.images.title,
        header=(of.removesuffix("s").split()[-1], "of", *METRICS.values(), *METRICS.values()),
        rows=tuple(_rows(parts, list(modes), len(usual))),
        notes=(
            *run.images.notes(),
            *reranking_notes(run.results),
            *filter(None, [run.protocol.note]),
            f"percent, {NOTES[of]}",
            *filter(None, [run.beside.note]),
            *source_notes([entry] if entry else []),
        ),
        content={
            "about": dict(run.about),
            "selection": selection,
            "each": ours,
            "published": published_json([entry] if entry else []),
        },
        groups=tuple(modes.values()),
    )


def _means(run: Tested, selection: str) -> dict[str, dict[str, float]]:
    rows = {mode: run.row(selection, mode) for mode in PROTOCOLS[run.about["dataset"]].modes}
    return {mode: {m: row[m]["mean"] for m in METRICS} for mode, row in rows.items() if row}


def _rows(
    parts: Mapping[str, tuple[Mapping[int, Scores], Scores]], modes: Sequence[str], usual: int
) -> Iterator[tuple[str, ...]]:
    """Number by number, ours above what was published; then the averages.

    Args:
        parts: whose -> scores by number, and their average.
        modes: in the order of the columns.
        usual: how many draws or trials a paper averages over.
    """
    for number in sorted({number for each, _ in parts.values() for number in each}):
        for whose, (each, _) in parts.items():
            if number in each:
                yield (str(number), whose, *_cells(each[number], modes))
    for whose, (each, average) in parts.items():
        over = "" if len(each) == usual else f" of {len(each)}"
        yield (f"Average{over}", whose, *_cells(average, modes))


def _cells(scores: Scores, modes: Sequence[str]) -> list[str]:
    known = [scores.get(mode, {}) for mode in modes]
    return [f"{own[name]:.2f}" if name in own else "" for own in known for name in METRICS]
