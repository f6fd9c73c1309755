"""A model of a run, written for the official programs by the command."""

import pytest
import torch

from clustercontrast.__main__ import main
from clustercontrast.engine import checkpoint
from clustercontrast.files import write_json
from clustercontrast.models import weights
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

IMAGES = {"dataset": "sysu", "digest": "", "complete": False, "rendered": True, "leak": True}


def network(seed):
    torch.manual_seed(seed)
    return TwoStreamViT(8, 64, 3, shallow=True)


def run_of(folder, trained, best):
    """A run whose last epoch is 3 and whose best model on the test is that of epoch 1."""
    about = {"method": "sdcl", "dataset": "sysu", "variant": "upstream", "name": "run"}
    about |= {"trial": None, "images": IMAGES}
    values = {"data_dir": "data/SYSU-MM01", "height": 288, "width": 144}
    write_json(folder / "config.json", {"about": about, "numbers": {}, "values": values})
    shared = {"stage": "agreed", "retrieval": "encoder", "about": about}
    state = shared | {"epoch": 3, "networks": {"encoder": trained.state_dict()}, "optimisers": {}}
    state |= {"best": {"test": {"score": 1.0, "epoch": 1}}, "numbers": {}}
    state |= {"generator": torch.Generator().get_state()}
    model = shared | {"epoch": 1, "weights": best.state_dict(), "companions": {}}
    checkpoint.commit(folder / "agreed", state, {"test": model})
    return folder


@pytest.fixture
def run(tmp_path):
    return run_of(tmp_path / "run", network(1), network(2))


def exported(file, *words):
    main(["export", "--official", str(file), *map(str, words)])
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("words", "seed", "epoch"), [([], 1, 4), (["--model", "test"], 2, 2)], ids=["last", "test"]
)
def test_a_model_of_a_run(run, tmp_path, words, seed, epoch, capsys):
    file = tmp_path / "out" / "model_best.pth.tar"
    content = exported(file, run, *words)
    assert content["epoch"] == epoch
    said = weights.about(file)
    assert (said["images"], said["stage"], said["epoch"]) == (IMAGES, "agreed", epoch - 1)
    assert all(name.startswith("module.") for name in content["state_dict"])
    again, own = weights.read(file), network(seed).state_dict()
    assert again.keys() == own.keys()
    assert all(torch.equal(again[name], own[name]) for name in own)
    assert f"wrote {file}" in capsys.readouterr().out


def test_one_checkpoint(run, tmp_path):
    content = exported(tmp_path / "a.pth.tar", run / "agreed" / "best_test.pth")
    assert content["epoch"] == 2
    neck = network(2).state_dict()["neck.weight"]
    assert torch.equal(content["state_dict"]["module.bottleneck.weight"], neck)
    once_more = exported(tmp_path / "b.pth.tar", tmp_path / "a.pth.tar")
    assert once_more["about"] == content["about"]
    assert once_more["epoch"] == content["epoch"]
    assert content["about"]["images"] == IMAGES
    assert once_more["state_dict"].keys() == content["state_dict"].keys()


def refused(capsys, *words):
    with pytest.raises(SystemExit) as leaving:
        main(["export", *map(str, words)])
    assert leaving.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_mistakes_are_one_line(run, tmp_path, capsys):
    new = tmp_path / "new.pth.tar"
    official = ["--official", new]
    assert "--official" in refused(capsys, run)
    assert "nowhere does not exist" in refused(capsys, *official, tmp_path / "nowhere")
    assert "has no model 'cycle'" in refused(capsys, *official, run, "--model", "cycle")
    assert "--dataset is a flag of training" in refused(capsys, *official, run, "--dataset", "sysu")
    best = run / "agreed" / "best_test.pth"
    assert "(--model) chooses" in refused(capsys, *official, best, "--model", "test")
    torch.save({"weights": TwoStreamResNet(18, False).state_dict()}, tmp_path / "small.pth")
    assert "cannot be written" in refused(capsys, *official, tmp_path / "small.pth")
    for trial in (1, 2):
        run_of(tmp_path / "trials" / f"trial{trial}", network(1), network(2))
    assert "trials/trial1" in refused(capsys, *official, tmp_path / "trials")
    assert not new.exists()
    new.write_text("mine")
    assert "is there already" in refused(capsys, *official, run)
    assert new.read_text() == "mine"
