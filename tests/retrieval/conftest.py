"""A small world: a run of an untrained ResNet-10, six infrared queries, a visible gallery."""

import shutil
from pathlib import Path

import pytest
import tiny_runs
import torch

from clustercontrast.data.images import open_prepared
from clustercontrast.engine import checkpoint
from clustercontrast.files import write_json
from clustercontrast.models.two_stream_resnet import TwoStreamResNet

QUERIES, GALLERY = 6, 12


def network(seed: int) -> TwoStreamResNet:
    """A ResNet-10 whose stems differ, as those of a trained network do."""
    torch.manual_seed(seed)
    made = TwoStreamResNet(10, non_local=False)
    torch.nn.init.normal_(made.infrared_stem.conv1.weight, std=0.1)
    return made


def write_run(folder: Path, last: TwoStreamResNet, best: TwoStreamResNet) -> None:
    """A run as training leaves it: its last epoch is 1, its best on the test set 0."""
    images = open_prepared(Path(f"{tiny_runs.dataset()}-32x16"), "sysu").provenance.json()
    about = {"method": "pclhd", "dataset": "sysu", "variant": "upstream", "name": "seed1"}
    about |= {"trial": None, "height": 32, "width": 16, "images": images}
    values = {"data_dir": str(tiny_runs.dataset()), "height": 32, "width": 16}
    write_json(folder / "config.json", {"about": about, "numbers": {}, "values": values})
    shared = {"stage": "progressive", "retrieval": "encoder", "about": about}
    state = shared | {"epoch": 1, "networks": {"encoder": last.state_dict()}, "optimisers": {}}
    state |= {"best": {"test": {"score": 1.0, "epoch": 0}}, "numbers": {}}
    state |= {"generator": torch.Generator().get_state()}
    model = shared | {"epoch": 0, "weights": best.state_dict(), "companions": {}}
    checkpoint.commit(folder / "progressive", state, {"test": model})


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Folder with ``logs/sysu/pclhd/seed1``, ``queries`` and ``gallery``."""
    place = tmp_path_factory.mktemp("world")
    people = tiny_runs.dataset()
    for name, cameras, count in (("queries", "36", QUERIES), ("gallery", "12", GALLERY)):
        (place / name).mkdir()
        paths = [p for camera in cameras for p in sorted((people / f"cam{camera}").rglob("*.jpg"))]
        for number, path in enumerate(paths[:: len(paths) // count][:count], start=1):
            shutil.copy(path, place / name / f"{number:04d}.jpg")
    write_run(place / "logs/sysu/pclhd/seed1", network(1), network(2))
    return place


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    """That folder copied, and the one that a command is called in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
