"""Every flag once, every default once, and no value whose origin is not known."""

import argparse
import ast
import contextlib
import importlib.util
import itertools
import re
from pathlib import Path

import pytest
import torch

import clustercontrast
from clustercontrast.files import UserError
from clustercontrast.methods import METHODS
from clustercontrast.models.two_stream_resnet import BODIES
from clustercontrast.settings import flags as table
from clustercontrast.settings.command_line import RESNETS, check_needs, parse
from clustercontrast.settings.options import all_flags, flags_of_method, flags_of_run, readers
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DATASETS, SHARED_ROWS

PACKAGE = Path(clustercontrast.__file__).parent
STAGES = {method: [stage.name for stage in stages] for method, stages in METHODS.items()}
OFFICIAL = ("pgm", "pclhd", "adca", "rpnr", "pca")
RECIPES = all_recipes()


def read(*argv, method="pclhd", dataset="sysu"):
    return parse(dataset, ["--method", method, *argv])


# --- the table of flags, the recipes ---


def test_a_flag_stands_once():
    own = [flag.name for recipe in RECIPES.values() for flag in recipe.flags]
    names = [flag.name for flag in table.SHARED] + own
    assert len(names) == len(set(names))
    assert set(names) == set(all_flags())


def test_a_recipe_names_flags_that_there_are():
    for recipe in RECIPES.values():
        for names in (recipe.run, recipe.when, recipe.choices, *recipe.stages.values()):
            assert set(names) <= set(all_flags())
        for row in (*SHARED_ROWS, *recipe.rows):
            assert row.values.keys() <= set(all_flags())


def test_what_flags_say_of_one_another_exists():
    for flag in all_flags().values():
        when = flag.when if isinstance(flag.when, tuple) else (flag.when,)
        others = {flag.follows, flag.also_with, *itertools.chain(*when)} - {None}
        assert others <= set(all_flags()), flag


def test_the_recipes_know_the_stages():
    assert {method: list(recipe.stages) for method, recipe in RECIPES.items()} == STAGES


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_flag_of_a_method_has_a_default_with_an_origin(method, dataset):
    options = read(method=method, dataset=dataset)
    names = {flag.name for flag in flags_of_method(RECIPES[method], dataset)}
    assert options.values.keys() == names
    assert options.origins.keys() | {"variant"} == names
    for stage, own in RECIPES[method].stages.items():
        at = vars(options.at(stage))
        assert at.keys() == {*own, *flags_of_run(RECIPES[method], dataset)}


