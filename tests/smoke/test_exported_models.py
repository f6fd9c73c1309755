"""A trained model taken elsewhere by the command: folders, cards, what is refused, the way back."""

import json
import re
import shutil
from pathlib import Path

import narrow_resnet
import pytest
import tiny_runs
import torch
import yaml
from PIL import Image
from runnable import ROOT, blocks, run
from safetensors import safe_open

from clustercontrast.__main__ import main
from clustercontrast.commands import cli, exporting, reporting, validating
from clustercontrast.data.images import open_prepared
from clustercontrast.data.samples import MODALITIES
from clustercontrast.engine import checkpoint
from clustercontrast.files import UserError, write_json
from clustercontrast.models import weights
from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.report.tables import UNTESTED

ONNX = ("onnx", "onnxruntime", "onnxscript")
USING = ROOT / "docs/using.md"


SAYS = {
    "method": "pgm",
    "dataset": "sysu",
    "variant": "v2023",
    "name": "seed1",
    "trial": None,
    "changes": {"intra": [], "cross": ["--iters cross=2"]},
    "ends": {"intra": 1, "cross": 3},
}
COMMAND = "python train_sysu.py --method pgm --iters cross=2"


@pytest.fixture
def narrow(monkeypatch):
    narrow_resnet.use(monkeypatch)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A run with two models, of epochs 3 and 1, and the report of its test."""
    folder = tmp_path_factory.mktemp("logs") / "run"
    prepared = open_prepared(Path(f"{tiny_runs.dataset()}-32x16"), "sysu")
    with pytest.MonkeyPatch.context() as patch:
        narrow_resnet.use(patch)
        write_run(folder, prepared.provenance.json(), str(tiny_runs.dataset()), (32, 16), 18)
        cli.test("sysu", [str(folder), "--draws", "2"])
    return folder


@pytest.fixture
def pgm(tested, narrow):
    return tested


def write_run(folder, images, data_dir, size, depth):
    """What training leaves: a last epoch, and a best one, that other weights were best in."""
    size = dict(zip(("height", "width"), size, strict=True))
    about = SAYS | {"images": images} | size
    values = {"data_dir": data_dir, "pretrained": "random"} | size
    config = {"about": about, "command": COMMAND, "numbers": {}, "values": values}
    write_json(folder / "config.json", config)
    last, best = (TwoStreamResNet(depth).state_dict() for _ in range(2))
    shared = {"stage": "cross", "retrieval": "encoder", "about": about}
    state = shared | {"epoch": 3, "networks": {"encoder": last}, "optimisers": {}, "numbers": {}}
    state |= {"generator": torch.Generator().get_state()}
    state |= {"best": {rule: {"score": 1.0, "epoch": 1} for rule in ("test", "cycle")}}
    model = shared | {"epoch": 1, "weights": best, "companions": {}}
    epoch = {"event": "epoch", "stage": "cross", "epoch": 3, "iterations": 1, "seconds": {}}
    epoch |= {"loss": {"total": 1.0}, "clusters": {}, "scores": {}}
    (folder / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    checkpoint.commit(folder / "cross", state, dict.fromkeys(("test", "cycle"), model))


def needs_onnx():
    for name in ONNX:
        pytest.importorskip(name, reason=f"{name} is not installed")


def export(*words):
    main(["export", *map(str, words)])


def refused(capsys, *words, command=("export",)):
    with pytest.raises(SystemExit) as leaving:
        main([*command, *map(str, words)])
    assert leaving.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def card(folder):
    """Front matter and text of a model card."""
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


# --- a run ---


@pytest.mark.slow
def test_a_model_of_a_run_is_written_with_all_that_is_known(pgm, tmp_path, capsys):
    export(pgm, "--model", "test", "--safetensors", tmp_path / "out")
    best = torch.load(pgm / "cross" / "best_test.pth", weights_only=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    folder = tmp_path / "out"
    files = ["README.md", "config.json", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert equal(weights.read(folder), best["weights"])
    said = {"stage": "cross", "epoch": best["epoch"]} | best["about"]
    assert weights.about(folder / "model.safetensors") == said
    config = json.loads((folder / "config.json").read_text())
    built = {"kind": "two_stream_resnet", "depth": 18, "non_local": True, "pooling": "gem"}
    assert config["architecture"] == built
    assert (config["input"]["height"], config["input"]["width"]) == (32, 16)
    assert config["features"] == {"length": 512, "flip_averaged": True}
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        header = json.loads(tensors.metadata()["clustercontrast"])
    rest = {key: config.pop(key) for key in ("run", "report")}
    assert config == header | {"weights": "model.safetensors"}
    assert rest["run"]["selection"] == "best on the test set"
    assert COMMAND not in (folder / "model.safetensors").read_bytes().decode("latin-1")
    card_ = (folder / "README.md").read_text(encoding="utf-8")
    assert COMMAND in card_
    assert "those of the row *best on the test set*" in card_
    export(folder, "--safetensors", tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text(encoding="utf-8") == card_
    assert "wrote" in capsys.readouterr().out


@pytest.mark.slow
def test_the_card_of_a_run(pgm, tmp_path):
    export(pgm, "--safetensors", tmp_path / "out")
    head, text = card(tmp_path / "out")
    assert head["library_name"] == "clustercontrast"
    assert head["license"] == "other"
    assert {"pgm", "unsupervised-learning"} <= set(head["tags"])
    lines = text.strip().splitlines()
    assert lines[0] == "# PGM, trained on rendered SYSU-MM01 layout"
    assert lines[2] == "> **Rendered identities: not a SYSU-MM01 result.**"
    assert "Progressive Graph Matching and Alternate Learning, CVPR 2023" in text
    assert "--iters cross=2" in text
    assert f"```bash\n{COMMAND}\n```" in text
    assert "- Initial weights: `random`" in text
    table = (pgm / "report.md").read_text().splitlines()
    rows = [line for line in table if line.startswith("| ")]
    assert len(rows) > 8
    assert all(row in lines for row in rows)
    for model in ("chance", "untrained", "last epoch", "best on the test set", "best by cycle"):
        assert any(model in row for row in rows)
    assert "those of the row *last epoch*" in text
    assert "@inproceedings{wu2023pgm," in text
    assert "wu2017sysu" not in text  # these images are not of that dataset
    assert 'model = clustercontrast.load("DIR")' in text
    assert "onnx" not in text.lower()


@pytest.mark.slow
def test_a_run_without_a_report_of_its_models_is_not_tested(pgm, tmp_path):
    run_ = shutil.copytree(pgm, tmp_path / "run")
    report = json.loads((run_ / "report.json").read_text())
    report["about"]["epoch"] -= 1  # of before the training went on
    write_json(run_ / "report.json", report)
    export(run_, "--safetensors", tmp_path / "a")
    (run_ / "report.json").unlink()
    export(run_, "--safetensors", tmp_path / "b")
    for name in ("a", "b"):
        _, text = card(tmp_path / name)
        assert "Not tested" in text
        assert "mAP" not in text


@pytest.mark.slow
def test_a_run_on_images_without_a_test_is_exported_and_says_so(pgm, tmp_path):
    run_ = shutil.copytree(pgm, tmp_path / "run")
    reporting.report_untested(run_, "cross")
    export(run_, "--safetensors", tmp_path / "a")
    _, text = card(tmp_path / "a")
    assert f"- {UNTESTED}\n\n## Use" in text
    assert COMMAND in text
    export(tmp_path / "a", "--safetensors", tmp_path / "b")
    assert card(tmp_path / "b")[1] == text


@pytest.mark.slow
def test_what_was_exported_is_a_checkpoint(pgm, tmp_path, capsys):
    folder = tmp_path / "out"
    export(pgm, "--safetensors", folder)
    export(folder, "--safetensors", tmp_path / "again")
    assert equal(weights.read(folder), weights.read(tmp_path / "again"))
    assert weights.about(folder) == weights.about(tmp_path / "again")
    tables = []
    for model in (pgm / "cross" / "last.pth", folder, folder / "model.safetensors"):
        capsys.readouterr()
        cli.test("sysu", [str(model), "--draws", "2", "--data-dir", str(tiny_runs.dataset())])
        tables.append(capsys.readouterr().out)
    assert "rendered identities" in tables[0]
    numbers = [re.findall(r"\d+\.\d\d ± \d+\.\d\d", table) for table in tables]
    assert len(numbers[0]) == 2 * 6
    assert numbers[0] == numbers[1] == numbers[2]
    assert "leave it out" in refused(
        capsys, folder, "--model", "last", "--safetensors", tmp_path / "x"
    )
    network = TwoStreamResNet(18)
    report = weights.start(network, str(folder / "model.safetensors"))
    assert report.unused == 0
    assert equal(network.state_dict(), weights.read(folder))


def test_no_command_takes_a_folder_of_graphs_or_an_exported_model_for_a_run(tmp_path, capsys):
    graphs, model = tmp_path / "graphs", tmp_path / "model"
    for folder, files in ((graphs, ["visible.onnx"]), (model, ["model.safetensors"])):
        write_json(folder / "config.json", {"graphs": {}})
        for name in files:
            (folder / name).write_bytes(b"")
    alone = "graphs of ONNX alone, which this project does not load: export the model with --safet"
    Image.new("RGB", (8, 16)).save(tmp_path / "1.png")
    images = [tmp_path / "1.png", "--modality", "visible", "--out", tmp_path / "x.npz"]
    for words in (
        ["test", "--dataset", "sysu", graphs],
        ["export", graphs, "--safetensors", tmp_path / "out"],
        ["features", graphs, *images],
        ["report", "html", graphs],
        ["report", "map", graphs],
    ):
        assert alone in refused(capsys, *words, command=())
    for words in (["report", "html", model], ["report", "ari", model]):
        assert "is an exported model and no run" in refused(capsys, *words, command=())
    for flag in ("--pretrained", "--start-from"):
        words = ["train", "--dataset", "sysu", "--method", "pgm", flag, graphs]
        assert f"{flag} {graphs} is a folder: give a file" in refused(capsys, *words, command=())


# --- a file of others ---


@pytest.fixture
def bare(tmp_path, narrow):
    torch.manual_seed(0)
    network, path = TwoStreamResNet(10, False), tmp_path / "bare.pth"
    torch.nn.init.normal_(network.infrared_stem.conv1.weight, std=0.05)  # another than visible
    torch.save({"weights": network.state_dict()}, path)
    return path


def test_the_card_of_a_bare_checkpoint_says_what_is_not_known(bare, tmp_path):
    export(bare, "--safetensors", tmp_path / "a")
    head, text = card(tmp_path / "a")
    assert head["tags"] == ["person-re-identification", "visible-infrared"]
    assert "| method | not known" in text
    assert "288x144 pixels (height x width); assumed" in text
    assert "Images, flags and command: not known" in text
    assert "Not tested" in text
    assert "The paper of the method: not known" in text
    assert weights.about(tmp_path / "a") == {}
    export(bare, "--safetensors", tmp_path / "b", "--height", "64", "--width", "32")
    assert weights.about(tmp_path / "b") == {"height": 64, "width": 32}
    _, text = card(tmp_path / "b")
    assert "64x32 pixels (height x width), resized" in text


def test_a_network_that_was_shown_fakes_says_so(tmp_path, narrow):
    about = {"method": "cmam", "dataset": "sysu", "variant": "default", "fakes": "logs/shared/x"}
    content = {"stage": "selftrain", "epoch": 4, "retrieval": "gray", "companions": {}}
    content |= {"about": about | {"height": 64, "width": 32}}
    torch.save(content | {"weights": SingleStreamResNet(10).state_dict()}, tmp_path / "best.pth")
    export(tmp_path / "best.pth", "--safetensors", tmp_path / "a")
    _, text = card(tmp_path / "a")
    assert (
        text.strip().splitlines()[2].startswith("> **The network was trained and tested with gen")
    )
    assert "visible by `stem`, infrared by `stem`" in text
    assert "mirror image" not in text
    assert "@article{wu2024cmam," in text
    assert weights.networks(tmp_path / "a").keys() == {"gray"}


# --- graphs ---


@pytest.mark.slow
def test_graphs_and_weights_may_share_a_folder(bare, tmp_path, capsys):
    needs_onnx()
    words = ("--onnx", tmp_path / "a", "--safetensors", tmp_path / "a")
    export(bare, *words, "--height", "64", "--width", "32")
    files = ["README.md", "config.json", "infrared.onnx", "model.safetensors", "visible.onnx"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "bare.pth"]
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    graphs = {"opset": 18, "visible": "visible.onnx", "infrared": "infrared.onnx"}
    assert config["graphs"] == graphs
    said = capsys.readouterr()
    assert "32 rendered images each: features differ by at most" in said.out
    assert "Warning" not in said.err
    assert "torch.onnx" not in said.out
    _, text = card(tmp_path / "a")
    assert "uint8 (N, 64, 32, 3) RGB" in text
    check_comparison(tmp_path / "a")


def check_comparison(folder):
    """The comparison is right about these graphs, and about those of the other modality."""
    people = validating.rendered_people(64, 32)
    network = weights.network_for(weights.read(folder)).eval()
    expected = validating.expected_features(network, people)
    paths = {modality: folder / f"{modality}.onnx" for modality in MODALITIES}
    assert validating.compare(paths, people, expected) < 2e-6
    with pytest.raises(UserError, match="differ from torch's by"):
        validating.compare(
            {a: paths[b] for a, b in (MODALITIES, MODALITIES[::-1])}, people, expected
        )
    (folder / "visible.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"cannot run visible\.onnx"):
        validating.compare(paths, people, expected)


@pytest.mark.slow
def test_a_wrong_graph_is_not_left_in_place(bare, tmp_path, capsys, monkeypatch):
    needs_onnx()
    monkeypatch.setattr(exporting, "MEAN", (0.5, 0.5, 0.5))
    line = refused(capsys, bare, "--onnx", tmp_path / "a", "--height", "64", "--width", "32")
    assert "differ from torch's by" in line
    assert "nothing was written" in line
    assert [path.name for path in tmp_path.iterdir()] == ["bare.pth"]


def test_mistakes_are_one_line(bare, tmp_path, capsys, monkeypatch):
    assert "say what to write" in refused(capsys, bare)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for flag in ("--onnx", "--safetensors"):
        assert "is there already" in refused(capsys, bare, flag, tmp_path / "full")
        assert "is there already" in refused(capsys, bare, flag, bare)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    about = {"method": "pgm", "height": 64, "width": 32, "variant": "v2023"}
    network = TwoStreamResNet(10).state_dict()
    torch.save({"weights": network, "about": about}, tmp_path / "sized.pth")
    words = (tmp_path / "sized.pth", "--safetensors", tmp_path / "a")
    assert "height 64: leave --height out" in refused(capsys, *words, "--height", "288")
    words = (bare, "--safetensors", tmp_path / "a", "--official", tmp_path / "official.pth.tar")
    assert "cannot be written for them" in refused(capsys, *words)
    assert not (tmp_path / "a").exists()
    export(tmp_path / "sized.pth", "--safetensors", tmp_path / "whole")
    capsys.readouterr()
    write_json(tmp_path / "whole" / "config.json", {"run": {"selection": ""}})
    line = refused(capsys, tmp_path / "whole", "--safetensors", tmp_path / "a")
    assert "config.json is damaged (run.command is missing)" in line
    (tmp_path / "empty.safetensors").write_bytes(b"")
    assert "is damaged" in refused(
        capsys, tmp_path / "empty.safetensors", "--safetensors", tmp_path / "a"
    )
    absent = lambda name: None if name == "onnxscript" else True  # noqa: E731
    monkeypatch.setattr(cli.importlib.util, "find_spec", absent)
    line = refused(capsys, bare, "--onnx", tmp_path / "a")
    assert line == "error: --onnx needs onnxscript: pip install 'clustercontrast[onnx]'"
    assert not (tmp_path / "a").exists()


# --- the examples of the documentation ---


@pytest.mark.slow
def test_the_examples_run(tmp_path):
    needs_onnx()
    images = {"dataset": "sysu", "digest": "", "complete": True, "rendered": True, "leak": False}
    write_run(tmp_path / "logs/sysu/pclhd/seed1", images, "data/SYSU-MM01", (64, 32), 10)
    for place, modality, count in (("night", "infrared", 1), ("day", "visible", 2)):
        (tmp_path / place).mkdir()
        people = validating.rendered_people(96, 40)[modality].pixels
        for number in range(count):
            Image.fromarray(people[number]).save(tmp_path / place / f"{number + 1}.jpg")
    said = [run(language, text, tmp_path) for language, text in blocks(USING, "export")]
    assert len(said) == 3
    assert "rankings are the same" in said[0]
    similarities = [float(word) for word in said[1].strip(" []\n").split()]
    assert len(similarities) == 2
    assert all(-1 <= own <= 1.000001 for own in similarities)
    assert said[2] == f"{len(TwoStreamResNet(10).state_dict())} tensors\n"
