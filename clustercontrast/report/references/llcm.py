"""LLCM: figures of the straight search, and those of the official script's swapped one.

Asked for visible to infrared, the official script searches the drawn infrared images among all
visible ones (LLCM-1).  Its README's figures of that block belong to that mode and to no other.
"""

from clustercontrast.report.references.commands import ADCA, MMM, PGM, POSED, SDCL
from clustercontrast.report.references.rows import TESTED, TESTED_AGAIN, Published, scores

BY_POSED = "as quoted in PoSeD's paper"

FIGURES = (  # method, what was published, where, what it belongs to, cells
    ("ADCA", TESTED, BY_POSED, (ADCA,), "42.5/46.9 38.4/44.4"),
    ("ADCA", TESTED_AGAIN, "as quoted in another paper", (ADCA,), "40.3/45.7 35.5/42.3"),
    ("PGM", TESTED, BY_POSED, (PGM,), "44.9/49.0 39.4/45.3"),
    ("SDCL", TESTED, "as quoted in the literature", (SDCL,), "46.9/52.4 43.4/48.2"),
    (
        "MMM", TESTED, "as quoted in the literature", (MMM, MMM.but(variant="paper")),
        "49.72/55.10 44.86/50.32",
    ),
    ("CEIL", "upstream README", "README of CEIL's official code", (), "51.55/55.14 44.39/49.95"),
    ("PoSeD", "paper", "PoSeD's paper", (POSED,), "52.2/56.1 45.3/51.2"),
)  # fmt: skip

ROWS = (
    *(
        Published(method, "llcm", kind, source, scores("llcm", cells), runs)
        for method, kind, source, runs, cells in FIGURES
    ),
    Published(
        "DEEN",
        "llcm",
        "paper",
        "DEEN (CVPR 2023), supervised",
        scores("llcm", "62.5/65.8 54.9/62.9"),
        labels="all",
    ),
    Published(
        "DEEN",
        "llcm",
        "upstream README",
        "README of DEEN's official code, second block: roles swapped",
        scores("llcm", "- - 69.21/55.52"),
        labels="all",
    ),
)
