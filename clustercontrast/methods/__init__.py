"""One file per paper.  A method is an ordered list of stages."""

from clustercontrast.engine.stage import Stage
from clustercontrast.methods import adca, pclhd, pgm, supervised

METHODS: dict[str, list[type[Stage]]] = {
    "adca": adca.STAGES,
    "pgm": pgm.STAGES,
    "pclhd": pclhd.STAGES,
    "supervised": supervised.STAGES,
}
