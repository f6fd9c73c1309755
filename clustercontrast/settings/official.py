"""What the scripts, flags, files and names of the official codes are called here.

One table for ``docs/coming-from.md`` and for the answers of the command line.
"""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clustercontrast.settings.recipes import all_recipes

CODES = ("adca", "pgm", "pclhd", "rpnr", "mmm", "pca", "sdcl", "bmil")
"""Methods that have an official code."""

SAME = "the same"
AGREE = "accepted where it agrees with what is run"
IGNORED = "accepted, and not needed"


@dataclass(frozen=True)
class OfficialFlag:
    """A flag of official codes.

    Attributes:
        names: its spellings there.
        codes: methods whose code has it.
        here: what to say here; ``SAME`` for the same flag, "" where there is nothing to say.
        dead: methods in whose code it changes nothing.
        note: what else there is to know.
        accepted: name under which training reads it, if only to compare it with what is run.
    """

    names: tuple[str, ...]
    codes: tuple[str, ...]
    here: str = ""
    dead: tuple[str, ...] = ()
    note: str = ""
    accepted: str | None = None


@dataclass(frozen=True)
class OfficialName:
    """A script or a file of official codes.

    Attributes:
        name: ``{dataset}`` in it stands for sysu and regdb.
        codes: methods whose code or README names it.
        here: a command, or what to do here.
        note: what else there is to know.
    """

    name: str
    codes: tuple[str, ...]
    here: str
    note: str = ""

    def on(self, dataset: str) -> tuple[str, str]:
        """The name, and what it is here, on a dataset."""
        return self.name.format(dataset=dataset), self.here.format(dataset=dataset)


DATASETS = ("sysu", "regdb")
"""The datasets of the official codes."""

MEMORIES = {"CM": "sequential", "CMhard": "hard", "CMhybrid": "hybrid", "CMhcl": "hybrid"}
"""Kinds of memory, and their names here."""

_GROWN = ("adca", "pgm", "pclhd", "rpnr", "pca")
_MEMORIES, _FINAL, _CONVERTING = ("pclhd", "rpnr", "bmil"), ("mmm",), (*_GROWN, "sdcl")
_OLDER = (*_CONVERTING, "mmm")
_TRAIN = "sh run_train_{dataset}.sh"
_TEST = "sh test_{dataset}.sh"

SCRIPTS = (
    OfficialName(
        "prepare_{dataset}.py", _CONVERTING, "python prepare_{dataset}.py",
        "writes resized images beside the dataset, and no converted ones",
    ),
    OfficialName(
        "run_train_{dataset}.sh", ("pgm", "pclhd", "rpnr", "pca"), f"{_TRAIN} METHOD",
        "both stages, then the test; RegDB: ten trials",
    ),
    OfficialName(
        "run_test_{dataset}.sh", ("pgm", "pclhd", "rpnr"),
        f"{_TEST} logs/{{dataset}}/METHOD/seed1/",
    ),
    OfficialName(
        "test_{dataset}.sh", ("rpnr", "pca"), f"{_TEST} logs/{{dataset}}/METHOD/seed1/",
        "named in their READMEs; the repositories do not have it",
    ),
    OfficialName(
        "train_{dataset}.sh", ("pgm",), f"{_TRAIN} pgm",
        "named in its README; the repository does not have it",
    ),
    OfficialName(
        "train_{dataset}.py", ("pgm", "pclhd", "rpnr", "bmil"),
        "python train_{dataset}.py --method METHOD",
    ),
    OfficialName(
        "test_{dataset}.py", ("pgm", "pclhd", "rpnr", "pca", "sdcl", "bmil"),
        "python test_{dataset}.py logs/{dataset}/METHOD/seed1/",
    ),
    OfficialName(
        "test_sysu_vis.py", ("rpnr",), "sh test_sysu.sh logs/sysu/rpnr/seed1/",
        "its test script calls it; the repository does not have it",
    ),
    OfficialName("adca_{dataset}_train.py", ("adca",), f"{_TRAIN} adca"),
    OfficialName("PCA_{dataset}.py", ("pca",), f"{_TRAIN} pca"),
    OfficialName("train_cc_vit_{dataset}.sh", ("sdcl",), f"{_TRAIN} sdcl"),
    OfficialName("cluster_contrast_vit_{dataset}.py", ("sdcl",), f"{_TRAIN} sdcl"),
    OfficialName(
        "train_cc_vit_sysu_gpux4.sh", ("sdcl",),
        "sh run_train_sysu.sh sdcl --bn-groups 4 --num-instances 4",
        "it starts the program for two GPUs on four",
    ),
    OfficialName(
        "cluster_contrast_vit_sysu_gpux4.py", ("sdcl",),
        "sh run_train_sysu.sh sdcl --bn-groups 4 --num-instances 4",
        "no script starts it",
    ),
    OfficialName(
        "test_cc_vit_{dataset}.sh", ("sdcl",), f"{_TEST} logs/{{dataset}}/sdcl/seed1/"
    ),
    OfficialName(
        "Baseline.py", ("mmm",), "sh run_train_sysu.sh mmm --stages intra joint",
        "on RegDB with run_train_regdb.sh",
    ),
    OfficialName(
        "mmlm.py", ("mmm",), "sh run_train_sysu.sh mmm --stages final",
        "the matching is the beginning of stage final",
    ),
    OfficialName("main.py", ("mmm",), "sh run_train_sysu.sh mmm --stages final"),
)  # fmt: skip

