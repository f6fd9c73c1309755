"""The methods as they are, to the end of their last stage: what most published rows belong to."""

from clustercontrast.report.references.rows import Configuration

ADCA = Configuration("adca", "cross", "upstream")
PGM = Configuration("pgm", "cross", "v2023")
PCLHD = Configuration("pclhd", "progressive", "upstream")
RPNR = Configuration("rpnr", "robust", "upstream")
MMM = Configuration("mmm", "final", "upstream")
PCA = Configuration("pca", "invariant", "upstream")
BMIL = Configuration("bmil", "invariance", "upstream")
SDCL = Configuration("sdcl", "agreed", "upstream")
GUR = Configuration("gur", "bottomup", "upstream")
CMAM = Configuration("cmam", "selftrain", "default")
POSED = Configuration("posed", "unified", "default")
UNITED = Configuration("united", "united", "united")
"""A recipe of this repository: nobody has published figures of it."""
AS_IT_IS = {
    own.method: own
    for own in (ADCA, PGM, PCLHD, RPNR, MMM, PCA, SDCL, GUR, CMAM, BMIL, POSED, UNITED)
}
"""By the command line's name of the method."""
