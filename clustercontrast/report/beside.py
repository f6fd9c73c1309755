"""A training beside the curves that its authors publish, while it runs and in its pictures.

The rule for which runs are compared is that of tables (:mod:`clustercontrast.report.published`):
official images, the flags of the published training, and on RegDB its trial.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from clustercontrast.report.figures import flattened
from clustercontrast.report.published import configuration, is_comparable
from clustercontrast.report.references.curves import CURVES, Curve

SHARE = 0.1
"""Clusters and losses agree within this share of the published figure."""
FIRST_SHARE = 0.02
"""Clusters of epoch 0 do, where nothing has been learnt: two published logs lie 1 % apart."""
DIGIT = 0.005
"""Half of a published loss's last digit, which is added."""
POINTS = 2.0
"""Scores agree within these points: up to 2 are normal between trainings, PGM's author says."""

GROUPS = {"clusters": "clusters", "loss": "losses", "scores": "scores"}


def curve_beside(about: Mapping[str, Any], stage: str) -> Curve | None:
    """The published curve of a run's stage; None if there is none, or the run is another."""
    run = configuration({**about, "stage": stage})
    if run is None or not is_comparable(about, about["dataset"]):
        return None
    return next(
        (
            own
            for own in CURVES
            if own.dataset == about["dataset"]
            and run in own.runs
            and own.trial in (None, about["trial"])
        ),
        None,
    )


def figures_beside(
    about: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, float]]:
    """Published figures of every epoch of a run, under dotted keys; empty where none is known.

    Args:
        about: what the run says of itself.
        epochs: records of :func:`clustercontrast.report.figures.read_epochs`.
    """
    curves = {stage: curve_beside(about, stage) for stage in {own["stage"] for own in epochs}}
    return [
        curve.epochs.get(own["epoch"], {}) if (curve := curves[own["stage"]]) else {}
        for own in epochs
    ]


def line_beside(about: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """What the log says of an epoch beside the published one; "" if there is none.

    Args:
        about: what the run says of itself.
        record: of the epoch, as it goes to metrics.jsonl.
    """
    curve = curve_beside(about, record["stage"])
    figures = curve.epochs.get(record["epoch"], {}) if curve else {}
    own = dict(flattened(record))
    said = [
        _group(kind, own, {k: v for k, v in figures.items() if k in own}, curve, record["epoch"])
        for kind in GROUPS
    ]
    if not any(said):
        return ""
    title = f"{record['stage']} epoch {record['epoch']}, ours / {curve.source}"
    return f"{title}: {'; '.join(filter(None, said))}"


def _group(
    kind: str,
    own: Mapping[str, float],
    figures: Mapping[str, float],
    curve: Curve,
    epoch: int,
) -> str:
    """Figures of one kind, ours and the published ones, and whether they agree."""
    keys = [key for key in figures if key.startswith(f"{kind}.")]
    if not keys:
        return ""
    first = curve.is_first and epoch == 0
    shown = ", ".join(
        f"{_name(k)} {_shown(kind, own[k])} / {_shown(kind, figures[k])}" for k in keys
    )
    apart = [_apart(key, own[key], figures[key], first) for key in keys]
    verdict = f"differs ({', '.join(filter(None, apart))})" if any(apart) else "agrees"
    return f"{GROUPS[kind]} {shown}: {verdict}"


def _apart(key: str, ours: float, published: float, first: bool) -> str:
    """How far a figure is off; "" if it agrees."""
    difference, name = ours - published, _name(key)
    if key.startswith("scores."):
        return f"{name} {difference:+.1f}" if abs(difference) > POINTS else ""
    is_count = key.startswith("clusters.")
    share = FIRST_SHARE if first and is_count else SHARE
    allowed = share * published + (0 if is_count else DIGIT)
    return f"{name} {100 * difference / published:+.0f} %" if abs(difference) > allowed else ""


def _name(key: str) -> str:
    """Such as "visible" of "clusters.visible.clusters", "total" of "loss.total"."""
    return key.split(".")[1].removesuffix("_clusters")


def _shown(kind: str, value: float) -> str:
    return f"{value:.0f}" if kind == "clusters" else f"{value:.2f}"
