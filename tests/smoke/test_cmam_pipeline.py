"""CMAM-UDA's whole pipeline on rendered identities: four stages, skipped, shared, killed, resumed.

The commands and networks are the real ones; only sizes are tiny, the ResNets' blocks too.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import narrow_resnet
import numpy as np
import pytest
import tiny_runs
import torch
from PIL import Image

from clustercontrast.commands import cli
from clustercontrast.commands.report import main as report
from clustercontrast.data.source_labels import FILE
from clustercontrast.engine.run import Run
from clustercontrast.generation import panels
from clustercontrast.generation.fake_infrared import FakeSet

ROOT = Path(__file__).parents[2]
STAGES = ("auxiliary", "diffusion", "generation", "pretrain", "selftrain")
SHARED = STAGES[:3]


def shared(logs, stage):
    """The one folder of a shared stage."""
    (folder,) = (logs / "shared").glob(f"{stage}-*")
    return folder


def shared_folders(logs):
    return {folder for folder in (logs / "shared").iterdir() if folder.is_dir()}


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    with pytest.MonkeyPatch.context() as patch:
        narrow_resnet.use(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Logs of a finished run of all stages."""
    logs = tmp_path_factory.mktemp("cmam")
    cli.train("sysu", tiny_runs.cmam_arguments(logs))
    yield logs
    shutil.rmtree(logs)


def run_of(logs, name="seed1", on="sysu"):
    return tiny_runs.run_folder(logs, "cmam", name, on)


# --- what a run leaves ---


def test_every_stage_leaves_its_files(finished):
    labels = np.load(shared(finished, "auxiliary") / "auxiliary" / FILE)
    assert labels["label"].max() >= 1
    assert set(labels["split"]) == {"bounding_box_train"}
    fakes = shared(finished, "generation")
    assert np.load(fakes / "train_visible.done.npy").all()
    done, wanted = np.load(fakes / "source.done.npy"), labels["label"] >= 0
    assert np.array_equal(done, wanted)
    pixels = np.load(fakes / "train_visible.npy")
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (16, 8, 1)
    assert len(np.unique(pixels)) > 20
    for name in ("source", "train_visible"):
        with Image.open(fakes / f"{name}.png") as picture:
            assert min(picture.size) > 50
    for stage in ("pretrain", "selftrain"):
        state = torch.load(run_of(finished) / stage / "last.pth", weights_only=True)
        assert {"joint", "gray"} <= state["networks"].keys()
        assert state["epoch"] == 1


def test_the_report_is_of_m_joint_and_finite(finished):
    report = read(run_of(finished) / "report.json")
    assert report["about"]["method"] == "cmam"
    assert "rendered" in report["dataset"]
    for result in report["results"]:
        assert math.isfinite(result["mAP"]["mean"])
    last = torch.load(run_of(finished) / "selftrain" / "last.pth", weights_only=True)
    assert last["retrieval"] == "joint"


def test_every_term_of_both_papers_stages_is_logged(finished):
    events = tiny_runs.events(run_of(finished))
    by_stage = {stage: [e for e in events if e["stage"] == stage] for stage in STAGES[3:]}
    views = ("joint_visible", "joint_fake", "gray_fake")
    own = {f"{kind}_{view}" for kind in ("identity", "triplet") for view in views}
    one, two = (set(e["loss"]) for e in by_stage["pretrain"])
    similarities = {"similarity_to_gray", "similarity_to_joint"}
    pairs = {"pair_cosine", "pair_agreement", "gem_joint", "gem_gray", "total"}
    assert one == own | similarities | pairs
    assert two == one | {"probability_to_gray", "probability_to_joint"}
    last = by_stage["selftrain"][-1]
    assert {f"probability_{m}" for m in ("visible", "infrared")} <= last["loss"].keys()
    assert last["clusters"]["joint"]["clusters"] == 10
    assert 0 <= last["scores"]["cycle"] <= 1


