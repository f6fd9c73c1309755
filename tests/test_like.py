"""``--like``: the values of another run, what lies over them, what is refused."""

import json

import pytest

from clustercontrast.commands import cli
from clustercontrast.files import UserError
from clustercontrast.settings.command_line import check_needs, parse
from clustercontrast.settings.like import lacking

TYPED = ("--method", "pgm", "--eps", "0.55", "--epochs", "intra=20", "--name", "old", "--seed", "7")


def config(folder, options, **changes):
    """The config.json of a run with these values, as training writes it."""
    about = {key: getattr(options, key) for key in ("method", "dataset", "variant")}
    content = {
        "about": about,
        "values": options.values,
        "numbers": options.numbers(),
        "versions": {"clustercontrast": "0.0"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content | changes))
    return folder / "config.json"


def like(place, *words, dataset="sysu"):
    return parse(dataset, ["--like", str(place), *words])


@pytest.fixture
def old(tmp_path):
    return config(tmp_path / "old", parse("sysu", TYPED))


@pytest.mark.parametrize(
    "words",
    [
        TYPED,
        ("--method", "pclhd", "--variant", "paper", "--no-hpcl", "--momentum", "0.2"),
        ("--method", "rpnr", "--stage1", "weights.pth"),
        ("--method", "sdcl", "--k1-visible", "intra=31"),
        ("--method", "cmam", "--source", "crops", "--source-splits", "train", "query"),
    ],
)
def test_a_repetition_has_the_same_numbers(tmp_path, words):
    """Switches, values of stages, lists, None and flags that follow others survive the file."""
    options = parse("sysu", words)
    again = like(config(tmp_path, options))
    assert json.loads(json.dumps(again.numbers())) == json.loads(json.dumps(options.numbers()))
    same = {name for name in options.values if name != "name"}
    assert {n: again.values[n] for n in same} == {n: options.values[n] for n in same}
    assert again.name is None


def test_where_the_values_come_from(old):
    """What differs from the defaults is as in the file, the rest has its own origin."""
    options, usual = like(old.parent), parse("sysu", ["--method", "pgm"])
    from_file = {name for name, origin in options.origins.items() if origin == f"as in {old}"}
    assert from_file == {"eps", "epochs", "seed"}
    assert options.origins["lr"] == usual.origins["lr"]


def test_flags_of_which_an_older_file_says_nothing_are_named(tmp_path):
    options = parse("sysu", TYPED)
    older = {name: own for name, own in options.values.items() if name not in ("k1", "stages")}
    found = like(config(tmp_path, options, values=older))
    assert lacking(found.origins) == [
        "the run of --like says nothing of --k1: defaults of this version"
    ]
    assert lacking(like(config(tmp_path, options)).origins) == []


def test_flags_lie_over_it_wherever_they_stand(old):
    before = parse("sysu", ["--eps", "0.5", "--like", str(old), "--epochs", "cross=9"])
    assert (before.eps, before.epochs) == (0.5, {"intra": 20, "cross": 9})
    assert before.origins["eps"] == "command line"
    assert like(old, "--method", "pgm", "--name", "new").name == "new"


def test_a_leader_leads_followers_of_the_file(tmp_path):
    old = config(tmp_path, parse("sysu", ["--method", "pgm", "--eps-visible", "0.5"]))
    assert like(old, "--eps", "0.4").at("intra").eps_visible == 0.4


@pytest.mark.parametrize(
    ("words", "dataset", "line"),
    [
        (["--method", "adca"], "sysu", "is of --method pgm on sysu, .* and not of --method adca"),
        (["--variant", "v2024"], "sysu", "--variant v2023, and not of --variant v2024"),
        ([], "regdb", "and this command trains on regdb"),
        (["--hpcl"], "sysu", "pgm on sysu does not read --hpcl"),
    ],
)
def test_what_is_about_something_else_is_refused(old, words, dataset, line):
    with pytest.raises(UserError, match=line):
        like(old, *words, dataset=dataset)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"gone": 1, "lost": None}, "version 0.0 and holds --gone, --lost, which pgm on sysu"),
        ({"eps": 7}, "config.json: --eps: '7' is not a number from"),
        ({"eps": [0.5]}, r"--eps is \[0.5\] there"),
        ({"epochs": {"intra": 3}}, "--epochs is {'intra': 3} there"),
        ({"seed": None}, "--seed is None there"),
        ({"memory": "elephant"}, "'elephant' is not one of"),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path, values, line):
    options = parse("sysu", TYPED)
    place = config(tmp_path, options, values=options.values | values)
    with pytest.raises(UserError, match=line):
        like(place)


def test_places_that_are_no_run(tmp_path, old):
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        like(tmp_path / "nowhere")
    (old.parent.parent / "trials").mkdir()
    config(tmp_path / "trials" / "trial3", parse("sysu", TYPED))
    with pytest.raises(UserError, match=r"it holds several runs, give one: .*trial3"):
        like(tmp_path / "trials")
    about = {"method": "magic", "dataset": "sysu", "variant": "v"}
    with pytest.raises(UserError, match="names no method of this version: 'magic'"):
        like(config(tmp_path / "magic", parse("sysu", TYPED), about=about))
    (tmp_path / "other.json").write_text(json.dumps({"about": about}))
    with pytest.raises(UserError, match="values is missing"):
        like(tmp_path / "other.json")


def test_a_file_of_weights_that_the_run_named_must_be_there(tmp_path):
    old = config(tmp_path, parse("sysu", ["--method", "pgm", "--pretrained", "gone.pth"]))
    with pytest.raises(UserError, match=r"--pretrained gone\.pth: there is no such file"):
        check_needs(like(old))


def test_help_shows_the_values_of_the_file(old, capsys):
    with pytest.raises(SystemExit):
        cli.train("sysu", ["--like", str(old), "--help"])
    shown = capsys.readouterr().out
    assert f"[0.55; as in {old}]" in shown
    assert "--like RUN" in shown
