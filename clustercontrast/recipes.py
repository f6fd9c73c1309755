"""Every default, once: (method, dataset[, variant]) -> values.  Pure data; later rows win.

"*" matches all.  A value may be a list with one entry per stage of the method.  None means that the
flag follows another one (see ``FOLLOWS`` in options.py).  The numbers are those of the official
run scripts, or of the official code where a script leaves them out; the specification section that
documents each stands beside its row.  ``python train_<dataset>.py --method M --help`` shows what a
method gets, and every run writes the origin of each value into its config.json.
"""

Row = dict[str, object]

# what all unsupervised methods share: files of weights and labels
UNSUPERVISED: Row = {
    "stage1": None,
    "pseudo_labels": None,
    "export_labels": False,
}
# what all methods share that match clusters: every association's values
MATCHED: Row = {
    **UNSUPERVISED,
    "match_always": True,
    "vote_threshold": 0.5,  # adca.md 9
    "ot_regularisation": 5.0,  # rpnr.md 3.5
    "forget_last": False,  # mmm.md 6, B1 and B2
}

RECIPES: dict[tuple[str, ...], Row] = {
    # common.md 3 to 8: what all official scripts share
    ("*", "*"): {
        "seed": 1,
        "name": None,
        "variant": "upstream",
        "logs_dir": "logs",
        "stages": None,
        "device": "auto",
        "precision": "fp32",
        "print_freq": 10,
        "overwrite": False,
        "cache_dir": None,
        "height": 288,
        "width": 144,
        "arch": "resnet",
        "depth": None,
        "vit_width": 768,
        "drop_path": 0.1,
        "non_local": True,
        "pretrained": "imagenet",
        "start_from": "test",
        "bn_groups": 2,
        "checkpoint_groups": False,
        "epochs": 50,
        "first_epoch": 0,
        "lr": 3.5e-4,
        "weight_decay": 5e-4,
        "step_size": 20,
        "batch_visible": 128,
        "num_instances": 16,
        "cam": True,
        "padding": 10,
        "flip": 0.5,
        "erasing": 0.5,
        "jitter_visible": False,
        "jitter_exchanged": False,
        "jitter_infrared": False,
        "k1": 30,
        "k1_visible": None,
        "k2": 6,
        "eps_visible": None,
        "eps_infrared": None,
        "eps_joint": None,
        "min_samples": 4,
        "neighbours": "torch",
        "temp": 0.05,
        "momentum": 0.1,
        "memory": "sequential",
        "memory_gradient": "upstream",
        "smooth": 0.0,
        "hard_weight": 0.5,
        "centroid_weight": 0.5,
        "hinge": 0.2,
        "hard_init": "centroid",
        "hard_k": 1,
        "test_batch": 256,
        "eval_from": 0,
        "eval_step": 1,
        "selection_images": 2048,
    },
    # common.md 2.2, 3.4, 8
    ("*", "sysu"): {
        "data_dir": "data/SYSU-MM01",
        "eps": 0.6,
        "iters": 200,
        "eval_draws": 1,
        "draws": 10,
    },
    # common.md 2.4, 3.4, 8
    ("*", "regdb"): {
        "data_dir": "data/RegDB",
        "eps": 0.3,
        "iters": 100,
        "trial": 1,
        "allow_leak": False,
    },
    # adca.md 12, 13: four GPUs, no non-local blocks
    ("adca", "*"): {
        "batch_size": 256,
        "bn_groups": 4,
        "non_local": False,
        "select": "mAP",
        "eval_from": 6,
        **MATCHED,
        "association": "cma",
        "aggregation_weight": 0.1,
    },
    # pgm.md 6: four GPUs, momentum left at the code's default; stage 2 of pgm.md 3.3, 4
    ("pgm", "*"): {
        "variant": "v2023",
        "batch_size": 256,
        "bn_groups": 4,
        "momentum": 0.2,
        "jitter_exchanged": True,
        **MATCHED,
        "association": "pgm",
        "cross_weight": 0.25,
        "select": "mAP",
        "eval_from": 6,
    },
    ("pgm", "sysu"): {"eval_draws": 10},  # pgm.md 7
    ("pgm", "regdb"): {"epochs": 30, "step_size": 10},  # pgm.md 8
    # pgm.md, table of code generations: v2024 differs on SYSU-MM01 only
    ("pgm", "*", "v2023"): {},
    ("pgm", "*", "v2024"): {},
    ("pgm", "sysu", "v2024"): {
        "jitter_infrared": [True, False],
        "memory": ["sequential", "hard"],
    },
    # pclhd.md 6, 9: two GPUs
    ("pclhd", "*"): {
        "batch_size": 128,
        "memory": "hybrid",
        **MATCHED,
        "association": "pgm",
        "cross_weight": 0.25,
        "ema_decay": 0.999,
        "retrieval": "momentum_encoder",
        "hpcl": True,
        "dpcl": True,
        "dynamic_weight": 1.0,
        "dynamic_query": "momentum",
        "joint_branch": True,
        "joint_k1": 40,
        "joint_k2": 32,
        "select": "rank1",
    },
    ("pclhd", "regdb"): {"batch_visible": [64, 128]},  # pclhd.md 3.6: halved in stage 1 only
    ("pclhd", "*", "upstream"): {},
    # the paper's equations; pclhd.md 9.1
    ("pclhd", "*", "paper"): {
        "batch_size": 256,
        "batch_visible": 256,
        "memory": ["sequential", "hybrid"],
        "centroid_weight": 0.0,
        "hard_init": "farthest",
        "dynamic_weight": None,
        "dynamic_query": "online",
        "joint_branch": False,
    },
    # rpnr.md 4, 6; stage 1 of SYSU-MM01 is inferred (1.1)
    ("rpnr", "*"): {
        **MATCHED,
        "batch_size": 128,
        "memory": "hybrid",
        "association": "ot",
        "cross_weight": 0.25,
        "npc": True,
        "npc_members": 20,
        "npc_threshold": 0.5,
        "mhl": True,
        "mhl_weight": 0.5,
        "nrl": True,
        "nrl_weight": 10.0,
        "nrl_normalise": False,
        "select": "rank1",
    },
    ("rpnr", "regdb"): {"npc_members": 5, "batch_visible": 64},
    # mmm.md 1.1, 3, 5; per stage: intra, joint, final
    ("mmm", "*"): {
        **MATCHED,
        "batch_size": [128, 128, 24],
        "batch_visible": [128, 128, 24],
        "num_instances": [16, 16, 4],
        "epochs": [50, 50, 100],
        "lr": [3.5e-4, 3.5e-4, 0.1],
        "joint_k1": 40,
        "joint_k2": 32,
        "export_labels": [False, True, False],
        "association": "mmm",
        "forget_last": True,
        "warm_epochs": 5,
        "margin": 0.2,
        "mimic_weight": 0.5,
        "alignment_weight": 0.05,
        "select": "mAP",
        "eval_from": [0, 0, 1],
    },
    ("mmm", "sysu"): {"iters": [200, 200, 0], "eval_draws": 10},
    ("mmm", "regdb"): {"iters": [100, 100, 0], "joint_k1": 38, "joint_k2": 18},
    ("mmm", "*", "upstream"): {},
    ("mmm", "*", "paper"): {"forget_last": False},
    # pca.md 2.1, 4, 6.1; per stage: intra, invariant.  eps is a literal of the code there
    ("pca", "*"): {
        **UNSUPERVISED,
        "batch_size": 64,
        "batch_visible": 64,
        "non_local": False,
        "tal": True,
        "adversarial_from": [25, 0],
        "adversarial_weight": [1.0, 0.1],
        "modality_lr": 0.01,
        "cne": True,
        "mcl": True,
        "joint_k1": 40,
        "joint_k2": 32,
        "log_association": False,
        "start_competes": False,
        "select": "mAP",
    },
    ("pca", "sysu"): {"eval_from": [6, 0], "eval_draws": 10},
    ("pca", "regdb"): {"joint_k1": 38, "joint_k2": 18, "start_competes": True},  # pca.md 8
    # sdcl.md 3 to 6, 8.1; per stage: intra, agreed.  The weights file is TransReID-SSL's (1.1)
    ("sdcl", "*"): {
        **UNSUPERVISED,
        "arch": "vit",
        "pretrained": "data/vit_base_ics_cfs_lup.pth",
        "batch_size": 128,
        "first_epoch": [0, None],
        "jitter_visible": True,
        "jitter_exchanged": True,
        "jitter_infrared": True,
        "first_momentum": None,
        "homogeneous_from": 0,
        "homogeneous_weight": [1.0, 0.1],
        "heterogeneous_from": 10,
        "heterogeneous_weight": [0.5, 0.1],
        "visible_to_infrared": 0.1,
        "shallow_weight": 0.5,
        "neighbour_threshold": 0.9,
        "instance_momentum": 0.9,
        "raw_instances": True,
        "smoothing_neighbours": 5,
        "select": "rank1",
    },
    ("sdcl", "sysu"): {
        "epochs": [30, 20],
        "iters": [200, 100],
        "k1_visible": [30, 15],
        "candidates": 20,
        "eval_draws": 10,
    },
    ("sdcl", "regdb"): {
        "epochs": [20, 10],
        "iters": 50,
        "first_momentum": [0.99, None],
        "homogeneous_from": 1,
        "candidates": 10,
    },
    # ours: the demo's warm start
    ("supervised", "*"): {"batch_size": 128, "select": "mAP"},
}


def matching(method: str, dataset: str, variant: str | None = None) -> list[tuple[str, ...]]:
    """Keys of the rows that apply, in the order in which they are laid over each other."""
    wanted = (method, dataset, variant)
    return [key for key in RECIPES if all(k in ("*", w) for k, w in zip(key, wanted, strict=False))]


def variants(method: str) -> list[str]:
    """Named variants of a method; "upstream" alone when it has no row of its own."""
    named = {key[2]: None for key in RECIPES if len(key) == 3 and key[0] == method}
    return list(named) or ["upstream"]
