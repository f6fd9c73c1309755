"""What sets a run apart from its method as it is: flags as typed, through earlier stages too."""

import pytest
import torch

from clustercontrast.commands.configuration import configuration
from clustercontrast.settings.changes import stage_changes
from clustercontrast.settings.command_line import parse, unread
from clustercontrast.settings.flags import switch
from clustercontrast.settings.options import all_flags
from clustercontrast.settings.recipes import all_recipes

DIGEST = "of some images"


def changes(words, dataset="sysu"):
    return configuration(parse(dataset, words.split()), DIGEST)["changes"]


# --- one stage ---


@pytest.mark.parametrize("dataset", ["sysu", "regdb", "sysu02", "llcm", "custom"])
@pytest.mark.parametrize("method", all_recipes())
def test_the_defaults_of_every_variant_are_no_change(method, dataset):
    for variant in all_recipes()[method].variants:
        found = changes(f"--method {method} --variant {variant}", dataset)
        assert set(map(tuple, found.values())) == {()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--method pgm --eps 0.5", ["--eps cross=0.5"]),
        ("--method pgm --eps 0.5 --eps-visible 0.5", ["--eps cross=0.5"]),
        ("--method pgm --eps-visible 0.6", []),
        (
            "--method pgm --eps 0.5 --eps-visible 0.6",
            ["--eps cross=0.5", "--eps-visible cross=0.6"],
        ),
        ("--method pgm --eps intra=0.5", []),
        ("--method pgm --epochs 20 30", ["--epochs cross=30"]),
        ("--method pgm --association none", ["--association none"]),
        ("--method pgm --no-cam --depth 18", ["--depth 18", "--no-cam"]),
        ("--method pgm --depth 50", []),
        ("--method pgm --pretrained my/imagenet", []),
        ("--method pgm --pretrained my/resnet50-0676ba61.pth", []),
        (
            "--method pgm --pretrained my/resnet50-11ad3fa6.pth",
            ["--pretrained my/resnet50-11ad3fa6.pth"],
        ),
        ("--method pgm --jitter-infrared cross=on", ["--jitter-infrared cross=on"]),
        ("--method pgm --neighbours torch", []),
        ("--method pgm --neighbours ivf", ["--neighbours ivf"]),
        ("--method pgm --precision bf16 --select rank1", ["--precision bf16", "--select rank1"]),
    ],
)
def test_flags_of_a_stage_that_differ_are_written_as_typed(words, expected):
    assert stage_changes(parse("sysu", words.split()), "cross") == expected


def test_where_how_and_which_sample_are_no_configuration():
    words = (
        "--seed 7 --name x --logs-dir y --device cpu --print-freq 3 --data-dir z --draws 3 "
        "--test-batch 8 --selection-images 16 --export-labels on --neighbours faiss "
        "--checkpoint-groups --overwrite"
    )
    assert set(map(tuple, changes(f"--method pgm {words}").values())) == {()}
    assert set(map(tuple, changes("--method pgm --trial 2 --allow-leak", "regdb").values())) == {()}


def switches():
    """Every switch that a method reads as it is, with its other side as a word."""
    for method, recipe in all_recipes().items():
        options, last = parse("sysu", ["--method", method]), list(recipe.stages)[-1]
        for name, flag in all_flags().items():
            is_plain = flag.kind is switch and not (flag.free or flag.sample or flag.per_stage)
            if is_plain and unread(options, flag, last) is None:
                on, off = flag.spelled, flag.spelled.replace("--", "--no-", 1)
                yield pytest.param(method, last, off if options.values[name] else on)


@pytest.mark.parametrize(("method", "stage", "word"), list(switches()))
def test_every_switch_of_a_method_makes_another_configuration(method, stage, word):
    assert changes(f"--method {method} {word}")[stage] == [word]


# --- the stages before ---


def test_changes_of_earlier_stages_are_those_of_later_ones_too():
    found = changes("--method mmm --lr intra=1e-3 --margin 0.3")
    assert found == {
        "intra": ["--lr intra=0.001"],
        "joint": ["--lr intra=0.001"],
        "final": ["--lr intra=0.001", "--margin final=0.3"],
    }


