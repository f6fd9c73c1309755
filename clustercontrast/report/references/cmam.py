"""CMAM-UDA's paper: its comparison with other methods, its ablations, labelled identities.

Table III's components are read as its discussion has them: one at a time is taken from the full
method.  The full method stands once, though Tables III, IV, V and VI repeat it.
"""

from collections.abc import Iterator, Mapping

from clustercontrast.report.references.commands import CMAM
from clustercontrast.report.references.rows import Configuration, Published, paper

PAPER = "CMAM-UDA (IEEE TCSVT 2024)"
TABLE_2, TABLE_3, TABLE_4 = (f"{PAPER}, {table}" for table in ("Table II", "Table III", "Table IV"))
TABLE_5, TABLE_6 = (f"{PAPER}, {table}" for table in ("Table V", "Table VI"))
MUTUAL = CMAM.but("--pair rgb-rgb", "--relation-mode symmetric")
"""Mutual learning of two networks on visible images (DML)."""

QUOTED = {  # method, venue: cells of SYSU-MM01, RegDB and SYSU-MM02
    "HOG, CVPR 2005": (
        "3.7/19.8/5.0 3.3/24.7/9.1", "52.9/71.1/31.0 57.5/80.4/33.9", "5.7/25.1/2.4 4.0/20.6/2.9",
    ),
    "GLT, CVPR 2021": (
        "15.7/48.6/15.4 18.0/56.0/26.0", "12.8/37.6/13.4 12.9/40.0/12.7",
        "10.5/43.0/9.2 7.8/37.8/10.0",
    ),
    "ICE, ICCV 2021": (
        "23.3/60.5/21.9 26.6/69.3/35.0", "11.6/40.3/14.3 14.5/43.8/15.3",
        "21.5/56.2/15.9 17.8/57.1/17.9",
    ),
    "MMT, ICLR 2020": (
        "17.0/55.1/17.5 22.5/68.9/32.2", "31.4/69.3/26.5 33.8/71.4/27.8",
        "10.8/39.2/8.2 9.0/33.3/8.3",
    ),
    "CHCR, TCSVT 2023": (
        "47.7/87.3/45.3 50.1/90.8/42.2", "68.2/81.5/63.8 69.1/83.7/64.0", "- -",
    ),
    "GUR*, ICCV 2023": ("- -", "- -", "42.2/81.7/32.5 44.0/84.4/32.9"),
}  # fmt: skip
"""Competitors of Table II, tested or quoted there.

H2H, OTLA, ADCA, PGM and GUR* on SYSU-MM01 and RegDB stand with PCLHD's Table 1, which quotes the
same but for what its sources name.  CHCR's indoor mAP is as printed, though alone below its Rank-1.
"""

WHOLE = {
    "sysu": "62.0/93.4/97.8/58.2 67.6/95.9/98.4/72.7",
    "regdb": "89.1/98.2/74.0 89.0/98.6/74.0",
    "sysu02": "51.4/90.3/41.0 56.1/89.4/40.3",
}
DML = {
    "sysu": "51.2/84.7/92.5/50.0 61.1/90.6/95.7/67.0",
    "regdb": "80.8/97.3/62.4 82.5/97.8/64.3",
    "sysu02": "44.2/82.7/33.4 45.0/85.3/33.8",
}

