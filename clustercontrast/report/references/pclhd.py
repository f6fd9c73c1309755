"""PCLHD's paper: its comparison with other methods, and its ablations.

The paper's figures of PCLHD belong to its released code, which is the method as it is, and to the
paper's equations (``--variant paper``), in which Table 2 adds components to the contrast with
centroids, clusters being matched in the second half as PGM has it.
"""

from collections.abc import Iterator, Sequence

from clustercontrast.report.references.commands import ADCA, GUR, MMM, PCLHD, PGM
from clustercontrast.report.references.rows import Configuration, Published, paper, scores

TABLE_1 = "PCLHD (NeurIPS 2024), Table 1"
TABLE_2 = "PCLHD (NeurIPS 2024), Table 2"
RANK_10 = "Rank-10: as quoted in CMAM-UDA (IEEE TCSVT 2024), Table II"
OTHERWISE = {
    ("PGM", "regdb"): "mAP visible to infrared: 65.5 in CMAM-UDA, Table II",
    ("H2H", "regdb"): "infrared to visible: there alone",
    **dict.fromkeys(
        (("PMWGCN", "sysu"), ("PMWGCN", "regdb")),
        "as printed; the two datasets may have been exchanged",
    ),
}
"""What another paper quotes differently or alone, and what may be a misprint."""
EQUATIONS = PCLHD.but(variant="paper")
AT_ONCE = EQUATIONS.but(
    "--epochs progressive=100", "--match-from progressive=50", "--start-from pretrained"
)
"""One stage with all its losses in place of two."""
ADDED = AT_ONCE.but("--centroid-weight progressive=1.0", "--cross-hard-weight progressive=0.0")
"""The same with hard prototypes beside the centroids."""

QUOTED = {  # method, venue: cells of SYSU-MM01 and RegDB
    "all": {
        "DDAG, ECCV 2020": ("54.8/53.0 61.0/68.0", "69.4/63.5 68.1/61.8"),
        "AGW, TPAMI 2021": ("47.5/47.7 54.2/63.0", "70.1/66.4 70.5/65.9"),
        "NFS, CVPR 2021": ("56.9/55.5 62.8/69.8", "80.5/72.1 78.0/69.8"),
        "LbA, ICCV 2021": ("55.4/54.1 58.5/66.3", "74.2/67.6 72.4/65.5"),
        "CAJ, ICCV 2021": ("69.9/66.9 76.3/80.4", "85.0/79.1 84.8/77.8"),
        "MPANet, CVPR 2021": ("70.6/68.2 76.7/81.0", "83.7/80.9 82.8/80.7"),
        "DART, CVPR 2022": ("68.7/66.3 72.5/78.2", "83.6/75.7 82.0/73.8"),
        "FMCNet, CVPR 2022": ("66.3/62.5 68.2/74.1", "89.1/84.4 88.4/83.9"),
        "MAUM, CVPR 2022": ("71.7/68.8 77.0/81.9", "87.9/85.1 87.0/84.3"),
        "MID, AAAI 2022": ("60.3/59.4 64.9/70.1", "87.5/84.9 84.3/81.4"),
        "LUPI, ECCV 2022": ("71.1/67.6 82.4/82.7", "88.0/82.7 86.8/81.3"),
        "DEEN, CVPR 2023": ("74.7/71.8 80.3/83.3", "91.1/85.1 89.5/83.4"),
        "SGIEL, CVPR 2023": ("77.1/72.3 82.1/83.0", "92.2/86.6 91.1/85.2"),
        "PartMix, CVPR 2023": ("77.8/74.6 81.5/84.4", "85.7/82.3 84.9/82.5"),
        "CAL, ICCV 2023": ("74.7/71.7 79.7/83.7", "94.5/88.7 93.6/87.6"),
        "MUN, ICCV 2023": ("76.2/73.8 79.4/82.1", "95.2/87.2 91.9/85.0"),
        "SAAI, ICCV 2023": ("75.9/77.0 83.2/88.0", "91.1/91.5 92.1/92.0"),
        "FDNM, arXiv 2024": ("77.8/75.1 87.3/89.1", "95.5/90.0 94.0/88.7"),
        "PMWGCN, TIFS 2024": ("90.6/84.5 88.8/81.6", "66.8/64.9 72.6/76.2"),
        "LCNL, IJCV 2024": ("70.2/68.0 76.2/80.3", "85.6/78.7 84.0/76.9"),
    },
    "some": {
        "OTLA, ECCV 2022": ("48.2/43.9 47.4/56.8", "49.9/41.8 49.6/42.8"),
        "TAA, TIP 2023": ("48.8/42.3 50.1/56.0", "62.2/56.0 63.8/56.5"),
        "DPIS, ICCV 2023": ("58.4/55.6 63.0/70.0", "62.3/53.2 61.5/52.7"),
    },
    "none": {
        "H2H, TIP 2021": ("30.2/65.9/29.4 -", "23.8/45.3/18.9 14.1/31.9/12.3"),
        "OTLA, ECCV 2022": ("29.9/27.1 29.8/38.8", "32.9/29.7 32.1/28.6"),
        "NGLR, ACM MM 2023": ("50.4/47.4 53.5/61.7", "85.6/76.7 82.9/75.0"),
        "MBCCM, ACM MM 2023": ("53.1/48.2 55.2/62.0", "83.8/77.9 82.8/76.7"),
        "CCLNet, ACM MM 2023": ("54.0/50.2 56.7/65.1", "69.9/65.5 70.2/66.7"),
    },
}
"""Competitors of Table 1 that this repository does not hold, by the labels they train with."""

