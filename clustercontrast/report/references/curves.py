"""Published curves: what an epoch of a method as it is has looked like in its authors' hands."""

from collections.abc import Mapping
from dataclasses import dataclass

from clustercontrast.report.references import curve_tables as tables
from clustercontrast.report.references.commands import BMIL, PGM, RPNR, SDCL
from clustercontrast.report.references.official import OWN_WEIGHTS
from clustercontrast.report.references.rows import Configuration

KEYS = {
    "infrared": "clusters.infrared.clusters",
    "visible": "clusters.visible.clusters",
    "joint": "clusters.joint_clusters.clusters",
    "total": "loss.total",
    "L_I": "loss.infrared",
    "L_V": "loss.visible",
    "L_cross": "loss.cross",
    "hybrid": "loss.hybrid",
    "rank1": "scores.rank1",
    "mAP": "scores.mAP",
    "mINP": "scores.mINP",
}
"""Headings of the tables, and where an epoch's record in metrics.jsonl has the same."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The epochs of one published training of a stage.

    Attributes:
        dataset: a key of ``MODES``.
        source: where the figures stand.
        runs: command lines, up to this stage, that it belongs to.
        epochs: number -> dotted key of an epoch's record -> figure.
        trial: of RegDB; None where there are none.
        is_first: epoch 0 clusters features of weights that everybody has.
    """

    dataset: str
    source: str
    runs: tuple[Configuration, ...]
    epochs: Mapping[int, Mapping[str, float]]
    trial: int | None = None
    is_first: bool = False


def read(table: str) -> dict[int, dict[str, float]]:
    """A table as epoch -> key -> figure; dashes are left out."""
    (_, *names), *rows = (line.split() for line in table.strip().splitlines())
    return {
        int(epoch): {KEYS[n]: float(c) for n, c in zip(names, cells, strict=True) if c != "-"}
        for epoch, *cells in rows
    }


def _clusters_at_first(table: str) -> dict[int, dict[str, float]]:
    """The clusters of epoch 0 alone."""
    first = read(table)[0]
    return {0: {key: own for key, own in first.items() if key.startswith("clusters.")}}


ADCA_INTRA = Configuration("adca", "intra", "upstream")
PCLHD_INTRA = Configuration("pclhd", "intra", "upstream")
PGM_INTRA = Configuration("pgm", "intra", "v2023")
SDCL_INTRA = Configuration("sdcl", "intra", "upstream")
BMIL_INTRA = Configuration("bmil", "intra", "upstream")
SAME_FEATURES = (ADCA_INTRA, PCLHD_INTRA)
"""Stages whose features, before they have learnt anything, are those of PGM's first stage."""

CURVES = (
    Curve("sysu", "PGM's log", (PGM_INTRA,), read(tables.PGM_SYSU_INTRA), is_first=True),
    Curve("sysu", "PGM's log", (PGM,), read(tables.PGM_SYSU_CROSS)),
    Curve("regdb", "PGM's log", (PGM_INTRA,), read(tables.PGM_REGDB_INTRA), 5, True),
    Curve("regdb", "PGM's log", (PGM,), read(tables.PGM_REGDB_CROSS), 5),
    Curve(
        "sysu", "PGM's log", SAME_FEATURES, _clusters_at_first(tables.PGM_SYSU_INTRA), is_first=True
    ),
    Curve("regdb", "PGM's log", SAME_FEATURES, _clusters_at_first(tables.PGM_REGDB_INTRA), 5, True),
    Curve("sysu", "RPNR's log", (RPNR, OWN_WEIGHTS), read(tables.RPNR_SYSU_ROBUST)),
    Curve("sysu", "SDCL's log", (SDCL_INTRA,), read(tables.SDCL_SYSU_INTRA), is_first=True),
    Curve("sysu", "SDCL's log", (SDCL,), read(tables.SDCL_SYSU_AGREED)),
    Curve("regdb", "SDCL's log", (SDCL_INTRA,), read(tables.SDCL_REGDB_INTRA), 1, True),
    Curve("regdb", "SDCL's log", (SDCL,), read(tables.SDCL_REGDB_AGREED), 1),
    Curve("sysu", "BMIL's log", (BMIL_INTRA,), read(tables.BMIL_SYSU_INTRA)),
    Curve("sysu", "BMIL's log", (BMIL,), read(tables.BMIL_SYSU_INVARIANCE)),
)
