"""PoSeD's paper: its results on SYSU-MM01 and RegDB, and its ablations.

LLCM stands with that dataset's other figures.  Every row of Table 3 has the modality's own
contrast.  Where the copy of the paper that was read has lost one of two numbers, there is no cell.
"""

from clustercontrast.report.references.commands import POSED
from clustercontrast.report.references.rows import paper

PAPER = "PoSeD (ACM MM 2026)"
WHOLE = {"sysu": "66.0/62.6 72.7/76.8", "regdb": "95.3/89.6 94.9/89.2"}
WITH_BMIL = {"sysu": "67.5/64.7 75.4/79.5", "regdb": "95.3/89.8 94.7/89.3"}
"""How PoSeD is combined with BMIL the paper does not say."""

ABLATIONS = {  # row: table, flags, cells
    "M1": ("Table 3", ("--cross none", "--distil none"), {"sysu": "39.4/38.7 47.6/56.4"}),
    "M2": (
        "Table 3",
        ("--cross contrast", "--distil none"),
        {"sysu": "59.0/56.1 66.4/70.9", "regdb": "84.8/79.6"},
    ),
    "M3": ("Table 3", ("--distil none",), {"sysu": "60.1/57.6 67.5/72.6"}),
    "M4": ("Table 3", ("--cross contrast",), {"sysu": "59.4/57.2 65.6/71.4"}),
    "M5": ("Table 3", ("--cross none",), {"sysu": "65.4/62.3 72.4/76.8", "regdb": "94.7/89.3"}),
    "separate": ("Table 4", ("--distil separate",), {"sysu": "63.4/61.4 72.1/76.9"}),
    "no fusion": ("Table 4", ("--fusion unified=0.0",), {"sysu": "65.0/61.8 72.6/76.8"}),
}

ROWS = (
    *paper("PoSeD", PAPER, WHOLE, (POSED,)),
    *paper("PoSeD+BMIL", PAPER, WITH_BMIL),
    *(
        row
        for label, (table, flags, cells) in ABLATIONS.items()
        for row in paper("PoSeD", f"{PAPER}, {table}", cells, (POSED.but(*flags),), label)
    ),
)
