"""BMIL: its paper's figures, as others quote them, its ablation, and its released logs.

In the ablation, SC is the half of the visible images, BMGC the modality-aware distance, MIRL the
split into proxies.  How M2 to M4 made the one prototype of a joint cluster is not released.
"""

from clustercontrast.report.references.commands import BMIL
from clustercontrast.report.references.row_by_row import each_of
from clustercontrast.report.references.rows import Configuration, Published, paper, scores

PAPER = "BMIL (AAAI 2026)"
QUOTED = f"{PAPER}, as quoted in PoSeD's paper"
TABLE = f"{PAPER}, ablation, as quoted in the literature"
LOG = "training log published with the official code of BMIL"
FIRST = Configuration("bmil", "intra", "upstream")
WHOLE = "--visible-share intra=1.0", "--visible-share invariance=1.0"
PLAIN, ONE_ROW = "--joint-distance plain", "--joint-memory hybrid"

ABLATION = {  # row: what it belongs to, cells of SYSU-MM01
    "M1": (FIRST.but(*WHOLE[:1]), "39.5/38.9 47.1/55.5"),
    "M2": (BMIL.but(*WHOLE, PLAIN, ONE_ROW), "54.9/51.5 62.9/68.9"),
    "M3": (BMIL.but(*WHOLE, ONE_ROW), "64.9/60.0 68.0/73.5"),
    "M4": (BMIL.but(ONE_ROW), "64.8/61.0 73.9/77.4"),
    "M5": (BMIL.but(PLAIN), "61.1/58.3 72.1/76.1"),
}
LOGS = (  # where, what it belongs to, row, cells
    (
        f"{LOG}, stage 2, best epoch by test Rank-1 (48)", BMIL, "",
        "67.54/88.51/94.24/97.91/63.58/48.48 75.19/-/-/-/78.62/74.42",
    ),
    (
        f"{LOG}, stage 1, best epoch by test Rank-1 (46)", FIRST, "stage 1",
        "41.43/41.09 49.84/58.41",
    ),
)  # fmt: skip

ROWS = (
    *paper(
        "BMIL", QUOTED, {"sysu": "67.1/63.1 75.0/78.6", "regdb": "94.3/89.1 93.6/88.5"}, (BMIL,)
    ),
    *(
        row
        for label, (run, cells) in ABLATION.items()
        for row in paper("BMIL", TABLE, {"sysu": cells}, (run,), label)
    ),
    *(
        Published(
            "BMIL",
            "sysu",
            "upstream log",
            source,
            scores("sysu", cells),
            (run,),
            row,
            each={} if row else each_of("BMIL", "sysu"),
        )
        for source, run, row, cells in LOGS
    ),
)