def test_running_times_of_the_run_stand_beside_the_papers(finished):
    table = read(run_of(finished) / "times.json")
    amounts = {row["name"]: row["amount"] for row in table["ours"]}
    made = sum(np.load(shared(finished, "generation") / f"{name}.done.npy").sum()
               for name in ("source", "train_visible"))  # fmt: skip
    assert amounts == {
        "source labels": 2,
        "diffusion training": 8,
        "generation": made,
        "mutual pretraining": 4,
        "self-training": 4,
        "features and k-means": 2,
        "of which features": 2 * 2 * (250 + 145),  # re-clusterings, networks, training images
        "inference": 195,
    }
    assert all(row["seconds"] > 0 for row in table["ours"])
    assert "1.16 s" in (run_of(finished) / "times.txt").read_text()


def test_a_generation_killed_before_its_commit_commits(finished):
    """Every fake was there, and last.pth was not yet."""
    folder = shared(finished, "generation") / "generation"
    before = torch.load(folder / "last.pth", weights_only=True)
    (folder / "last.pth").unlink()
    cli.train("sysu", tiny_runs.cmam_arguments(finished, "--stages", "generation"))
    again = torch.load(folder / "last.pth", weights_only=True)
    assert tiny_runs.differences(again, before) == []


# --- skipping and sharing ---


def times_of_files(folder):
    return {
        p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.suffix in (".pth", ".npy", ".npz")
    }


def test_the_same_images_at_several_steps_in_one_sheet(finished, tmp_path):
    """Rows for the image, its edges and four numbers of steps; five images of 16x8 pixels."""
    out = tmp_path / "steps.png"
    words = ["steps", str(run_of(finished)), "--steps", "1", "2", "3", "4", "--images", "5"]
    report([*words, "--device", "cpu", "--out", str(out)])
    with Image.open(out) as picture:
        width = panels.LABELS + 5 * (8 + panels.MARGIN) + panels.MARGIN
        height = panels.HEADING + 6 * (16 + panels.MARGIN) + panels.MARGIN
        assert picture.size == (width, height)


def test_whole_stages_are_skipped(finished, capsys):
    before = times_of_files(finished)
    cli.train("sysu", tiny_runs.cmam_arguments(finished, "--stages", *SHARED))
    cli.train("sysu", tiny_runs.cmam_arguments(finished))
    assert times_of_files(finished) == before
    said = capsys.readouterr().out
    assert said.count("finished before, skipped") == 3
    assert "trained and tested before, left as it is" in said


@pytest.mark.slow
def test_an_ablation_of_the_last_stages_shares_the_first(finished, capsys):
    """Table III, UDA2, from the run's own stage 2."""
    before = times_of_files(finished / "shared")
    start = str(run_of(finished) / "pretrain" / "last.pth")
    more = ["--name", "uda2", "--stages", "selftrain", "--start-from", start]
    cli.train("sysu", tiny_runs.cmam_arguments(finished, *more, "--pp", "selftrain=off"))
    assert times_of_files(finished / "shared") == before
    event, _ = tiny_runs.events(run_of(finished, "uda2"))
    assert "similarity_visible" in event["loss"]
    assert "probability_visible" not in event["loss"]
    assert f"{start}: " in capsys.readouterr().out


def test_flags_of_the_generator_make_another_one(finished):
    before = shared_folders(finished)
    more = ["--edge-norm", "max", "--stages", "diffusion", "--iters", "1", "--epochs", "1"]
    cli.train("sysu", tiny_runs.cmam_arguments(finished, *more))
    (new,) = shared_folders(finished) - before
    assert new.name.startswith("diffusion-")
    config = read(new / "config.json")
    assert config["basis"]["flags"]["edge_norm"] == "max"
    assert "clusters" not in config["basis"]["flags"]
    shutil.rmtree(new)  # the other tests look for one generator


