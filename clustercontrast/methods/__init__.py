"""One file per paper.  A method is an ordered list of stages."""

from clustercontrast.engine.stage import Stage
from clustercontrast.methods import adca, cmam, mmm, pca, pclhd, pgm, rpnr, sdcl, supervised

METHODS: dict[str, list[type[Stage]]] = {
    "adca": adca.STAGES,
    "pgm": pgm.STAGES,
    "pclhd": pclhd.STAGES,
    "rpnr": rpnr.STAGES,
    "mmm": mmm.STAGES,
    "pca": pca.STAGES,
    "sdcl": sdcl.STAGES,
    "cmam": cmam.STAGES,
    "supervised": supervised.STAGES,
}