KNOWN = {  # method, venue: what it belongs to, cells of SYSU-MM01 and RegDB
    "ADCA, ACM MM 2022": (
        (ADCA,),
        "45.5/85.3/42.7 50.6/89.7/59.1",
        "67.2/82.0/64.1 68.5/83.2/63.8",
    ),
    "PGM, CVPR 2023": ((PGM,), "57.3/92.5/51.8 56.2/90.2/62.7", "69.5/65.4 69.9/65.2"),
    "MMM, ECCV 2024": (
        (MMM, MMM.but(variant="paper")),
        "61.6/57.9 64.4/70.4",
        "89.7/80.5 85.8/77.0",
    ),
}
"""Those that it holds."""

WITHOUT_CAMERAS = GUR.but(variant="no-cameras")
GUR_STAR = {  # dataset: cells, what they belong to
    "sysu": ("61.0/57.0 64.2/69.5", (WITHOUT_CAMERAS,)),
    "regdb": ("73.9/70.2 75.0/69.9", (GUR, WITHOUT_CAMERAS)),
}
"""GUR*, GUR without camera labels; on RegDB the released code reads none anyway."""

OWN = {  # method: what it belongs to, cells of SYSU-MM01 and RegDB
    "PCLHD": ((PCLHD, EQUATIONS), "64.4/58.7 69.5/74.4", "84.3/80.7 82.7/78.4"),
    "PCLHD+MMM": (
        tuple(own.but("--association mmm") for own in (PCLHD, EQUATIONS)),
        "65.9/61.8 70.3/74.9",
        "89.6/83.7 87.0/80.9",
    ),
}

ABLATIONS = {  # row: what it belongs to, cells of SYSU-MM01; the last row is PCLHD's of Table 1
    "+ DPCL": (AT_ONCE.but("--no-hpcl"), "59.1/54.4 63.6/68.8"),
    "+ HPCL": (ADDED.but("--no-dpcl"), "62.1/56.8 65.2/69.8"),
    "+ HPCL + DPCL": (ADDED, "63.7/57.8 67.0/72.6"),
}


def _quoted(
    name: str, runs: Sequence[Configuration], labels: str, *cells: str
) -> Iterator[Published]:
    """A competitor's rows, and what Rank-10 is from where there is one."""
    method, _, venue = name.partition(", ")
    for dataset, text in zip(("sysu", "regdb"), cells, strict=True):
        rank_10 = RANK_10 if len(text.split()[0].split("/")) > 2 else None
        also = filter(None, (rank_10, OTHERWISE.get((method, dataset))))
        source = "; ".join([f"as quoted in {TABLE_1}", *also])
        yield from paper(method, source, {dataset: text}, runs, labels=labels, venue=venue)


ROWS = (
    *(
        row
        for labels, methods in QUOTED.items()
        for name, cells in methods.items()
        for row in _quoted(name, (), labels, *cells)
    ),
    *(row for name, (runs, *cells) in KNOWN.items() for row in _quoted(name, runs, "none", *cells)),
    *(
        row
        for dataset, (cells, runs) in GUR_STAR.items()
        for row in paper(
            "GUR*", f"as quoted in {TABLE_1}", {dataset: cells}, runs, venue="ICCV 2023"
        )
    ),
    *(
        row
        for name, (runs, sysu, regdb) in OWN.items()
        for row in paper(name, TABLE_1, {"sysu": sysu, "regdb": regdb}, runs)
    ),
    *(
        row
        for label, (run, cells) in ABLATIONS.items()
        for row in paper("PCLHD", TABLE_2, {"sysu": cells}, (run,), label)
    ),
    Published(
        "PGM",
        "sysu",
        "retrained by others",
        f"{TABLE_2}, row Baseline: PGM as retrained by its authors",
        scores("sysu", "56.3/51.7 60.5/66.2"),
        (PGM,),
    ),
)