@pytest.mark.slow
def test_stage_2_alone_is_reported(finished):
    """Zero-shot transfer: M_joint before it has labels of the target, and no cycle to rate."""
    more = ["--name", "two", "--stages", "pretrain"]
    cli.train("sysu", tiny_runs.cmam_arguments(finished, *more))
    found = {r["selection"] for r in read(run_of(finished, "two") / "report.json")["results"]}
    assert found == {"chance", "untrained", "start", "last", "test"}


@pytest.mark.slow
def test_m_gray_is_tested_on_fakes(finished, capsys):
    """Table III, M_gray: fakes of the test images are made, and only those."""
    before = times_of_files(finished / "shared")
    cli.train("sysu", tiny_runs.cmam_arguments(finished, "--name", "gray", "--models", "gray"))
    after = times_of_files(finished / "shared")
    changed = {p.name for p in after if after[p] != before.get(p)}
    assert changed == {"test_visible.npy", "test_visible.done.npy", "last.pth"}
    folder = run_of(finished, "gray")
    last = torch.load(folder / "selftrain" / "last.pth", weights_only=True)
    assert last["retrieval"] == "gray"
    report = read(folder / "report.json")["results"]
    capsys.readouterr()
    cli.test("sysu", [str(folder), "--device", "cpu", "--draws", "2"])
    again = read(folder / "report.json")["results"]
    assert again == report
    capsys.readouterr()
    place = ["--data-dir", str(tiny_runs.dataset()), "--device", "cpu", "--draws", "2"]
    cli.test("sysu", [str(folder / "selftrain" / "last.pth"), *place])  # its size, its fakes
    (last,) = [r for r in report if (r["selection"], r["mode"]) == ("last", "all")]
    assert f"{last['mAP']['mean']:.2f} ± {last['mAP']['std']:.2f}" in capsys.readouterr().out


@pytest.mark.slow
def test_finetuning_with_some_labels_goes_on_from_stage_3(finished):
    start = str(run_of(finished) / "selftrain" / "last.pth")
    more = ["--name", "semi", "--stages", "finetune", "--labelled", "0.5", "--start-from", start]
    cli.train("sysu", tiny_runs.cmam_arguments(finished, *more))
    events = tiny_runs.events(run_of(finished, "semi"))
    assert [event["stage"] for event in events] == ["finetune"] * 2
    assert events[0]["clusters"]["joint"]["clusters"] == 8  # half of 16 people
    assert events[0]["clusters"]["joint"]["ari_clean"] == 1.0


# --- killed and resumed ---


def is_interrupted(logs):
    """Start the command; whether it was interrupted.  Batches of 60 fakes are soon lost."""
    try:
        cli.train(
            "sysu", tiny_runs.cmam_arguments(logs, "--batch-size", "8", "8", "60", "8", "8", "8")
        )
    except SystemExit as leaving:
        return leaving.code == 130
    return False


@pytest.mark.slow
def test_every_stage_killed_and_resumed_equals_undisturbed(finished, tmp_path, monkeypatch):
    """Before every commit of every stage, and after every batch of fakes."""
    gone_off = set()

    def once(position):
        if position not in gone_off:
            gone_off.add(position)
            raise KeyboardInterrupt

    closing, writing = Run.close_epoch, FakeSet.write

    def close_epoch(run, stage, epoch):
        once((stage.name, epoch))
        closing(run, stage, epoch)

    def write(fakes, rows, pixels):
        writing(fakes, rows, pixels)
        once((fakes.name, tuple(rows)))

    monkeypatch.setattr(Run, "close_epoch", close_epoch)
    monkeypatch.setattr(FakeSet, "write", write)
    while is_interrupted(tmp_path):
        assert len(gone_off) < 300
    epochs = {position for position in gone_off if position[0] in STAGES}
    assert {stage for stage, _ in epochs} == set(STAGES)
    assert len(gone_off) > 12
    for name in ("auxiliary", "diffusion", "generation"):
        ours, theirs = (tiny_runs.saved(shared(logs, name)) for logs in (tmp_path, finished))
        if name == "generation":
            for kind in ("source", "train_visible"):
                a, b = (
                    np.load(shared(logs, name) / f"{kind}.npy") for logs in (tmp_path, finished)
                )
                assert np.array_equal(a, b)
        else:
            assert tiny_runs.differences(ours, theirs) == []
    ours, theirs = (tiny_runs.saved(run_of(logs)) for logs in (tmp_path, finished))
    found = tiny_runs.differences(ours, theirs)
    assert [place for place in found if "generation" not in place] == []  # its flag is on record


