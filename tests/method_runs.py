"""Every method by name, with the flags of a short training beside those of ``tiny_runs``."""

from clustercontrast.methods import METHODS

FLAGS = {  # enough clusters for what a method compares; both halves of a stage that changes
    "adca": [],
    "pgm": [],
    "pclhd": [],
    "rpnr": ["--npc-members", "4"],
    "mmm": ["--warm-epochs", "1"],
    "pca": ["--adversarial-from", "1", "0"],
    "bmil": ["--joint-k2", "4", "--eps-joint", "0.4"],
    "sdcl": ["--heterogeneous-from", "1", "--candidates", "5", "--k1-visible", "30", "15"],
    "gur": [
        *("--eps-camera", "0.5", "--camera-iters", "1", "--joint-iters", "2"),
        *("--unify-from", "1", "--smooth-from", "1", "--unify-neighbours", "5"),
    ],
    "posed": [],
    "united": ["--joint-k2", "4"],
    "supervised": [],
}
AGREEING = ["--candidates", "10", "--lr", "1e-6"]
"""With them the rankings by a small random transformer agree (SDCL)."""
FROM_A_SOURCE = {"cmam"}  # needs a labelled dataset besides: has a test file of its own
METHODS_ALONE = [name for name in METHODS if name not in FROM_A_SOURCE]
VARIANTS = {
    "pclhd-paper": ("pclhd", "paper"),
    "pgm-v2024": ("pgm", "v2024"),
    "united-teacher": ("united", "united-teacher"),
}
RUNS = {name: (name, FLAGS[name]) for name in METHODS_ALONE} | {
    name: (method, [*FLAGS[method], "--variant", variant])
    for name, (method, variant) in VARIANTS.items()
}
"""Name of a run -> method, flags."""