def attributes_read(path: Path) -> set[str]:
    """Names behind a dot, and the second argument of ``getattr``."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    dotted = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    calls = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "getattr"]
    return dotted | {n.args[1].value for n in calls if isinstance(n.args[1], ast.Constant)}


def test_every_flag_of_a_run_is_read_by_the_commands_the_engine_or_the_data():
    rooms = ("commands", "engine", "data", "methods")
    files = [path for room in rooms for path in (PACKAGE / room).rglob("*.py")]
    attributes = set().union(*map(attributes_read, files))
    for recipe in RECIPES.values():
        for dataset in DATASETS:
            # --stage1 stands for --start-from and --stages
            assert flags_of_run(recipe, dataset) - attributes <= {"stage1"}


def test_flags_that_may_change_on_resuming():
    free = {flag.name for flag in all_flags().values() if flag.free}
    assert free == {
        "device", "logs_dir", "data_dir", "cache_dir", "cache_root", "print_freq", "overwrite",
        "stages", "name", "seeds",
        "images", "test_batch", "checkpoint_groups", "compile", "draws", "allow_leak", "shard",
        "allow_incomplete", "intensity_range", "swapped", "manifest",
    }  # fmt: skip


# --- the official scripts ---

SHARED = {  # the same in all three
    "height": 288, "width": 144, "num_instances": 16, "k1": 30, "k2": 6, "lr": 3.5e-4,
    "weight_decay": 5e-4, "epochs": 50, "iters": 200, "step_size": 20, "seed": 1, "temp": 0.05,
    "batch_visible": 128, "min_samples": 4, "eps": 0.6, "cam": True, "depth": 50,
    "padding": 10, "flip": 0.5, "erasing": 0.5, "eval_step": 1, "print_freq": 10,
    "pretrained": "imagenet", "start_from": "test", "precision": "tf32", "smooth": 0,
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


def at_stage(values, method, stage):
    """Expected values of the flags that a stage reads; each must be read by one stage at least."""
    own = {*RECIPES[method].stages[stage], *flags_of_run(RECIPES[method], "regdb")}
    assert all(readers(RECIPES[method], name) or name in own for name in values)
    scalar = {k: v[stage] if isinstance(v, dict) else v for k, v in values.items()}
    return {name: value for name, value in scalar.items() if name in own}


@pytest.mark.parametrize("method", OFFICIAL)
def test_defaults_are_those_of_the_official_scripts(method):
    scripted = SHARED | SCRIPTS[method]
    draws = {"eval_draws": scripted.pop("eval_draws", 1)}
    assert read(method=method).values.items() >= draws.items()
    for stage in STAGES[method]:
        got = vars(read(method=method).at(stage))
        expected = at_stage(scripted, method, stage)
        assert {key: got[key] for key in expected} == expected
        assert got["eps_visible"] == got["eps_infrared"] == got.get("eps_joint", 0.6) == 0.6


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
    scripted = SHARED | SCRIPTS[method] | own
    scripted.pop("eval_draws", None)
    for stage in STAGES[method]:
        got = vars(options.at(stage))
        expected = at_stage(scripted, method, stage)
        expected.pop("eps", None)
        assert {key: got[key] for key in expected} == expected
        assert got["eps_visible"] == got["eps_infrared"] == got.get("eps_joint", 0.3) == 0.3
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
    assert (final.batch_size, final.num_instances, final.bn_groups) == (24, 4, 1)
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
        "edge_norm": "percentile", "weight_decay": 0, "held_out": 0, "fake_flip": False,
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


@pytest.mark.parametrize("dataset", DATASETS)
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


def test_print_and_decisions_of_cmam_differ_in_these_flags():
    """A2, A3, A17; the relation losses are sums and no image is held out in both."""
    decisions, literal = (read(*flags, method="cmam") for flags in ((), ("--variant", "literal")))
    for stage in STAGES["cmam"]:
        before, now = (vars(options.at(stage)) for options in (decisions, literal))
        changed = {name: (before[name], now[name]) for name in now if now[name] != before[name]}
        changed.pop("variant")
        assert changed == {
            name: values
            for name, values in {
                "identity_reduction": ("mean", "sum"),
                "neck": ("bnneck", "none"),
                "proxy_update": ("batch_mean", "sequential"),
            }.items()
            if name in RECIPES["cmam"].stages[stage]
        }
        if "sp_reduction" in now:
            assert now["sp_reduction"] == now["pp_reduction"] == "sum"


def test_every_seed_has_the_values_that_it_would_have_alone():
    options = read("--seeds", "4", "2", "--start-from", "there/{seed}/{trial}.pth")
    four, two = options.of_each_seed()
    assert [four.group_seed, two.group_seed] == [4, 2]
    assert four.numbers() == read("--seed", "4", "--start-from", "there/4/{trial}.pth").numbers()
    assert two.of_trial(7).start_from == "there/2/7.pth"
    alone = read("--seed", "4")
    assert alone.of_each_seed() == [alone]
    assert alone.group_seed is None


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--seeds", "1", "2", "--seed", "1"], "--seeds stands in place of --seed"),
        (["--seeds", "1", "2", "1"], "--seeds 1 2 1 names a seed twice"),
        (["--seeds", "-1"], "--seeds: '-1' is not a whole number"),
    ],
)
def test_seeds_are_refused_in_one_line(argv, said):
    with pytest.raises(UserError, match=re.escape(said)):
        read(*argv)


def test_stages_whose_files_runs_share_may_have_a_seed_of_their_own():
    alone, apart = (read("--seed", "7", *f, method="cmam") for f in ((), ("--shared-seed", "3")))
    shared = ("auxiliary", "diffusion")
    assert {stage: alone.at(stage).seed for stage in STAGES["cmam"]} == dict.fromkeys(
        STAGES["cmam"], 7
    )
    assert {stage: apart.at(stage).seed for stage in STAGES["cmam"]} == {
        stage: 3 if stage in shared else 7 for stage in STAGES["cmam"]
    }


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
    before = vars(read(method="pgm").at("cross"))  # the defaults of both stages are the same
    assert {k: v for k, v in intra.items() if before[k] != v} == {
        "variant": "v2024",
        "jitter_infrared": True,
    }
    assert {k: v for k, v in cross.items() if before[k] != v} == {
        "variant": "v2024",
        "memory": "hard",
    }


def test_pclhd_paper_follows_the_equations():
    """PCLHD Eq. 1-7, 14-15, 19-23; λ and 1 - λ weigh hard and dynamic prototypes."""
    intra, progressive = (read("--variant", "paper").at(s) for s in STAGES["pclhd"])
    assert (intra.memory, progressive.memory) == ("sequential", "hybrid")
    assert progressive.centroid_weight == 0
    assert (progressive.hard_init, progressive.hard_update) == ("farthest", "every")
    assert (progressive.memory_gradient, progressive.unit_prototypes) == ("clean", False)
    assert progressive.dynamic_query == "both"
    assert progressive.cross_hard_weight == 1  # whatever λ is
    assert progressive.joint_branch is False
    assert progressive.start_from == "last"
    assert (progressive.dynamic_weight, progressive.hard_weight) == (None, 0.5)  # 1 - λ


@pytest.mark.parametrize(
    ("method", "dataset", "variant", "always", "rounds"),
    [
        ("pclhd", "sysu", "upstream", True, "upstream"),  # its code ends in an error otherwise
        ("pclhd", "regdb", "upstream", False, "total"),
        ("pclhd", "regdb", "paper", True, "total"),
        ("pclhd", "sysu", "paper", True, "total"),
        ("pgm", "sysu", "v2023", False, "total"),
        ("pgm", "sysu", "v2024", False, "total"),
        ("pgm", "regdb", "v2023", True, "total"),
    ],
)
def test_clusters_are_matched_as_in_the_official_runs(method, dataset, variant, always, rounds):
    """PGM-4."""
    values = read("--variant", variant, method=method, dataset=dataset).values
    assert (values["match_always"], values["matching_rounds"]) == (always, rounds)


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
        ["--iters", "intra=1", "intra=2"],
        ["--cam", "on", "off"],
        ["--cam", "intra=on"],
        ["--iters", "cross=2"],
        ["--memory", "intra=soft"],
    ],
)
def test_wrong_per_stage_values_are_refused(argv):
    with pytest.raises(UserError, match=argv[0]):
        read(*argv)


def test_following_values():
    stage = read("--eps", "0.5", "--eps-joint", "progressive=0.7").at("progressive")
    assert (stage.eps_visible, stage.eps_infrared, stage.eps_joint) == (0.5, 0.5, 0.7)
    at = read("--eps", "0.5", "0.4").at
    assert (at("intra").eps_visible, at("progressive").eps_visible) == (0.5, 0.4)


OTHERS_K1 = 25, "codes of DMDL and CEIL"
OWN_K1 = {"posed": (30, "ours, as on SYSU-MM01")}


def test_llcm_is_clustered_with_25_neighbours_by_every_method_that_clusters_it():
    for method, recipe in RECIPES.items():
        options = parse("llcm", ["--method", method])
        for stage, flags in recipe.stages.items():
            if "k1_visible" in flags:
                own, (k1, origin) = options.at(stage), OWN_K1.get(method, OTHERS_K1)
                assert (own.k1, own.k1_visible) == (k1, k1), (method, stage)
                assert options.origins["k1"] == origin
    # CMAM-UDA's k1 is that of the source's labels
    assert parse("llcm", ["--method", "cmam"]).k1 == 30


def test_a_flag_on_the_command_line_leads_followers_with_defaults_of_their_own():
    """SDCL has --k1-visible 30 and 15, and on RegDB another momentum in epoch 0."""
    intra, agreed = (read(method="sdcl").at(stage) for stage in STAGES["sdcl"])
    assert (intra.k1, intra.k1_visible, agreed.k1_visible) == (30, 30, 15)
    at = read("--k1", "20", method="sdcl").at
    assert [(at(s).k1, at(s).k1_visible) for s in STAGES["sdcl"]] == [(20, 20), (20, 20)]
    at = read("--k1", "intra=20", method="sdcl").at
    assert [(at(s).k1, at(s).k1_visible) for s in STAGES["sdcl"]] == [(20, 20), (30, 15)]
    at = read("--k1", "20", "--k1-visible", "8", method="sdcl").at
    assert [(at(s).k1, at(s).k1_visible) for s in STAGES["sdcl"]] == [(20, 8), (20, 8)]
    assert read(method="sdcl", dataset="regdb").at("intra").first_momentum == 0.99
    led = read("--momentum", "0.3", method="sdcl", dataset="regdb")
    assert led.at("intra").first_momentum == 0.3


def test_switches():
    assert read("--no-cam").at("intra").cam is False
    assert read("--cam", "off").at("intra").cam is False
    assert read("--no-cam", "--cam").at("intra").cam is True
    assert read("--no-jitter-infrared", method="pgm").at("cross").jitter_infrared is False
    both = read("--jitter-infrared", "on", "off", method="pgm").at
    assert [both(stage).jitter_infrared for stage in STAGES["pgm"]] == [True, False]
    assert read("--no-joint-branch").at("progressive").joint_branch is False
    assert read("--non-local", method="adca").at("intra").non_local is True


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
    with pytest.raises(UserError, match="pclhd on sysu does not read --trial"):
        read("--trial", "1")
    with pytest.raises(UserError, match="pclhd on regdb does not read --draws"):
        read("--draws", "1", dataset="regdb")


def test_stages_are_read_from_the_command_line():
    assert read().stages is None
    assert read("--stages", "progressive").stages == ["progressive"]


# --- origins and variants ---


def test_origins():
    origins = read("--k1", "20", "--variant", "paper").origins
    assert origins["k1"] == "command line"
    assert origins["lr"] == "official script"
    assert origins["logs_dir"] == "ours"
    assert origins["hard_init"] == "paper, Eq. 3-23"
    later = read("--variant", "v2024", method="pgm").origins
    assert later["memory"] == "official script of 2024"
    assert read(method="cmam").origins["unet_width"] == "EDM"


def test_later_rows_win():
    """Shared rows, the dataset's, the method's in their order."""
    values = read("--variant", "paper", dataset="regdb").values
    assert values["batch_visible"] == 256  # the row of the variant, not [64, 128] of RegDB
    assert values["eps"] == 0.3
    assert read(method="cmam", dataset="regdb").values["eps"] == 0.5


def test_variants_of_the_methods():
    assert RECIPES["pgm"].variants == ("v2023", "v2024")
    assert RECIPES["pclhd"].variants == ("upstream", "paper")
    assert RECIPES["adca"].variants == ("upstream",)
    assert RECIPES["cmam"].variants == ("default", "literal")
    with pytest.raises(UserError, match="choose from v2023, v2024"):
        read("--variant", "paper", method="pgm")


def test_numbers_leave_out_where_and_how_the_run_happens():
    a = read("--logs-dir", "x", "--device", "cpu", "--print-freq", "3", "--draws", "2").numbers()
    assert a == read().numbers()
    assert read("--k1", "20").numbers() != a


# --- refusal ---


IGNORED = [  # method, flags, what the message says
    ("adca", ["--ema-decay", "0.9"], "adca on sysu does not read --ema-decay: pclhd, united do"),
    (
        "adca",
        ["--eps-joint", "0.1"],
        "does not read --eps-joint: gur, mmm, pclhd, pca, bmil, united do",
    ),
    ("pgm", ["--hinge", "9"], "--memory hybrid, which is sequential"),
    ("adca", ["--hinge", "9"], "--hinge: pgm, mmm, pclhd, rpnr, pca, bmil, posed, united do"),
    ("adca", ["--memory", "hybrid"], "not one of sequential, hard"),
    ("adca", ["--vit-width", "128"], "--arch vit, which is resnet"),
    ("adca", ["--eps-gap", "1"], "no effect in ADCA's official code either"),
    ("supervised", ["--eps", "0.01"], "does not read --eps"),
    ("supervised", ["--temp", "3"], "does not read --temp"),
    ("supervised", ["--memory", "hybrid"], "does not read --memory"),
    ("supervised", ["--hard-k", "7"], "does not read --hard-k"),
    ("supervised", ["--start-from", "last"], "does not read --start-from"),
    ("cmam", ["--cam"], "does not read --cam"),
    ("cmam", ["--non-local"], "does not read --non-local"),
    ("cmam", ["--parts", "2", "--label-method", "kmeans"], "--label-method pplr"),
    ("cmam", ["--temp", "0.1"], "--head cosine"),
    ("pclhd", ["--stage1="], "--stage1: the value is empty"),
    ("pclhd", ["--stage1", "a.pth", "--start-from", "last"], "leave out --start-from"),
    ("pclhd", ["--stage1", "a.pth", "--stages", "intra"], "takes the place of stage intra"),
    ("pclhd", ["--hard-k", "2"], "--hard-init farthest, which is centroid"),
    ("pclhd", ["--hinge", "0.1", "--no-hpcl"], "--hpcl alone, which is off"),
    (
        "pclhd",
        ["--variant", "paper", "--hard-update-k", "2"],
        "in stage intra it is read with --memory hybrid, which is sequential; in stage progressive "
        "it is read with --hard-update hardest, which is every",
    ),
    ("pclhd", ["--joint-k1", "9", "--no-joint-branch"], "--joint-branch alone, which is off"),
    ("pclhd", ["--joint-k1", "intra=9"], "stage intra of pclhd does not read --joint-k1"),
    ("pclhd", ["--joint-k1", "9", "8"], "one for each stage that reads it: progressive"),
    ("pclhd", ["--dynamic-query", "online", "--no-dpcl"], "--dpcl alone, which is off"),
    ("pclhd", ["--forget-last"], "--association mmm, which is pgm"),
    ("pclhd", ["--cross-weight", "1", "--association", "none"], "--association pgm or mmm"),
    ("pclhd", ["--eps", "0.5", "--no-joint-branch", "--pseudo-labels", "l.npz"], "not read beside"),
    ("pca", ["--joint-k1", "intra=9"], "--log-association alone, which is off"),
    ("mmm", ["--batch-visible", "final=4"], "stage final of mmm does not read --batch-visible"),
    ("mmm", ["--match-always"], "does not read --match-always"),
    ("sdcl", ["--memory", "hybrid"], "not one of sequential, hard"),
    ("rpnr", ["--npc-members", "3", "--no-npc"], "--npc alone, which is off"),
]


@pytest.mark.parametrize(("method", "argv", "said"), IGNORED)
def test_a_flag_that_would_be_ignored_is_refused(method, argv, said):
    with pytest.raises(UserError) as error:
        read(*argv, method=method)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_switch_that_a_flag_needs_lets_it_in():
    assert read("--memory", "hybrid", "--hinge", "9", method="pgm").at("intra").hinge == 9
    assert (
        read("--log-association", "--joint-k1", "intra=9", method="pca").at("intra").joint_k1 == 9
    )
    given = read("--eps", "0.5", "--pseudo-labels", "labels.npz").at("progressive")
    assert given.eps_joint == 0.5  # the joint clustering still reads it


def test_the_last_stage_of_mmm_has_the_groups_that_it_is_given():
    assert [read(method="mmm").at(stage).bn_groups for stage in STAGES["mmm"]] == [2, 2, 1]
    at = read("--bn-groups", "2", method="mmm").at
    assert [at(stage).bn_groups for stage in STAGES["mmm"]] == [2, 2, 2]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--epoch", "--epochs"),
        ("--iter", "--iters"),
        ("--ema_decay", "--ema-decay"),
        ("--hard_init=centroid", "--hard-init"),
    ],
)
def test_a_mistyped_flag_is_met_with_the_nearest_one(word, meant):
    with pytest.raises(UserError, match=f"did you mean {meant}\\?"):
        read(word, "3")


AGREEING = [
    ("pclhd", "sysu", ["-d", "sysu_all", "-a", "agw", "-mb", "CMhybrid"]),
    ("rpnr", "sysu", ["--dataset", "sysu", "--arch", "agw", "-mb", "CMhcl"]),
    ("adca", "regdb", ["-d", "regdb_rgb", "-a", "agw", "--memorybank", "CM"]),
    ("sdcl", "sysu", ["-a", "agw"]),
]


@pytest.mark.parametrize(("method", "dataset", "argv"), AGREEING)
def test_flags_of_official_scripts_are_understood_where_they_agree(method, dataset, argv):
    given, plain = (read(*words, method=method, dataset=dataset) for words in (argv, []))
    assert given.values == plain.values


@pytest.mark.parametrize(
    ("method", "argv", "said"),
    [
        ("pclhd", ["-d", "regdb_rgb"], "trains on sysu"),
        ("pclhd", ["-a", "resnet50"], "say --arch and --depth"),
        ("pgm", ["-mb", "CMhcl"], "say --memory hybrid"),
        ("pgm", ["-mb", "CMx"], "say --memory sequential, hard or hybrid"),
        ("cmam", ["-a", "agw"], "not what cmam runs"),
    ],
)
def test_flags_of_official_scripts_that_do_not_agree_are_refused(method, argv, said):
    with pytest.raises(UserError) as error:
        read(*argv, method=method)
    assert said in str(error.value)


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
        (["--k1", "0"], "from 1 to 1000000"),
        (["--seed", "-1"], "from 0 to 9223372036854775807"),
        (["--seed", "1.5"], "a whole number"),
        (["--lr", "nan"], "a number"),
        (["--lr", "0"], "a number from 1e-12 to 100"),
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
    with pytest.raises(
        UserError, match=r"--depth 101 is not a ResNet .* choose from 10, 18, 34, 50"
    ):
        read("--depth", "101", method=method)
    assert tuple(BODIES) == RESNETS


BEYOND = ["1" + "0" * 22, "1" + "0" * 500, "1e39", "1e400", "-1e400", "nan", "inf", "-inf", "-1",
          "1_0", "\u0661", "\uff11", "0x10", "", " ", "1e-300", "1.5.1"]  # fmt: skip
WORDS = table.text, table.folder_name, table.switch, table.shard
NUMBERS = {name: flag for name, flag in all_flags().items() if flag.kind not in WORDS}


@pytest.mark.parametrize("name", NUMBERS)
def test_no_flag_takes_a_number_beyond_any_range(name):
    """Bounds are part of every kind: what no float32, no memory and no generator can hold."""
    taken = []
    for word in BEYOND:
        with contextlib.suppress(argparse.ArgumentTypeError):
            NUMBERS[name].kind(word)
            taken.append(word)
    # A probability or a weight may be as small as one likes, a logarithm negative.
    assert taken in ([], ["1e-300"], ["-1", "1e-300"])
    with pytest.raises(argparse.ArgumentTypeError) as error:
        NUMBERS[name].kind("1" + "0" * 500)
    assert re.search(r"is not a (whole )?number from \S+ to \S+$", str(error.value))
    assert len(str(error.value)) < 120


def test_seeds_that_a_generator_takes():
    """A stage adds 32 bits of its name, and k-means an epoch."""
    largest = read("--seed", str(2**63 - 1)).at("intra").seed
    torch.Generator().manual_seed(largest + 2**32 + 10**6)


@pytest.mark.parametrize(
    "argv",
    [["--padding", "1000000000"], ["--epochs", "1000000000000"], ["--temp", "1e-300"],
     ["--height", "100000"], ["--lr", "1e39"], ["--seed", "1" + "0" * 22]],
)  # fmt: skip
def test_numbers_beyond_any_range_are_one_line(argv):
    with pytest.raises(UserError, match=rf"{argv[0]}: .* number from \S+ to \S+ \(--help") as error:
        read(*argv)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["faiss", "ivf", "hnsw"])
def test_faiss_is_asked_for_before_anything_is_computed(monkeypatch, word):
    options, installed = read("--neighbours", word), {"faiss": "a package"}
    monkeypatch.setattr(importlib.util, "find_spec", installed.get)
    check_needs(options)
    installed.clear()
    with pytest.raises(UserError, match=f"--neighbours {word} needs faiss: pip install faiss-cpu"):
        check_needs(options)
    check_needs(read("--neighbours", "torch"))
    check_needs(read())


def test_values_at_the_bounds_are_accepted():
    at = read("--eps", "1", "--momentum", "0", "--k1", "1", "--seed", "0").at("intra")
    assert (at.eps, at.momentum, at.k1, at.seed) == (1, 0, 1, 0)
