"""Every flag once, every default once, and no value whose origin is not known."""

import argparse
import ast
from pathlib import Path

import pytest

from clustercontrast.data.preparation import READERS
from clustercontrast.files import UserError
from clustercontrast.methods import METHODS
from clustercontrast.models.two_stream_resnet import BODIES
from clustercontrast.settings import options as options_module
from clustercontrast.settings import recipes
from clustercontrast.settings.flags import REJECTED, add_flags
from clustercontrast.settings.options import FOLLOWS, RESNETS, RUN_ONLY, parse
from clustercontrast.settings.recipes import RECIPES, UNUSED, matching, variants

PACKAGE = Path(options_module.__file__).parents[1]
STAGES = {method: [stage.name for stage in stages] for method, stages in METHODS.items()}
OFFICIAL = ("pgm", "pclhd", "adca", "rpnr", "pca")


def read(*argv, method="pclhd", dataset="sysu"):
    return parse(dataset, STAGES, ["--method", method, *argv])


def flags() -> set[str]:
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser, ["first", "second"])
    return {action.dest for action in parser._actions}


def test_every_recipe_key_is_a_flag():
    keys = {key for row in RECIPES.values() for key in row}
    assert keys <= flags()


def test_every_flag_has_a_value_somewhere():
    keys = {key for row in RECIPES.values() for key in row}
    assert flags() - keys == {"method"}