FLAGS = (
    OfficialFlag(
        ("-d", "--dataset"), CODES, AGREE, tuple(c for c in CODES if c != "mmm"),
        "the script's name says the dataset", accepted="official_dataset",
    ),
    OfficialFlag(("-a", "--arch"), CODES, AGREE, ("sdcl",), "--arch here: resnet or vit",
                 accepted="official_arch"),
    OfficialFlag(
        ("-mb", "--memorybank"), _MEMORIES, AGREE, (),
        ", ".join(f"{name}: --memory {kind}" for name, kind in MEMORIES.items()),
        accepted="official_memory",
    ),
    OfficialFlag(
        ("-b", "--batch-size"), CODES, SAME, ("sdcl",),
        "infrared images; --batch-visible for visible ones. SDCL's scripts say 256, which its "
        "training does not read: it has 128. MMM's main.py counts identities: 6 of 4 images are "
        "--batch-size final=24",
    ),
    OfficialFlag(
        ("-j", "--workers"), CODES, IGNORED, (),
        "training has no loader processes; prepare has -j", accepted="official_workers",
    ),
    OfficialFlag(("--height",), CODES, SAME),
    OfficialFlag(("--width",), CODES, SAME),
    OfficialFlag(("--num-instances",), CODES, SAME),
    OfficialFlag(
        ("--eps",), CODES, SAME, CODES,
        "read here; the codes have 0.6 (SYSU-MM01) and 0.3 (RegDB), whatever their scripts say",
    ),
    OfficialFlag(("--eps-gap",), _OLDER, dead=_OLDER),
    OfficialFlag(
        ("--k1",), CODES, SAME, (), "SDCL: of visible images alone, --k1-visible here",
    ),
    OfficialFlag(("--k2",), CODES, SAME),
    OfficialFlag(("--features",), CODES, dead=CODES),
    OfficialFlag(("--dropout",), CODES, dead=CODES),
    OfficialFlag(
        ("--pooling-type",), CODES, dead=CODES,
        note="the AGW network always pools with GeM, p = 3",
    ),
    OfficialFlag(
        ("--momentum",), CODES, SAME, (),
        "SDCL's 0.99 on RegDB holds in epoch 0 alone, --first-momentum here",
    ),
    OfficialFlag(("--lr",), CODES, SAME),
    OfficialFlag(("--weight-decay",), CODES, SAME),
    OfficialFlag(
        ("--epochs",), CODES, SAME, (),
        "per stage; SDCL counts both stages together, --epochs 30 20 here",
    ),
    OfficialFlag(("--iters",), CODES, SAME),
    OfficialFlag(("--step-size",), CODES, SAME),
    OfficialFlag(("--seed",), CODES, SAME),
    OfficialFlag(("--print-freq",), CODES, SAME),
    OfficialFlag(("--eval-step",), CODES, SAME, ("pclhd", "rpnr", "mmm", "bmil")),
    OfficialFlag(("--temp",), CODES, SAME),
    OfficialFlag(("--trial",), CODES, SAME, (), "takes several"),
    OfficialFlag(
        ("--smooth",), _MEMORIES, SAME, (),
        "there any value above 0 smooths by 0.1; here the value is the smoothing",
    ),
    OfficialFlag(("--test-batch",), ("pgm", "mmm"), SAME),
    OfficialFlag(
        ("--data-dir",), CODES, SAME, ("adca", "pgm", "pca", "sdcl"),
        "the dataset's own folder, not the folder of all datasets",
    ),
    OfficialFlag(("--logs-dir",), CODES, SAME, (), "most codes replace it"),
    OfficialFlag(("--no-cam",), CODES, SAME),
    OfficialFlag(("--use-hard",), CODES, "--memory hard", ("pclhd", "rpnr", "bmil")),
    OfficialFlag(
        ("--adv-flag",), ("pca", "mmm"), "--tal", ("mmm",),
        "always on in PCA's code; --no-tal turns it off here",
    ),
    OfficialFlag(
        ("--warmup-step",), ("pgm", "pclhd", "rpnr", "pca", "sdcl"),
        dead=("pgm", "pclhd", "rpnr", "pca", "sdcl"),
    ),
    OfficialFlag(
        ("--milestones",), ("pgm", "pclhd", "rpnr", "pca", "sdcl"),
        dead=("pgm", "pclhd", "rpnr", "pca", "sdcl"),
    ),
    OfficialFlag(
        ("--sample_ratio",), ("bmil",), "--visible-share",
        note="of SYSU-MM01's training alone; read by every method that clusters here",
    ),
    OfficialFlag(
        ("--use_global_clustering",), ("bmil",),
        note="stage invariance always clusters both modalities together",
    ),
    OfficialFlag(("--save_log_name",), ("bmil",), "--name"),
    OfficialFlag(
        ("--resume",), ("pclhd", "bmil"), "the same command, which goes on by itself",
        note="it fails there",
    ),
    OfficialFlag(
        ("--logs-timesave",), ("pca",), "the run's folder, in test_sysu.py RUN",
    ),
    OfficialFlag(
        ("--config_file",), ("sdcl",), "--depth, --vit-width, --drop-path and --pretrained",
        note="what its file says of the network",
    ),
    OfficialFlag(("--optim",), _FINAL, note="stage final always has SGD"),
    OfficialFlag(("--num_pos",), _FINAL, "--num-instances final=V"),
    OfficialFlag(("--margin",), _FINAL, SAME),
    OfficialFlag(("--loss1",), _FINAL, note="stage final always weighs by confidence"),
    OfficialFlag(("--loss2",), _FINAL, dead=_FINAL),
    OfficialFlag(("--alpha",), _FINAL, dead=_FINAL),
    OfficialFlag(("--gamma",), _FINAL, dead=_FINAL),
    OfficialFlag(("--square",), _FINAL, dead=_FINAL),
    OfficialFlag(("--warm-epoch",), _FINAL, "--warm-epochs"),
    OfficialFlag(("--sm_w",), _FINAL, "--mimic-weight"),
    OfficialFlag(("--md_w",), _FINAL, "--alignment-weight"),
    OfficialFlag(("--rande",), _FINAL, dead=_FINAL),
    OfficialFlag(("--augc",), _FINAL, dead=_FINAL),
    OfficialFlag(("--img_w",), _FINAL, "--width"),
    OfficialFlag(("--img_h",), _FINAL, "--height"),
    OfficialFlag(
        ("--method",), _FINAL, "the name of the paper's method",
        note="names the network there, as -a does",
    ),
    OfficialFlag(("--mode",), _FINAL, note="both searches are always tested"),
    OfficialFlag(("--tvsearch",), _FINAL, note="both directions are always tested"),
    OfficialFlag(("--gpu",), _FINAL, "--device cuda:N"),
    OfficialFlag(("--save_epoch",), _FINAL, note="every epoch is saved"),
    OfficialFlag(("--model_path",), _FINAL, "--logs-dir"),
    OfficialFlag(("--log_path",), _FINAL, "--logs-dir"),
    OfficialFlag(("--savename",), _FINAL, "--name"),
    OfficialFlag(("--resume-net",), _FINAL, "the same command, which goes on by itself"),
)  # fmt: skip