@pytest.mark.slow
def test_processes_of_torchrun_share_the_images(finished, tmp_path):
    """Those that they make, and those that they find unprepared."""
    shutil.rmtree(f"{tiny_runs.dataset('market')}-train-16x8")
    flags = tiny_runs.cmam_arguments(finished, "--stages", "generation", "--sampling-steps", "2")
    before = shared_folders(finished)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(ROOT / "train_sysu.py"), *flags],
        env=environment, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("preparing 120 images") == 1
    (place,) = shared_folders(finished) - before
    assert not (place / "shard1").exists()  # they are one training, with one log
    together = {path.name: np.load(path) for path in place.glob("*.npy")}
    place.rename(tmp_path / "together")
    cli.train("sysu", flags)
    for name, array in together.items():
        assert np.array_equal(np.load(place / name), array), name
    shutil.rmtree(place)


# --- RegDB ---


@pytest.mark.slow
def test_every_trial_of_regdb_has_a_generator_of_its_own(tmp_path):
    """A41: infrared training images of one trial are test images of others."""
    quick = ["--trial", "1", "2", "--epochs", "1", "--iters", "1", "--phase-one", "1"]
    cli.train(
        "regdb", tiny_runs.cmam_arguments(tmp_path, *quick, "--stages", "diffusion", on="regdb")
    )
    assert not run_of(tmp_path, on="regdb").exists()
    cli.train("regdb", tiny_runs.cmam_arguments(tmp_path, *quick, on="regdb"))
    places = {stage: len(list((tmp_path / "shared").glob(f"{stage}-*"))) for stage in SHARED}
    assert places == {"auxiliary": 1, "diffusion": 2, "generation": 2}
    trials = {
        read(p / "config.json")["basis"]["images"]["target"]["trial"]
        for p in (tmp_path / "shared").glob("diffusion-*")
    }
    assert trials == {1, 2}
    assert (run_of(tmp_path, on="regdb") / "report.json").exists()


# --- mistakes ---


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "nowhere"], "nowhere"),
        (["--label-method", "import", "--edge-norm", "none"], "--source-labels PATH"),
        (
            ["--label-method", "import", "--source-labels", "no.csv"],
            "no.csv: there is no such file",
        ),
        (
            ["--stages", "generation", "--edge-norm", "none"],
            "run --stages diffusion to its end first",
        ),
        (["--stages", "pretrain", "--parts", "2", "--name", "x"], "--stages auxiliary"),
        (["--shard", "0/2"], "--shard divides --stages generation alone"),
        (["--cam"], "cmam on sysu does not read --cam"),
        (["--trial", "1"], "does not read --trial"),
    ],
)
def test_mistakes_are_one_line(finished, capsys, flags, words):
    with pytest.raises(SystemExit) as leaving:
        cli.train("sysu", tiny_runs.cmam_arguments(finished, "--name", "mistake", *flags))
    assert leaving.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_no_source_is_named(tmp_path, capsys):
    argv = tiny_runs.cmam_arguments(tmp_path)
    at = argv.index("--source")
    with pytest.raises(SystemExit):
        cli.train("sysu", argv[:at] + argv[at + 2 :])
    assert "give --source FOLDER" in capsys.readouterr().err
