"""SYSU-MM02 and LLCM by their names: prepared, trained and tested with ``-m clustercontrast``."""

import json

import method_runs
import numpy as np
import pytest
import tiny_runs

from clustercontrast.__main__ import main
from clustercontrast.data.images import open_prepared
from clustercontrast.data.preparation import READERS
from clustercontrast.data.provenance import TITLES
from clustercontrast.evaluation.protocols import DIRECTIONS, SWAPPED
from clustercontrast.rendering.llcm import LLCM_SIZES, render_llcm
from clustercontrast.rendering.manifests import SYSU02_SIZES, render_sysu02
from clustercontrast.report.tables import METRICS
from clustercontrast.report.tested import gather

RENDER = {
    "sysu02": lambda root: render_sysu02(root, SYSU02_SIZES["tiny"], seed=3),
    "llcm": lambda root: render_llcm(root, LLCM_SIZES["tiny"], seed=3),
}
DRAWS = {"sysu02": 1, "llcm": 2}


@pytest.fixture(scope="module", params=["sysu02", "llcm"])
def trained(request, tmp_path_factory):
    """Name of a dataset, its folder and that of a run on it."""
    name = request.param
    place = tmp_path_factory.mktemp(name)
    RENDER[name](place / "people")
    data = ["--data-dir", str(place / "people")]
    main(["prepare", "--dataset", name, *data, *tiny_runs.SIZE, "-j", "1"])
    numbers = tiny_runs.tiny_flags("adca", name)
    words = ["--method", "adca", *data, "--logs-dir", str(place / "logs"), *numbers]
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        main(["train", f"--dataset={name}", *words])
    return name, place / "people", tiny_runs.run_folder(place / "logs", "adca", on=name)


def test_runs_are_reported_in_both_directions(trained):
    name, _, folder = trained
    report = json.loads((folder / "report.json").read_text())
    last = [row for row in report["results"] if row["selection"] == "last"]
    assert [row["mode"] for row in last] == list(DIRECTIONS)
    assert {row["searches"] for row in last} == {DRAWS[name]}
    text = (folder / "report.txt").read_text()
    result = "an LLCM" if name == "llcm" else f"a {TITLES[name]}"
    assert f"rendered identities: not {result} result" in text
    assert ("±" in "".join(line for line in text.splitlines() if "last epoch" in line)) == (
        name == "llcm"
    )


@pytest.mark.parametrize(
    ("method", "stage", "more"),
    [
        ("bmil", "invariance", {"joint_infrared", "joint_visible"}),
        ("posed", "unified", {"unified", "distil_infrared", "distil_visible"}),
    ],
)
def test_further_methods_train_on_all_visible_images(
    method, stage, more, trained, tmp_path, monkeypatch
):
    """Half of them is SYSU-MM01's share alone."""
    name, people, _ = trained
    tiny_runs.use_small_encoder(monkeypatch)
    flags = ["--epochs", "1", *method_runs.FLAGS[method]]
    numbers = tiny_runs.tiny_flags(method, name, *flags)
    places = ["--data-dir", str(people), "--logs-dir", str(tmp_path)]
    main(["train", "--dataset", name, "--method", method, *places, *numbers, *flags])
    folder = tmp_path / name / method / "seed1"
    last = tiny_runs.events(folder)[-1]
    assert (last["stage"], last["loss"].keys()) == (
        stage,
        {"infrared", "visible", "total"} | more,
    )
    with np.load(folder / stage / "labels" / "epoch_000.npz") as labels:
        assert "visible_rows" not in labels
    assert (folder / "report.json").exists()