def attributes_read(path: Path) -> set[str]:
    """Names behind a dot, and the second argument of ``getattr``."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    dotted = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    calls = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "getattr"]
    return dotted | {n.args[1].value for n in calls if isinstance(n.args[1], ast.Constant)}


def test_every_flag_is_read_somewhere():
    files = [path for path in PACKAGE.rglob("*.py") if path.name not in ("options.py", "flags.py")]
    attributes = set().union(*map(attributes_read, files))
    unread = flags() - attributes
    # Leaders are read through their followers, --hpcl through --memory, --stage1 through
    # --start-from and --stages.
    assert unread <= {*FOLLOWS.values(), "hpcl", "stage1"}, unread


def test_no_default_stands_with_the_flags():
    tree = ast.parse((PACKAGE / "settings/flags.py").read_text(encoding="utf-8"))
    function = next(n for n in ast.walk(tree) if getattr(n, "name", "") == "add_flags")
    keywords = {k.arg for n in ast.walk(function) if isinstance(n, ast.Call) for k in n.keywords}
    assert "default" not in keywords


def test_flags_that_may_change_on_resuming_exist():
    assert flags() >= RUN_ONLY
    assert not RUN_ONLY & {"seed", "epochs", "eps", "precision", "bn_groups"}


def test_every_method_has_a_recipe_and_a_value_for_every_flag_it_reads():
    for method, stages in METHODS.items():
        for dataset in READERS:
            given = read(method=method, dataset=dataset)
            for stage in stages:
                assert vars(given.at(stage.name)).keys() == given.values.keys()


def test_a_list_in_a_recipe_has_one_value_per_stage():
    for key, row in RECIPES.items():
        for name, value in row.items():
            if isinstance(value, list):
                assert len(value) == len(STAGES[key[0]]), (key, name)


# --- the official scripts ---

SHARED = {  # the same in all three
    "height": 288, "width": 144, "num_instances": 16, "k1": 30, "k2": 6, "lr": 3.5e-4,
    "weight_decay": 5e-4, "epochs": 50, "iters": 200, "step_size": 20, "seed": 1, "temp": 0.05,
    "batch_visible": 128, "min_samples": 4, "eps": 0.6, "cam": True, "depth": 50,
    "padding": 10, "flip": 0.5, "erasing": 0.5, "eval_step": 1, "print_freq": 10,
    "pretrained": "imagenet", "start_from": "test", "precision": "fp32", "smooth": 0,
    "memory_gradient": "upstream",
}  # fmt: skip
SCRIPTS = {
    "pgm": {  # four GPUs; evaluated from epoch 6, ten galleries, by mAP
        "batch_size": 256, "momentum": 0.2, "bn_groups": 4, "non_local": True,
        "memory": "sequential", "cross_weight": 0.25, "select": "mAP", "eval_from": 6,
        "eval_draws": 10, "jitter_exchanged": True, "jitter_infrared": False,
    },
    "pclhd": {  # two GPUs; one gallery, by Rank-1
        "batch_size": 128, "momentum": 0.1, "bn_groups": 2, "non_local": True,
        "memory": "hybrid", "cross_weight": 0.25, "select": "rank1", "eval_from": 0,
        "eval_draws": 1, "ema_decay": 0.999, "hinge": 0.2, "hard_weight": 0.5,
        "centroid_weight": 0.5, "dynamic_weight": 1.0, "joint_k1": 40, "joint_k2": 32,
        "hard_init": "centroid", "dynamic_query": "momentum", "joint_branch": True,
        "retrieval": "momentum_encoder", "jitter_exchanged": False,
    },
    "adca": {  # with the values hard-coded there; four GPUs
        "batch_size": 256, "momentum": 0.1, "bn_groups": 4, "non_local": False,
        "memory": "sequential", "vote_threshold": 0.5, "aggregation_weight": 0.1,
        "select": "mAP", "eval_from": 6, "jitter_exchanged": False,
    },
    "rpnr": {  # two GPUs
        "batch_size": 128, "momentum": 0.1, "bn_groups": 2, "non_local": True,
        "memory": "hybrid", "cross_weight": 0.25, "select": "rank1", "eval_from": 0,
        "hinge": 0.2, "hard_weight": 0.5, "centroid_weight": 0.5, "association": "ot",
        "ot_regularisation": 5, "npc": True, "npc_members": 20, "npc_threshold": 0.5, "mhl": True,
        "mhl_weight": 0.5, "nrl": True, "nrl_weight": 10, "nrl_normalise": False,
        "jitter_exchanged": False, "jitter_infrared": False,
    },
    "pca": {  # two GPUs; ten galleries
        "batch_size": 64, "batch_visible": 64, "momentum": 0.1, "bn_groups": 2,
        "non_local": False, "memory": "sequential", "joint_k1": 40, "joint_k2": 32,
        "tal": True, "cne": True, "mcl": True, "modality_lr": 0.01, "log_association": False,
        "adversarial_from": {"intra": 25, "invariant": 0}, "start_competes": False,
        "adversarial_weight": {"intra": 1.0, "invariant": 0.1}, "select": "mAP",
        "eval_from": {"intra": 6, "invariant": 0}, "eval_draws": 10,
        "jitter_exchanged": False, "jitter_infrared": False,
    },
}  # fmt: skip


def at_stage(values, stage):
    return {k: v[stage] if isinstance(v, dict) else v for k, v in values.items()}


@pytest.mark.parametrize("method", OFFICIAL)
def test_defaults_are_those_of_the_official_scripts(method):
    for stage in STAGES[method]:
        got = vars(read(method=method).at(stage))
        expected = at_stage(SHARED | SCRIPTS[method], stage)
        assert {key: got[key] for key in expected} == expected
        assert got["eps_visible"] == got["eps_infrared"] == got["eps_joint"] == 0.6


REGDB = {  # what differs from SYSU-MM01
    "pgm": {"epochs": 30, "step_size": 10, "jitter_infrared": False, "memory": "sequential"},
    "pclhd": {"batch_visible": {"intra": 64, "progressive": 128}},
    "adca": {},
    "rpnr": {"npc_members": 5, "batch_visible": 64},
    "pca": {"eval_from": 0, "joint_k1": 38, "joint_k2": 18, "start_competes": True},
}


@pytest.mark.parametrize(
    ("method", "variant"),
    [("pgm", "v2023"), ("pgm", "v2024")]
    + [(m, "upstream") for m in ("pclhd", "adca", "rpnr", "pca")],
)
def test_defaults_of_regdb_are_those_of_the_official_scripts(method, variant):
    """Both generations of PGM run the same on RegDB (PGM-1)."""
    options = read("--variant", variant, method=method, dataset="regdb")
    own = REGDB[method] | {"iters": 100, "data_dir": "data/RegDB", "trial": 1}
    for stage in STAGES[method]:
        got = vars(options.at(stage))
        expected = at_stage(SHARED | SCRIPTS[method] | own, stage)
        expected = {k: v for k, v in expected.items() if k not in ("eps", "eval_draws")}
        assert {key: got[key] for key in expected} == expected
        assert got["eps_visible"] == got["eps_infrared"] == got["eps_joint"] == 0.3
        assert not {"draws", "eval_draws"} & got.keys()


def test_the_paper_has_whole_batches_on_regdb_too():
    options = read("--variant", "paper", dataset="regdb")
    assert {options.at(stage).batch_visible for stage in STAGES["pclhd"]} == {256}


@pytest.mark.parametrize("dataset", ["sysu", "regdb"])
def test_defaults_of_mmm_are_those_of_its_two_programs(dataset):
    """Baseline and final training (docs/methods/mmm.md)."""
    options = read(method="mmm", dataset=dataset)
    intra, joint, final = (options.at(stage) for stage in STAGES["mmm"])
    for a in (intra, joint):
        assert (a.batch_size, a.batch_visible, a.num_instances, a.bn_groups) == (128, 128, 16, 2)
        assert (a.epochs, a.lr, a.step_size, a.momentum, a.memory) == (
            50, 3.5e-4, 20, 0.1, "sequential"
        )  # fmt: skip
        assert a.iters == {"sysu": 200, "regdb": 100}[dataset]
    assert (joint.joint_k1, joint.joint_k2) == {"sysu": (40, 32), "regdb": (38, 18)}[dataset]
    assert joint.eps_joint == {"sysu": 0.6, "regdb": 0.3}[dataset]
    assert (intra.export_labels, joint.export_labels) == (False, True)
    assert (final.batch_size, final.batch_visible, final.num_instances) == (24, 24, 4)
    assert (final.epochs, final.lr, final.weight_decay, final.iters) == (100, 0.1, 5e-4, 0)
    assert (final.warm_epochs, final.margin) == (5, 0.2)
    assert (final.mimic_weight, final.alignment_weight) == (0.5, 0.05)
    assert (final.association, final.forget_last, final.non_local) == ("mmm", True, True)
    assert read("--variant", "paper", method="mmm").forget_last is False


CMAM = {  # of the paper, and decisions (docs/methods/cmam.md#decisions)
    "auxiliary": {
        "label_method": "pplr", "source_format": "market", "parts": 3, "k1": 30, "k2": 6,
        "source_splits": ["train", "gallery", "query"], "epochs": 50, "iters": 400,
        "batch_size": 64, "num_instances": 4, "eps": 0.5, "min_samples": 4, "lr": 3.5e-4,
        "agreement_neighbours": 20, "refinement": 0.5, "agreement_from": 5, "padding": 10,
        "source_cameras": False, "source_outliers": "drop", "step_size": 20, "weight_decay": 5e-4,
    },
    "diffusion": {
        "fake_height": 192, "fake_width": 64, "fake_channels": 1, "unet_width": 192,
        "unet_multipliers": [1, 2, 3, 4], "unet_blocks": 1, "attention_at": [32, 16, 8],
        "attention_axis": "width", "unet_dropout": 0.1, "batch_size": 32, "lr": 1e-4,
        "sigma_data": 0.5, "noise_mean": -1.2, "noise_std": 1.2, "ema_ramp": 0.05,
        "edge_norm": "percentile", "weight_decay": 0, "held_out": 0.02, "fake_flip": False,
    },
    "generation": {
        "sampling_steps": 20, "solver": "heun", "sigma_min": 0.002, "sigma_max": 80, "rho": 7,
        "batch_size": 256, "noise_seed": 0, "precision": "bf16", "only_clustered": True,
    },
    "pretrain": {
        "phase_one": 15, "batch_size": 64, "num_instances": 16, "lr": 3.5e-4,
        "warm_iterations": 2000, "first_lr": 3.5e-6, "flat_iterations": 9000, "last_lr": 7.7e-7,
        "weight_decay": 5e-4, "probability_weight": 0.1, "similarity_weight": 0.5,
        "pp_reduction": "sum", "sp_reduction": "sum", "relation_logits": "margin",
        "relation_temperature": 1, "circle_margin": 0.35, "circle_scale": 64, "smooth": 0.1,
        "neck": "bnneck", "gem_exponent": 3, "train_gem": True, "height": 384, "width": 128,
        "flip": 0.5, "erasing": 0.5, "jitter_probability": 1, "share_augmentation": True,
        "joint_forward": True, "relation_mode": "selective", "sp": True, "pp": True,
        "models": "both", "pair": "rgb-gray", "padding": 0, "freeze_iterations": 0,
    },
    "selftrain": {
        "batch_size": 64, "num_instances": 4, "lr": 1e-4, "warm_iterations": 2000,
        "first_lr": 1e-6, "flat_iterations": 2000, "clusters": 400, "clusters_infrared": 400,
        "iters": 200, "matching": "bgm", "match_similarity": "cosine", "concatenation": "each",
        "bank": "shared", "momentum": 0.2, "proxy_update": "batch_mean", "proxy_init": "balanced",
        "head": "circle", "temp": 0.05, "probability_weight": 0.01, "similarity_weight": 0.05,
        "cross_triplet": False, "class_draw": "shared", "start_from": "last",
    },
}  # fmt: skip


@pytest.mark.parametrize("dataset", READERS)
@pytest.mark.parametrize("stage", CMAM)
def test_defaults_of_cmam_are_those_of_the_paper_and_the_decisions(dataset, stage):
    got = vars(read(method="cmam", dataset=dataset).at(stage))
    assert {key: got[key] for key in CMAM[stage]} == CMAM[stage]


@pytest.mark.parametrize(
    ("stage", "iterations"),
    [("diffusion", 50_000), ("pretrain", 30_000), ("selftrain", 12_000), ("finetune", 12_000)],
)
def test_cmam_trains_as_long_as_the_paper(stage, iterations):
    at = read(method="cmam").at(stage)
    assert at.epochs * at.iters == iterations


def test_flags_that_a_method_has_no_use_for_are_refused():
    for method, names in UNUSED.items():
        shared = RECIPES["*", "*"].keys()
        assert set(names) <= shared
        for name in ("cam", "non_local"):
            with pytest.raises(UserError, match=f"{method} on sysu does not use"):
                read("--" + name.replace("_", "-"), method=method)


def test_finetuning_is_run_when_asked_for():
    assert "finetune" not in read(method="cmam").stages
    assert read("--stages", "finetune", method="cmam").stages == ["finetune"]


def test_a_foreign_first_stage_takes_its_place():
    options = read("--stage1", "authors.pth.tar", method="rpnr")
    assert (options.start_from, options.stages) == ("authors.pth.tar", ["robust"])
    assert read(method="rpnr").stages is None


def test_pgm_v2024_differs_from_v2023_in_two_stages():
    """PGM-1, PGM-2: jittered infrared images in stage 1, the hardest-sample update in stage 2."""
    intra, cross = (vars(read("--variant", "v2024", method="pgm").at(s)) for s in STAGES["pgm"])
    before = vars(read(method="pgm").at("intra"))
    assert {k: v for k, v in intra.items() if before[k] != v} == {
        "variant": "v2024",
        "jitter_infrared": True,
    }
    assert {k: v for k, v in cross.items() if before[k] != v} == {
        "variant": "v2024",
        "memory": "hard",
    }


def test_pclhd_paper_is_the_equations():
    """PCLHD Eq. 3-5, 6-7, 19-23; λ and 1 - λ weigh hard and dynamic prototypes."""
    intra, progressive = (read("--variant", "paper").at(s) for s in STAGES["pclhd"])
    assert (intra.memory, progressive.memory) == ("sequential", "hybrid")
    assert progressive.centroid_weight == 0
    assert progressive.hard_init == "farthest"
    assert progressive.dynamic_query == "online"
    assert progressive.joint_branch is False
    assert progressive.dynamic_weight == 0.5


# --- values ---


def test_one_value_one_per_stage_or_by_name():
    at = read("--iters", "7").at
    assert (at("intra").iters, at("progressive").iters) == (7, 7)
    at = read("--iters", "7", "9").at
    assert (at("intra").iters, at("progressive").iters) == (7, 9)
    at = read("--iters", "progressive=9").at
    assert (at("intra").iters, at("progressive").iters) == (200, 9)
    at = read("--memory", "intra=hard", "--variant", "paper").at
    assert (at("intra").memory, at("progressive").memory) == ("hard", "hybrid")


@pytest.mark.parametrize(
    "argv",
    [
        ["--iters", "1", "2", "3"],
        ["--iters", "1", "progressive=2"],
        ["--iters", "cross=2"],
        ["--memory", "intra=soft"],
    ],
)
def test_wrong_per_stage_values_are_refused(argv):
    with pytest.raises(UserError, match=argv[0]):
        read(*argv)


def test_following_values():
    at = read("--eps", "0.5", "--eps-joint", "progressive=0.7").at
    stage = at("progressive")
    assert (stage.eps_visible, stage.eps_infrared, stage.eps_joint) == (0.5, 0.5, 0.7)
    assert at("intra").eps_joint == 0.5
    at = read("--eps", "0.5", "0.4").at
    assert (at("intra").eps_visible, at("progressive").eps_visible) == (0.5, 0.4)


def test_the_dynamic_weight_of_the_paper_follows_lambda_unless_given():
    paper = ("--variant", "paper", "--hard-weight", "0.3")
    assert read(*paper).at("progressive").dynamic_weight == pytest.approx(0.7)
    given = read(*paper, "--dynamic-weight", "0.1").at("progressive")
    assert given.dynamic_weight == pytest.approx(0.1)
    assert read("--hard-weight", "0.3").at("progressive").dynamic_weight == 1.0


def test_switches():
    assert read("--no-cam").at("intra").cam is False
    assert read("--no-joint-branch").at("progressive").joint_branch is False
    assert read("--non-local", method="adca").at("intra").non_local is True


def test_hard_prototypes_off_leaves_centroids():
    off = read("--no-hpcl")
    assert {off.at(stage).memory for stage in STAGES["pclhd"]} == {"sequential"}
    assert read("--no-hpcl", "--memory", "hard").at("progressive").memory == "hard"
    assert read().at("progressive").memory == "hybrid"


def test_trials():
    assert read().trials() == [None]
    assert read().trial_number is None
    assert read(dataset="regdb").trials() == [1]
    options = read("--trial", "3", "5", "--start-from", "runs/trial{trial}/x.pth", dataset="regdb")
    assert options.trials() == [3, 5]
    fifth = options.of_trial(5)
    assert (fifth.trial_number, fifth.start_from) == (5, "runs/trial5/x.pth")
    assert options.start_from == "runs/trial{trial}/x.pth"
    assert fifth.numbers() != options.of_trial(3).numbers()
    with pytest.raises(UserError, match="pclhd on sysu does not use --trial"):
        read("--trial", "1")
    with pytest.raises(UserError, match="pclhd on regdb does not use --draws"):
        read("--draws", "1", dataset="regdb")


def test_stages_are_read_from_the_command_line():
    assert read().stages is None
    assert read("--stages", "progressive").stages == ["progressive"]


# --- origins and variants ---


def test_origins():
    origins = read("--k1", "20", "--variant", "paper").origins
    assert origins["k1"] == "command line"
    assert origins["lr"] == "*/*"
    assert origins["eps"] == "*/sysu"
    assert origins["ema_decay"] == "pclhd/*"
    assert origins["hard_init"] == "pclhd/*/paper"
    assert read("--variant", "v2024", method="pgm").origins["memory"] == "pgm/sysu/v2024"


def test_later_rows_win():
    assert matching("pgm", "sysu", "v2024") == [
        ("*", "*"),
        ("*", "sysu"),
        ("pgm", "*"),
        ("pgm", "sysu"),
        ("pgm", "*", "v2024"),
        ("pgm", "sysu", "v2024"),
    ]


def test_variants_of_the_methods():
    assert variants("pgm") == ["v2023", "v2024"]
    assert variants("pclhd") == ["upstream", "paper"]
    assert variants("adca") == ["upstream"]
    with pytest.raises(UserError, match="choose from v2023, v2024"):
        read("--variant", "paper", method="pgm")


def test_numbers_leave_out_where_and_how_the_run_happens():
    a = read("--logs-dir", "x", "--device", "cpu", "--print-freq", "3", "--draws", "2").numbers()
    assert a == read().numbers()
    assert read("--k1", "20").numbers() != a


def test_recipes_are_data():
    known = {"RECIPES", "Row", "UNSUPERVISED", "MATCHED", "UNUSED", "matching", "variants"}
    assert not [n for n in vars(recipes) if n not in known and not n.startswith("__")]


# --- refusal ---


@pytest.mark.parametrize("flag", REJECTED)
def test_dead_official_flags_are_refused_with_their_reason(flag):
    with pytest.raises(UserError) as error:
        read(flag, "1")
    assert flag in str(error.value)
    assert REJECTED[flag] in str(error.value)


def test_flags_of_other_methods_are_refused():
    with pytest.raises(UserError, match="adca on sysu does not use --ema-decay"):
        read("--ema-decay", "0.9", method="adca")


@pytest.mark.parametrize("argv", [["--bogus"], ["--iter", "3"], ["surplus"]])
def test_unknown_words_and_abbreviations_are_refused(argv):
    with pytest.raises(UserError, match="--help lists the flags"):
        read(*argv)


@pytest.mark.parametrize(
    ("argv", "bound"),
    [
        (["--eps", "1.01"], "from 1e-06 to 1"),
        (["--eps", "0"], "from 1e-06 to 1"),
        (["--momentum", "-0.01"], "from 0 to 1"),
        (["--k1", "0"], "of at least 1"),
        (["--seed", "-1"], "of at least 0"),
        (["--seed", "1.5"], "a whole number"),
        (["--lr", "nan"], "a number"),
        (["--lr", "0"], "a number of at least"),
        (["--lr", "inf"], "a number"),
        (["--lr", "fast"], "'fast' is not a number"),
        (["--draws", "11"], "from 1 to 10"),
    ],
)
def test_values_out_of_range_are_refused(argv, bound):
    with pytest.raises(UserError, match=argv[0]) as error:
        read(*argv)
    assert bound in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["pclhd", "cmam"])
def test_depths_that_there_are_not_are_refused(method):
    with pytest.raises(UserError, match=r"--depth 101 is no ResNet .* choose from 10, 18, 34, 50"):
        read("--depth", "101", method=method)
    assert tuple(BODIES) == RESNETS


def test_values_at_the_bounds_are_accepted():
    at = read("--eps", "1", "--momentum", "0", "--k1", "1", "--seed", "0").at("intra")
    assert (at.eps, at.momentum, at.k1, at.seed) == (1, 0, 1, 0)
