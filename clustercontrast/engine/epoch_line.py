"""What the log says of an epoch in one line: labels, scores, and the time that is left."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

LATEST = 10
"""Finished epochs whose mean says how long the next ones take."""
QUALITY = {"outliers": (100, "{:.0f}", "outliers {} %"), "ari": (1, "{:.2f}", "ARI {}"),
           "nmi": (1, "{:.2f}", "NMI {}")}  # fmt: skip
"""Facts of a list of labels: scale, form of one, and of all beside one another."""


def epoch_line(
    title: str,
    loss: Mapping[str, float],
    facts: Mapping[str, Any],
    scores: Mapping[str, float],
    best: str,
    times: Sequence[str],
) -> str:
    """The line of one epoch; what is not known is left out.

    Args:
        title: stage and epoch.
        loss: means of the terms; empty where nothing was trained.
        facts: of the labels, those of a list of images under its name.
        scores: of the evaluation; mINP is left to metrics.jsonl.
        best: the best score so far, in words.
        times: that the epoch took, and that are left, in words.
    """
    parts = (
        f"{title}: loss {loss['total']:.3f}" if loss else f"{title}:",
        ", ".join(label_facts(facts)),
        ", ".join(f"{name} {value:.2f}" for name, value in scores.items() if name != "mINP"),
        best,
        *times,
    )
    return "  ".join(filter(None, parts))


def label_facts(facts: Mapping[str, Any]) -> list[str]:
    """Clusters, outliers, ARI and NMI, in the order of the names that stand before them.

    Then the share of joint clusters with both modalities, and of the teacher's mass on the other
    modality that lies on the right person.
    """
    graded = {
        name.removesuffix("_clusters"): own
        for name, own in facts.items()
        if isinstance(own, Mapping) and "clusters" in own and not name.startswith("camera_")
    }
    if not graded:
        return []
    counts = "/".join(str(own["clusters"]) for own in graded.values())
    found = [f"{'/'.join(graded)} {counts} clusters"]
    for key, (scale, form, words) in QUALITY.items():
        if all(key in own for own in graded.values()):
            values = (form.format(scale * own[key]) for own in graded.values())
            found.append(words.format("/".join(values)))
    if "association_rate" in facts:
        found.append(f"associated {100 * facts['association_rate']:.0f} %")
    if "right" in facts.get("teacher", ()):
        found.append(f"teacher right {100 * facts['teacher']['right']:.0f} %")
    return found


def time_split(seconds: Mapping[str, float]) -> str:
    """Seconds of an epoch, and the shares that are worth naming, largest first."""
    total = seconds["total"]
    shares = {n: 100 * s / max(total, 1e-9) for n, s in seconds.items() if n != "total"}
    named = sorted(shares.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {share:.0f} %" for name, share in named if share >= 1)
    return f"{total:.0f} s ({shown})"


def time_left(epochs: int, ahead: Mapping[str, int], took: Mapping[str, Sequence[float]]) -> str:
    """What is left of a stage and of the run, as far as finished epochs tell.

    A stage of which no epoch has finished, here or in another trial or seed of the run, is named
    without a time.

    Args:
        epochs: left of the stage at hand, the first one in ``took``.
        ahead: later stage -> its epochs.
        took: stage -> seconds of its finished epochs, in order; the stage at hand comes first.
    """
    stage = next(iter(took))
    own, later = epochs * _mean(took[stage]), {n: took.get(n) for n in ahead}
    said = [f"left {duration(own)}"] if epochs else []
    if ahead and all(later.values()):
        run = own + sum(count * _mean(later[name]) for name, count in ahead.items())
        said.append(f"{'' if said else 'left '}run {duration(run)}")
    elif ahead:
        said.append(f"then {', '.join(ahead)}")
    return ", ".join(said)


def _mean(seconds: Sequence[float]) -> float:
    """Mean of the latest epochs: the first one may have compiled, and later ones be evaluated."""
    return fmean(seconds[-LATEST:])


def duration(seconds: float) -> str:
    """Such as "50 s", "25 min" and "3 h 10 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if seconds < 5400:
        return f"{60 * hours + minutes} min"
    return f"{hours} h {minutes} min" if hours < 24 and minutes else f"{hours} h"