def test_what_starts_from_other_weights_forgets_the_stages_before():
    words = "--method pclhd --eps 0.5 --start-from"
    assert changes(f"{words} pretrained")["progressive"] == [
        "--eps progressive=0.5",
        "--start-from pretrained",
    ]
    assert changes(f"{words} elsewhere.pth")["progressive"] == [
        "--eps progressive=0.5",
        "--start-from PATH",
    ]
    assert changes(f"{words} last")["progressive"] == [
        "--eps intra=0.5",
        "--eps progressive=0.5",
        "--start-from last",
    ]


def saved(path, words, stage, **more):
    """A model file of a run under some flags."""
    options = parse("sysu", words.split())
    about = {
        "method": options.method,
        "dataset": "sysu",
        "variant": options.variant,
        "trial": None,
        **configuration(options, DIGEST),
        "images": {"digest": DIGEST},
        **more,
    }
    torch.save({"stage": stage, "epoch": 49, "about": about, "weights": {}}, path)
    return path


def test_a_model_of_the_stage_before_brings_its_own_changes(tmp_path):
    """As if both stages had been trained by one command."""
    path = saved(tmp_path / "best_test.pth", "--method rpnr --eps intra=0.4", "intra")
    for flag in ("--stage1", "--start-from"):
        found = changes(f"--method rpnr --no-nrl {flag} {path}")
        assert found["robust"] == ["--eps intra=0.4", "--no-nrl"]


def test_a_model_that_the_stage_would_not_start_from_is_named(tmp_path):
    path = saved(tmp_path / "last.pth", "--method rpnr", "intra")
    assert changes(f"--method rpnr --stage1 {path}")["robust"] == ["--start-from last"]


@pytest.mark.parametrize(
    "more",
    [
        {"stage": "robust"},
        {"method": "pclhd"},
        {"dataset": "llcm"},
        {"variant": "paper"},
        {"trial": 2},
        {"name": "other.pth"},
        {"images": {"digest": "of others"}},
    ],
)
def test_any_other_model_of_ours_is_no_published_configuration(tmp_path, more):
    more = dict(more)
    path = tmp_path / more.pop("name", "best_test.pth")
    saved(path, "--method rpnr", more.pop("stage", "intra"), **more)
    found = changes(f"--method rpnr --stage1 {path}")["robust"]
    assert found == ["--start-from another run's model"]


def test_a_model_of_a_stage_that_is_still_trained_is_no_published_configuration(tmp_path):
    path = saved(tmp_path / "last.pth", "--method rpnr --epochs intra=51", "intra")
    found = changes(f"--method rpnr --stage1 {path}")["robust"]
    assert found == ["--start-from the model of an unfinished stage"]


def test_weights_of_others_are_a_file(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "best_test.pth")
    found = changes(f"--method rpnr --stage1 {tmp_path / 'best_test.pth'}")
    assert found["robust"] == ["--start-from PATH"]


@pytest.mark.parametrize(
    ("place", "dataset", "expected"),
    [
        ("baseline/sysu_s1/model_best.pth.tar", "sysu", "baseline/sysu_s1/model_best.pth.tar"),
        ("/a/baseline/sysu_s1/model_best.pth.tar", "sysu", "baseline/sysu_s1/model_best.pth.tar"),
        ("sysu_s1/model_best.pth.tar", "sysu", "PATH"),
        ("baseline/sysu_s1/model_best.pth.tar", "regdb", "PATH"),
    ],
)
def test_the_first_stage_that_authors_publish_is_known_by_its_place(place, dataset, expected):
    found = changes(f"--method rpnr --stage1 {place}", dataset)["robust"]
    assert found == [f"--start-from {expected}"]


def test_transfer_goes_on_from_a_pretrained_model_with_its_changes(tmp_path):
    words = "--method cmam --source x --sp pretrain=off"
    path = saved(tmp_path / "last.pth", words, "pretrain")
    own = "--method cmam --source x --pp off --stages selftrain finetune --start-from"
    found = changes(f"{own} {path}")
    assert found["selftrain"] == ["--pp selftrain=off", "--sp pretrain=off"]
    # what was named is where the first of the two starts
    assert found["finetune"] == ["--pp finetune=off", *found["selftrain"]]


def test_ends_are_the_last_epochs_of_a_runs_own_stages():
    found = configuration(parse("sysu", ["--method", "sdcl", "--epochs", "intra=20"]), DIGEST)
    assert found["ends"] == {"intra": 19, "agreed": 39}
    found = configuration(parse("sysu", ["--method", "cmam", "--source", "x"]), DIGEST)
    assert found["ends"] == {"pretrain": 29, "selftrain": 59, "finetune": 59}
