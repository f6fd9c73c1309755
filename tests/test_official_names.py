"""What the official codes call things: the page, the answers of the command line, and our names."""

import re
import shlex
from pathlib import Path

import pytest

from clustercontrast.__main__ import main
from clustercontrast.commands import cli, sweep
from clustercontrast.files import UserError
from clustercontrast.settings.command_line import parse, without_effect_there
from clustercontrast.settings.official import (
    AGREE,
    CODES,
    DATASETS,
    FILES,
    FLAGS,
    IGNORED,
    METHODS,
    SAME,
    SCRIPTS,
    titles,
)
from clustercontrast.settings.options import all_flags
from clustercontrast.settings.recipes import all_recipes

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coming-from.md"
OURS = {flag.spelled for flag in all_flags().values()}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")


# --- the page ---


def codes_cell(codes):
    return "all" if set(codes) == set(CODES) else titles(codes)


def code(text):
    return f"`{text}`"


WORDS = re.compile(
    r"(?<![\w`])(?:--?[a-z][\w-]*|[\w./-]*(?:/|\.(?:pth|txt|md|jsonl?|py|sh))[\w./-]*)(?![\w`])"
)
"""Flags, paths and files in a sentence."""


def marked(text):
    return WORDS.sub(lambda found: code(found[0]), text)


def name_row(own):
    pairs = dict(own.on(dataset) for dataset in DATASETS)
    there, here = ("<br>".join(map(code, dict.fromkeys(side))) for side in (pairs, pairs.values()))
    return f"| {there} | {codes_cell(own.codes)} | {here} | {marked(own.note)} |"


def file_row(own):
    pairs = dict(own.on(dataset) for dataset in DATASETS)
    there, here = "<br>".join(map(code, pairs)), "<br>".join(dict.fromkeys(pairs.values()))
    return f"| {there} | {codes_cell(own.codes)} | {marked(here)} | {marked(own.note)} |"


def flag_row(flag):
    here = flag.here or "leave it out"
    dead = f"no effect {'there' if flag.dead == flag.codes else f'in {titles(flag.dead)}'}"
    notes = "; ".join(filter(None, [flag.note, dead if flag.dead else ""]))
    there = ", ".join(map(code, flag.names))
    return f"| {there} | {codes_cell(flag.codes)} | {marked(here)} | {marked(notes)} |"


def tables():
    """Heading -> rows, as the page must show them."""
    return {
        "Scripts": [name_row(own) for own in SCRIPTS],
        "Flags": [flag_row(flag) for flag in FLAGS],
        "Files": [file_row(own) for own in FILES],
        "Names": [f"| `{there}` | `{here}` |" for there, here in METHODS.items()],
    }


def rows_below(heading):
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("heading", tables())
def test_the_page_has_the_rows_of_the_map(heading):
    assert rows_below(heading) == tables()[heading]


# --- the map ---


def test_a_flag_stands_once():
    names = [name for flag in FLAGS for name in flag.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.names[-1])
def test_what_is_the_same_is_a_flag_of_ours_and_nothing_else_is(flag):
    spelled = OURS | {own.short for own in all_flags().values() if own.short}
    spelled |= {name.replace("--", "--no-", 1) for name in OURS}
    if flag.here == SAME:
        assert set(flag.names) <= spelled
    elif not flag.accepted and flag.names != ("--method",):
        assert not set(flag.names) & spelled
    assert set(flag.dead) <= set(flag.codes) <= set(CODES)
    assert set(FLAG.findall(flag.here)) <= OURS


@pytest.mark.parametrize("own", [*SCRIPTS, *FILES], ids=lambda own: own.name)
def test_names_lead_to_commands_files_and_flags_that_there_are(own):
    assert set(own.codes) <= set(CODES)
    for dataset in DATASETS:
        here = own.on(dataset)[1]
        assert set(FLAG.findall(here)) <= OURS
        words = here.split()
        if words[0] in ("sh", "python"):
            assert (ROOT / words[1]).exists()
        methods = {word for word in words if word in all_recipes()}
        assert len(own.codes) > 1 or methods <= set(own.codes)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda own: own.name)
def test_the_flags_of_a_training_script_are_read_by_its_method(script):
    for dataset in DATASETS:
        words = shlex.split(script.on(dataset)[1])
        if "run_train" in words[1] and words[2] != "METHOD":
            on = "regdb" if "regdb" in words[1] else "sysu"
            assert parse(on, ["--method", *words[2:]]).method == script.codes[0]


# --- the answers ---


