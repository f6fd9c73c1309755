"""Whole runs with a small vision transformer: SDCL, and another method on its deep feature."""

import json

import method_runs
import pytest
import tiny_runs
import torch

from clustercontrast.commands import cli
from clustercontrast.engine.run import Run
from clustercontrast.models import weights
from clustercontrast.models.vision_transformer import TwoStreamViT

VIT = ["--arch", "vit", "--depth", "2", "--vit-width", "64", "--drop-path", "0.2"]
FLAGS = {"sdcl": [*method_runs.FLAGS["sdcl"], *method_runs.AGREEING, "--checkpoint-groups"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = {}

    def folder(method):
        if method not in made:
            logs = tmp_path_factory.mktemp("vit")
            cli.train("sysu", tiny_runs.arguments(method, logs, *VIT, *FLAGS.get(method, [])))
            made[method] = tiny_runs.run_folder(logs, method)
        return made[method]

    return folder


@pytest.mark.parametrize("method", ["sdcl", "pclhd"])
def test_it_trains_and_is_tested_again(trained, method, capsys):
    folder = trained(method)
    events = tiny_runs.events(folder)
    assert [(e["stage"], e["epoch"]) for e in events] == tiny_runs.epochs_of(method)
    expected = json.loads((folder / "report.json").read_text())
    (folder / "report.json").unlink()
    cli.test("sysu", [str(folder), "--draws", "2", "--device", "cpu"])
    assert json.loads((folder / "report.json").read_text()) == expected


@pytest.mark.parametrize(("method", "stage"), [("sdcl", "agreed"), ("pclhd", "progressive")])
def test_a_saved_model_is_rebuilt_from_its_tensors(trained, method, stage):
    path = trained(method) / stage / "best_test.pth"
    state = weights.read(path)
    network = weights.network_for(state)
    assert isinstance(network, TwoStreamViT)
    assert network.width == (128 if method == "sdcl" else 64)
    assert tiny_runs.differences(dict(network.state_dict()), dict(state)) == []


@pytest.mark.slow
def test_stochastic_depth_does_not_hinder_a_resume(trained, tmp_path, monkeypatch):
    """Interrupted in every epoch, with branches dropped at random, yet equal bit for bit."""

    gone_off, tick = set(), Run.tick

    def interrupted(run, stage, epoch, iteration, images):
        tick(run, stage, epoch, iteration, images)
        if (stage.name, epoch) not in gone_off:
            gone_off.add((stage.name, epoch))
            raise KeyboardInterrupt

    words = tiny_runs.arguments("sdcl", tmp_path, *VIT, *FLAGS["sdcl"])
    with monkeypatch.context() as patch:
        patch.setattr(Run, "tick", interrupted)
        for _ in range(4):
            with pytest.raises(SystemExit):
                cli.train("sysu", words)
        cli.train("sysu", words)
    assert len(gone_off) == 4
    got = tiny_runs.saved(tiny_runs.run_folder(tmp_path, "sdcl"))
    assert tiny_runs.differences(got, tiny_runs.saved(trained("sdcl"))) == []


@pytest.mark.slow
def test_sdcl_starts_from_another_methods_transformer(trained, tmp_path):
    path = trained("pclhd") / "progressive" / "best_test.pth"
    words = ["--pretrained", str(path), *VIT, *FLAGS["sdcl"], "--stages", "intra", "--epochs", "1"]
    cli.train("sysu", tiny_runs.arguments("sdcl", tmp_path, *words))
    start = torch.load(tiny_runs.run_folder(tmp_path, "sdcl") / "intra" / "start.pth")["weights"]
    source = torch.load(path)["weights"]
    assert torch.equal(start["deep.0.mlp.0.weight"], source["deep.0.mlp.0.weight"])
    assert torch.equal(start["shallow.0.mlp.0.weight"], source["deep.0.mlp.0.weight"])


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--arch", "resnet"], "--arch of sdcl: 'resnet' is not one of vit"),
        (["--vit-width", "100"], "multiples of 64"),
        (["--depth", "1"], "two blocks or more"),
        (["--pretrained", "nowhere.pth"], "vit_base_ics_cfs_lup.pth"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, capsys, flags, named):
    with pytest.raises(SystemExit) as leaving:
        cli.train("sysu", tiny_runs.arguments("sdcl", tmp_path, *VIT, *FLAGS["sdcl"], *flags))
    assert leaving.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