FILES = (
    OfficialName("data/{dataset}/", ("adca", "pca", "sdcl"),
                 "found, where data/SYSU-MM01/ or data/RegDB/ is not there"),
    OfficialName(
        "data/{dataset}/rgb_modify/, ir_modify/", _CONVERTING,
        "not needed: the images as downloaded are prepared into DATA_DIR-288x144/",
    ),
    OfficialName(
        "examples/pretrained/resnet50-19c8e357.pth", _GROWN,
        "fetched by torchvision, or --pretrained PATH",
    ),
    OfficialName(
        "vit_base_ics_cfs_lup.pth", ("sdcl",), "data/vit_base_ics_cfs_lup.pth, or --pretrained PATH"
    ),
    OfficialName(
        "baseline/sysu_s1/model_best.pth.tar", ("rpnr",),
        "--stage1 baseline/sysu_s1/model_best.pth.tar",
    ),
    OfficialName("train_model_best.pth.tar", ("bmil",), "intra/best_test.pth"),
    OfficialName(
        "logs/{dataset}_s1/", ("adca", "pgm", "pclhd", "rpnr", "bmil"),
        "logs/{dataset}/METHOD/seed1/intra/", "RegDB: a folder per trial, there and here",
    ),
    OfficialName(
        "logs/{dataset}_s2/", ("adca", "pgm", "pclhd", "rpnr", "bmil"),
        "logs/{dataset}/METHOD/seed1/SECOND_STAGE/",
    ),
    OfficialName(
        "logs/<time>/{dataset}_s1/, {dataset}_s2/", ("pca",),
        "logs/{dataset}/pca/seed1/intra/, invariant/",
    ),
    OfficialName(
        "logs/{dataset}_train/", ("sdcl",), "logs/{dataset}/sdcl/seed1/intra/, agreed/"
    ),
    OfficialName("model_best.pth.tar", (*_CONVERTING, "bmil"), "STAGE/best_test.pth"),
    OfficialName("20model_best.pth.tar", ("sdcl",), "intra/best_test.pth"),
    OfficialName("checkpoint.pth.tar", (*_CONVERTING, "bmil"), "STAGE/last.pth"),
    OfficialName("log.txt, <trial>log.txt", (*_GROWN, "bmil"), "log.txt and metrics.jsonl"),
    OfficialName("test_log.txt", _GROWN, "report.txt, report.md and report.json"),
)  # fmt: skip

