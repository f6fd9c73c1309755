"""What the paper leaves open and a flag decides, by stage: said before the stage starts.

docs/methods/cmam.md#decisions explains the ids, also those without a flag, and has their words.
"""

from argparse import Namespace

_NETWORKS = {  # of both stages of mutual learning
    "A1": ("relation_logits", "relation_temperature"),
    "A2": ("pp_reduction", "sp_reduction", "identity_reduction"),
    "A3": ("neck",),
    "A4": ("gem_exponent", "train_gem"),
    "A5": ("num_instances",),
    "A8": ("share_augmentation",),
    "A9": ("jitter_probability",),
    "A10": ("padding", "freeze_iterations"),
    "A11": ("weight_decay", "last_lr"),
    "A13": ("joint_forward",),
    "A14": ("unit_triplet",),
    "A39": ("smooth_over",),
}
_TARGET = {  # of stage 3, and of finetuning, which shares its losses
    "A7": ("batch_size",),
    "A15": ("cross_triplet",),
    "A16": ("bank",),
    "A17": ("proxy_update",),
    "A18": ("momentum",),
    "A20": ("proxy_init",),
    "A27": ("head", "temp"),
}
READINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "auxiliary": {"A28": ("source_splits",), "A29": ("source_outliers",)},
    "diffusion": {
        "A31": ("fake_channels",),
        "A32": ("attention_axis",),
        "A33": ("unet_width",),
        "A34": ("edge_norm", "edge_threshold"),
        "A35": ("joint_adapter",),
        "A36": ("ema", "ema_ramp", "fake_flip", "unet_dropout"),
    },
    "generation": {"A34": ("edge_norm", "edge_threshold")},
    "pretrain": _NETWORKS | {"A6": ("batch_size",), "A12": ("fresh_optimiser",)},
    "selftrain": _NETWORKS
    | _TARGET
    | {
        "A19": ("iters", "epochs", "last_iters"),
        "A21": ("concatenation",),
        "A23": ("match_similarity",),
    },
    "finetune": _NETWORKS | _TARGET | {"A43": ("epochs", "iters")},
}

WORDS = {
    "A1": "probabilities that are preserved",
    "A2": "sums and means of the losses",
    "A3": "what a feature is",
    "A4": "exponent of the pooling",
    "A5": "images per class",
    "A6": "images of a batch",
    "A7": "images of a batch",
    "A8": "augmentation of an image and its fake",
    "A9": "colour jitter",
    "A10": "padding and frozen trunk",
    "A11": "weight decay and last learning rate",
    "A12": "Adam in phase 2",
    "A13": "BatchNorm of the views of a network",
    "A14": "features of the triplets",
    "A15": "modalities of the triplets",
    "A16": "banks of proxies",
    "A17": "update of the proxies",
    "A18": "weight of the old proxy",
    "A19": "re-clustering",
    "A20": "first proxies",
    "A21": "features side by side",
    "A23": "weight of a pair of clusters",
    "A27": "head",
    "A28": "source images",
    "A29": "source images without a cluster",
    "A31": "channels of a fake",
    "A32": "resolution of attention",
    "A33": "width of the U-Net",
    "A34": "edges",
    "A35": "training of U-Net and adapter",
    "A36": "average, flip and dropout of the generator",
    "A39": "label smoothing",
    "A43": "length of the stage",
}
"""What each of them is about."""


def said(stage: str, args: Namespace) -> str:
    """One line: how a stage with these flags reads the paper."""
    readings = sorted(READINGS[stage].items(), key=lambda item: int(item[0][1:]))
    shown = (f"{WORDS[key]}: {_values(flags, args)} ({key})" for key, flags in readings)
    return f"{stage} reads the paper so: {'; '.join(shown)}"


def _values(flags: tuple[str, ...], args: Namespace) -> str:
    return " ".join(f"{flag.replace('_', '-')} {_shown(getattr(args, flag))}" for flag in flags)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