def refused(*words, dataset="sysu"):
    with pytest.raises(UserError) as error:
        parse(dataset, words)
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "pgm", "--use-hard"], "is here: --memory hard"),
        (["--method", "pclhd", "--use-hard"], "has no effect in PCLHD's official code either"),
        (["--eps-gap", "0.02"], "--eps-gap has no effect in PCLHD's official code either: leave"),
        (["--method", "cmam", "--eps-gap=0.02"], "no effect in the official codes either"),
        (["--pooling-type", "gem"], "either (the AGW network always pools with GeM, p = 3): leave"),
        (["-a", "resnet50"], "not what pclhd runs, which is -a agw: leave it out, or say --arch"),
        (["--optim", "sgd"], "--optim is a flag of MMM, and PCLHD's official code has none such"),
        (["--method", "pclhd", "--method", "sdcl"], "2 methods are named, pclhd and sdcl"),
        (["--method=pgm", "--method", "sdcl"], "2 methods are named, pgm and sdcl"),
        (["--method", "train_cc_vit_sys.sh"], "train_cc_vit_sysu.sh of the official codes (SDCL)"),
        (["--method", "baseline.py"], "Baseline.py of the official codes (MMM) is here"),
        (["--resume", "x"], "is here: the same command, which goes on by itself"),
        (
            ["--method", "mmm", "--sm_w", "1"],
            "--sm_w of the official codes is here: --mimic-weight",
        ),
        (["--method", "mmm", "--adv-flag"], "no effect in MMM's official code either"),
        (["--method", "pca", "--adv-flag"], "is here: --tal (always on in PCA's code"),
        (["--method", "cc_vit"], "did you mean sdcl?"),
        (["--method", "PCLHD"], "did you mean pclhd?"),
        (["--method", "agw"], "is the network of most official codes"),
        (["--method", "unknown"], "'unknown' is not one of adca, gur, pgm"),
        (["--method", "train_cc_vit_sysu.sh"], "(SDCL) is here: sh run_train_sysu.sh sdcl"),
        (["scripts/PCA_regdb.py"], "PCA_regdb.py of the official codes (PCA) is here: sh run_tr"),
    ],
)
def test_official_words_are_answered_with_ours(words, said):
    assert said in refused(*words)


def test_a_flag_that_is_dead_there_and_changes_the_run_is_said():
    words = "-b 256 -a agw -d regdb_rgb -j 2 --iters 50 --eps 0.6 --num-instances 16"
    said = without_effect_there(parse("regdb", ["--method", "sdcl", *words.split()]))
    assert said == [
        "--batch-size 256 changes this run; it has no effect in the official code of SDCL, which "
        "runs 128",
        "--eps 0.6 changes this run; it has no effect in the official code of SDCL, which runs 0.3",
    ]
    harmless = ["--method", "pgm", "--eps", "0.6", "--data-dir", "elsewhere"]
    assert without_effect_there(parse("sysu", harmless)) == []


ANSWERED = [
    flag
    for flag in FLAGS
    if flag.here not in (SAME, AGREE, IGNORED) and flag.names != ("--method",)
]


@pytest.mark.parametrize("flag", ANSWERED, ids=lambda flag: flag.names[-1])
def test_every_other_flag_of_official_codes_is_answered_in_training(flag):
    for name in flag.names:
        for method in flag.codes:
            line = refused("--method", method, name, "1")
            assert name in line
            assert "did you mean" not in line
            assert (method in flag.dead) == ("has no effect" in line)


@pytest.fixture
def line_of(capsys):
    """The one line with which a command leaves."""

    def run(command, *arguments):
        with pytest.raises(SystemExit) as leaving:
            command(*arguments)
        assert leaving.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
        return line

    return run


def test_every_command_answers(line_of, tmp_path):
    said = "train_cc_vit_regdb.sh of the official codes (SDCL) is here: sh run_train_regdb.sh sdcl"
    assert said in line_of(main, ["train_cc_vit_regdb.sh"])
    grid = ["--dataset", "sysu", "--method", "cc_vit", "--grid", "eps=0.5"]
    assert "did you mean sdcl?" in line_of(sweep.main, grid)
    here = "sh test_sysu.sh logs/sysu/sdcl/seed1/"
    assert here in line_of(cli.test, "sysu", ["test_cc_vit_sysu.sh"])
    assert "-b is a flag of training" in line_of(cli.test, "sysu", ["-b", "256", "-a", "agw"])
    used = "--use-hard of the official codes is here, in training: --memory hard"
    assert used in line_of(cli.prepare, "sysu", ["--use-hard"])
    assert "is here: --device cuda:N" in line_of(cli.test, "sysu", ["--gpu", "1"])
    (tmp_path / "model_best.pth.tar").touch()
    official = f"{tmp_path} is a folder of an official program: give {tmp_path}/model_best.pth.tar"
    assert official in line_of(cli.test, "sysu", [str(tmp_path)])