ABLATIONS = {  # row: table, flags, cells of SYSU-MM01
    "M_joint": (
        f"{TABLE_3} and Table IV", ("--models joint",),
        "47.5/85.3/92.9/47.3 56.5/93.0/96.7/64.0",
    ),
    "M_gray": (
        f"{TABLE_3} and Table IV", ("--models gray",),
        "51.5/89.3/95.7/49.2 59.3/91.5/96.9/65.0",
    ),
    "PRE1": (
        TABLE_3, ("--sp pretrain=off", "--pp pretrain=off"),
        "57.5/91.6/97.0/54.7 64.1/94.7/98.3/69.9",
    ),
    "PRE2": (TABLE_3, ("--pp pretrain=off",), "59.3/93.1/97.7/56.3 65.5/95.0/98.1/70.8"),
    "UDA1": (
        TABLE_3, ("--sp selftrain=off", "--pp selftrain=off"),
        "52.9/88.9/95.6/51.8 59.7/92.1/96.9/66.6",
    ),
    "UDA2": (TABLE_3, ("--pp selftrain=off",), "60.3/92.9/97.5/57.0 67.3/95.5/98.2/71.7"),
    "UDA3": (
        TABLE_3, ("--matching joint-kmeans", "--class-draw independent"),
        "42.7/81.4/89.1/42.8 51.4/87.9/93.1/59.0",
    ),
    "GRAY-GRAY": (
        TABLE_4, ("--pair gray-gray", "--relation-mode symmetric"),
        "52.9/89.0/95.7/50.3 57.3/90.8/96.4/63.8",
    ),
    "RGB-GRAY": (
        TABLE_4, ("--relation-mode symmetric",), "59.1/92.3/97.4/56.1 65.5/94.4/98.4/70.2",
    ),
}  # fmt: skip

STEPS = {5: "57.10/54.24", 10: "58.80/55.58", 15: "60.99/57.47", 25: "61.92/58.05"}
"""Table V: steps of the sampler, all-search; 20 is the method as it is."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Table VI: shares of the identities that have labels, all-search of SYSU-MM01."""
LABELLED = {
    "CMAM-UDA": ("62.2/58.4", "63.9/59.7", "66.2/61.8", "67.2/63.3", "67.5/63.6"),
    "DML": ("53.0/51.4", "55.8/54.0", "57.8/56.0", "59.4/57.3", "59.8/57.8"),
    "CAJ+": ("13.2/16.0", "23.0/24.9", "37.8/35.1", "60.0/55.0", "64.7/61.4"),
}
FINETUNED = {
    method: Configuration(run.method, "finetune", run.variant, run.flags)
    for method, run in {"CMAM-UDA": CMAM, "DML": MUTUAL}.items()
}
"""CAJ+ is not in this repository."""


def _finetuned(method: str, share: float) -> tuple[Configuration, ...]:
    flags = [f"--labelled {share}"] if share > SHARES[0] else []  # 0.1 is the default
    return (FINETUNED[method].but(*flags),) if method in FINETUNED else ()


def _quoted(name: str, cells: Mapping[str, str]) -> Iterator[Published]:
    """A competitor's rows, dataset by dataset."""
    method, _, venue = name.partition(", ")
    yield from paper(method, f"as given in {TABLE_2}", cells, venue=venue)


ROWS = (
    *(
        row
        for name, cells in QUOTED.items()
        for row in _quoted(name, dict(zip(WHOLE, cells, strict=True)))
    ),
    *paper("CMAM-UDA", f"{TABLE_2}; Rank-20: Tables III and IV", WHOLE, (CMAM,)),
    *paper("DML", f"{TABLE_2}; Rank-20: Table IV, row RGB-RGB", DML, (MUTUAL,)),
    *(
        row
        for label, (table, flags, cells) in ABLATIONS.items()
        for row in paper("CMAM-UDA", table, {"sysu": cells}, (CMAM.but(*flags),), label)
    ),
    *(
        row
        for steps, cell in STEPS.items()
        for row in paper(
            "CMAM-UDA",
            TABLE_5,
            {"sysu": cell},
            (CMAM.but(f"--sampling-steps {steps}"),),
            f"{steps} sampling steps",
        )
    ),
    *(
        row
        for method, cells in LABELLED.items()
        for share, cell in zip(SHARES, cells, strict=True)
        for row in paper(
            method,
            TABLE_6,
            {"sysu": cell},
            _finetuned(method, share),
            f"{share:.0%} of the identities labelled",
            "some",
        )
    ),
)