def test_gur_trains_without_camera_labels_by_default(trained, tmp_path, monkeypatch):
    """Its three steps on sets with other cameras than SYSU-MM01's."""
    name, people, _ = trained
    tiny_runs.use_small_encoder(monkeypatch)
    flags = "--unify-from", "1", "--smooth-from", "1", "--joint-epochs", "1"
    numbers = tiny_runs.tiny_flags("gur", name, *flags)
    places = ["--data-dir", str(people), "--logs-dir", str(tmp_path)]
    main(["train", "--dataset", name, "--method", "gur", *places, *numbers, *flags])
    folder = tmp_path / name / "gur" / "seed1"
    own = {"infrared", "visible", "total"}
    losses = [event["loss"].keys() for event in tiny_runs.events(folder)]
    assert losses == [own | {"joint_infrared", "joint_visible"}, own]
    assert (folder / "report.json").exists()


def test_agreement_is_logged_where_training_people_are_known(trained):
    name, people, folder = trained
    known = name == "llcm"
    prepared = open_prepared(people.with_name("people-32x16"), name)
    identities = prepared["train_visible"].index.identities
    assert (np.unique(identities).tolist() == [-1]) != known
    for event in tiny_runs.events(folder):
        for modality in ("visible", "infrared"):
            assert {"clusters", "outliers"} <= event["clusters"][modality].keys()
            assert ("ari" in event["clusters"][modality]) == known
    assert (folder / "curves.png").exists()


def test_a_finished_run_is_tested_again(trained, monkeypatch, capsys):
    name, _, folder = trained
    tiny_runs.use_small_encoder(monkeypatch)
    before = (folder / "report.txt").read_text()
    more = ["--draws", "2"] if name == "llcm" else []
    main(["test", str(folder), "--dataset", name, *more, "--device", "cpu"])
    assert (folder / "report.txt").read_text() == before
    assert "written to" in capsys.readouterr().out


def test_the_swapped_search_is_shown_when_asked_for_and_on_llcm_alone(trained, monkeypatch, capsys):
    name, _, folder = trained
    tiny_runs.use_small_encoder(monkeypatch)
    words = ["test", str(folder), "--dataset", name, "--swapped", "--device", "cpu"]
    if name != "llcm":
        with pytest.raises(SystemExit):
            main(words)
        assert "--swapped" in capsys.readouterr().err
        return
    main([*words, "--draws", "1"])
    found = json.loads((folder / "report.json").read_text())["results"]
    assert {row["mode"] for row in found} == {*DIRECTIONS, *SWAPPED}
    (heading,) = SWAPPED.values()
    text = (folder / "report.txt").read_text()
    assert text.count(heading) == len({row["selection"] for row in found})
    # in comparisons of runs it has no column
    assert len(gather(folder).model_row("last")) == 1 + len(METRICS) * len(DIRECTIONS)
    main(["test", str(folder), "--dataset", name, "--draws", "2", "--device", "cpu"])
    assert heading not in (folder / "report.txt").read_text()


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "-h"]])
def test_help_names_every_dataset_and_where_its_images_come_from(words, capsys):
    main(words)
    shown = capsys.readouterr().out
    for name, reader in READERS.items():
        assert f"  {name} " in shown
        assert reader.SOURCE in shown


@pytest.mark.parametrize("action", ["prepare", "train", "test"])
@pytest.mark.parametrize("name", READERS)
def test_help_of_an_action_is_that_of_its_command(action, name, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([action, "--dataset", name, "--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert "--data-dir" in shown
    if action == "test":
        assert ("--draws" in shown) == (name in ("sysu", "llcm", "custom"))
        assert ("--trial" in shown) == (name == "regdb")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train"], "train needs --dataset: sysu, regdb, sysu02, llcm"),
        (["train", "--dataset", "mars"], "mars"),
        (["train", "--dataset"], "--dataset"),
        (["fly", "--dataset", "llcm"], "'fly' is not one of prepare, train, test"),
        (["--dataset", "llcm"], "'' is not one of"),
        (["prepare", "--dataset", "sysu02", "--data-dir", "nowhere"], READERS["sysu02"].SOURCE),
        (["train", "--dataset", "llcm", "--data-dir", "x"], "prepare --dataset llcm --data-dir x"),
        (["test", "--dataset", "sysu02", "x", "--draws", "2"], "--draws"),
    ],
)
def test_mistakes_are_one_line(words, named, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert named in line
