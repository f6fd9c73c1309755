"""READMEs and logs of the official codes."""

from clustercontrast.report.references.commands import PCA, PGM, RPNR, SDCL
from clustercontrast.report.references.row_by_row import each_of
from clustercontrast.report.references.rows import Configuration, Published, scores

PGM_LOG = "training log published with the official code of PGM"
FIRST = Configuration("pgm", "intra", "v2023")
SDCL_TEST = "test log published with the official code of SDCL"
SDCL_LOG = "training log published with the official code of SDCL"
RPNR_README = "README of RPNR's official code (hidden in a comment)"
PCA_README = "README of PCA's official code, tested several times for the best result"
OWN_WEIGHTS = RPNR.but("--start-from baseline/sysu_s1/model_best.pth.tar")
"""The authors' first stage of SYSU-MM01, in the place that their script reads it from."""

BEST, LAST = ("upstream log", "test"), ("upstream log", "last")
README = ("upstream README", "test")
ALONE = (5,)
"""The only trial of RegDB that PGM's log holds."""

FIGURES = (  # method, dataset, what was published, where, what it belongs to, row, cells, trials
    (
        "PGM", "sysu", BEST, f"{PGM_LOG}, stage 2, best epoch by test mAP (26)", (PGM,), "",
        "56.29/82.77/91.25/96.47/51.36/35.06 57.99/84.05/91.66/97.07/64.92/60.77", (),
    ),
    (
        "PGM", "sysu", LAST, f"{PGM_LOG}, stage 2, epoch 49", (PGM,), "",
        "56.09/82.72/91.23/96.32/49.96/32.70", (),
    ),
    (
        "PGM", "sysu", BEST, f"{PGM_LOG}, stage 1, best epoch by test mAP (46)", (FIRST,),
        "stage 1", "39.50/-/-/-/39.39/26.57", (),
    ),
    (
        "PGM", "sysu", LAST, f"{PGM_LOG}, stage 1, epoch 49", (FIRST,), "stage 1",
        "38.51/67.86/79.72/88.99/38.65/26.13", (),
    ),
    (
        "PGM", "regdb", BEST, f"{PGM_LOG}, trial 5 alone, stage 2, best epoch by test mAP (14)",
        (PGM,), "trial 5", "70.44/-/-/-/65.32/52.73", ALONE,
    ),
    (
        "PGM", "regdb", LAST, f"{PGM_LOG}, trial 5 alone, stage 2, epoch 29", (PGM,), "trial 5",
        "69.03/77.67/82.62/87.62/64.04/51.27", ALONE,
    ),
    (
        "PGM", "regdb", BEST, f"{PGM_LOG}, trial 5 alone, stage 1, best epoch by test mAP (22)",
        (FIRST,), "stage 1, trial 5", "41.94/-/-/-/40.69/30.96", ALONE,
    ),
    (
        "RPNR", "sysu", README,
        f"{RPNR_README}, equal to its published log, best epoch by test Rank-1 (48); from the "
        "authors' first stage", (RPNR, OWN_WEIGHTS), "",
        "65.49/87.48/93.29/97.14/59.97/44.02 68.46/89.67/94.75/97.89/73.01/68.61", (),
    ),
    (
        "RPNR", "regdb", README, f"{RPNR_README}, mean of ten trials", (RPNR,), "",
        "90.31/94.66/96.39/97.88/83.35/69.96 89.09/94.37/96.21/97.65/82.26/66.50", (),
    ),
    (
        "PCA", "sysu", README, PCA_README, (PCA,), "",
        "54.39/89.09/95.62/51.95/38.09 59.69/93.90/98.14/66.72/62.44", (),
    ),
    (
        "PCA", "regdb", README, f"{PCA_README}, mean of ten trials", (PCA,), "",
        "86.43/94.10/96.25/82.51/72.33 86.21/94.05/96.11/81.23/68.71", (),
    ),
    (
        "SDCL", "sysu", BEST, f"{SDCL_TEST}, best epoch by test Rank-1 (38)", (SDCL,), "",
        "65.29/89.17/94.43/97.81/63.63/50.94 71.09/91.78/95.79/98.90/76.40/72.97", (),
    ),
    (
        "SDCL", "sysu", LAST, f"{SDCL_LOG}, epoch 49", (SDCL,), "",
        "64.73/88.55/94.16/97.74/63.10/50.43 70.56/91.73/95.66/98.75/76.14/72.75", (),
    ),
    (
        "SDCL", "regdb", BEST, f"{SDCL_TEST}, mean of ten trials", (SDCL,), "",
        "90.96/95.73/97.51/98.71/82.86/67.60 89.98/95.12/97.01/98.41/81.73/64.77", (),
    ),
    (
        "SDCL", "regdb", LAST, f"{SDCL_LOG}, epoch 29, mean of ten trials", (SDCL,), "",
        "90.71/-/-/83.12/68.22 89.87/-/-/81.99/65.35", (),
    ),
)  # fmt: skip

ROWS = tuple(
    Published(
        method,
        dataset,
        kind,
        source,
        scores(dataset, cells),
        runs,
        row,
        selection=selection,
        trials=trials,
        each=each_of(method, dataset) if (kind, selection) == README else {},
    )
    for method, dataset, (kind, selection), source, runs, row, cells, trials in FIGURES
)