METHODS = {
    "cc_vit": "sdcl",
    "pcal": "pca",
    "pca_uslvireid": "pca",
    "pclmp": "pclhd",
    "usl-vi-reid": "pgm",
    "cmam-uda": "cmam",
}
"""What papers, repositories and scripts call a method, in small letters -> its name here."""

NETWORK = "agw"
"""The network of most official codes, which is no method."""


def flag_answer(word: str, flags: Iterable[str], method: str | None = None) -> str | None:
    """What to say of a flag of official codes that is none of the command at hand.

    Args:
        word: the flag as it was typed.
        flags: those of the command.
        method: that they are for, if that is known.

    Returns:
        Half a line; None if no official code has the flag.
    """
    flag = next((flag for flag in FLAGS if word in flag.names), None)
    if flag is None:
        return None
    if flag.here in (SAME, AGREE, IGNORED):
        return f"{word} is a flag of training: leave it out here"
    is_of_others = method in CODES and method not in flag.codes
    if is_of_others and (not flag.here or flag.here.startswith("--")):
        code = f"{all_recipes()[method].title}'s official code"
        return f"{word} is a flag of {titles(flag.codes)}, and {code} has none such: leave it out"
    owner = f"{all_recipes()[method].title}'s official code" if method in flag.dead else None
    if owner or flag.dead == flag.codes:
        why = f" ({flag.note})" if flag.note and not flag.here else ""
        return f"{word} has no effect in {owner or 'the official codes'} either{why}: leave it out"
    if not flag.here:
        return f"{word} of the official codes is not needed here ({flag.note}): leave it out"
    first = flag.here.split()[0]
    foreign = first.startswith("--") and first not in flags
    note = f" ({flag.note})" if flag.note else ""
    where = "here, in training" if foreign else "here"
    return f"{word} of the official codes is {where}: {flag.here}{note}"


def script_answer(word: str) -> str | None:
    """What to say of a script of official codes where another word is expected; None of others.

    A name that is nearly that of a script is taken for it.
    """
    known = {name: (script, here) for script in SCRIPTS for name, here in map(script.on, DATASETS)}
    name = word.rpartition("/")[2]
    if name not in known and name.endswith((".py", ".sh")):
        name = next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), name)
    if name not in known:
        return None
    script, here = known[name]
    return f"{name} of the official codes ({titles(script.codes)}) is here: {here}"


def method_name(word: str) -> str:
    """The name of a method, as a flag's value.

    Raises:
        argparse.ArgumentTypeError: it is none; says which was meant, if that is known.
    """
    known = all_recipes()
    if word in known:
        return word
    script, lower = script_answer(word), word.lower()
    if script:
        raise argparse.ArgumentTypeError(script)
    listed = f"'{word}' is not one of {', '.join(known)}"
    if lower == NETWORK:
        raise argparse.ArgumentTypeError(
            f"{listed}: it is the network of most official codes, which their methods have anyway"
        )
    meant = METHODS.get(lower) or next(iter(difflib.get_close_matches(lower, known, n=1)), None)
    raise argparse.ArgumentTypeError(listed + (f": did you mean {meant}?" if meant else ""))


def titles(codes: Iterable[str]) -> str:
    """Names of methods in the literature."""
    named: Sequence[str] = [all_recipes()[code].title for code in codes]
    return ", ".join(named)
