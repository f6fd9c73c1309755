"""Finished trainings that several tests look at, each made once."""

import pytest
import tiny_runs

from clustercontrast.commands import cli

RUNS = {  # name -> method, flags
    "pclhd": ("pclhd", []),
    "pclhd-paper": ("pclhd", ["--variant", "paper"]),
    "pgm": ("pgm", []),
    "pgm-v2024": ("pgm", ["--variant", "v2024"]),
    "adca": ("adca", []),
    "rpnr": ("rpnr", ["--npc-members", "4"]),
    "mmm": ("mmm", ["--warm-epochs", "1"]),
    "pca": ("pca", ["--adversarial-from", "1", "0"]),
    "sdcl": ("sdcl", ["--heterogeneous-from", "1", "--candidates", "5"]),
    "supervised": ("supervised", []),
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folder of a finished run: ``trained("pgm")``, with a ResNet-18 if ``resnet`` is true."""
    made = {}

    def folder(name, resnet=False):
        if (name, resnet) not in made:
            made[name, resnet] = _train(name, resnet, tmp_path_factory.mktemp("logs"))
        return made[name, resnet]

    return folder


def _train(name, resnet, logs):
    method, flags = RUNS[name]
    with pytest.MonkeyPatch.context() as patch:
        if not resnet:
            tiny_runs.use_small_encoder(patch)
        cli.train("sysu", tiny_runs.arguments(method, logs, "--name", name, *flags))
    return tiny_runs.run_folder(logs, method, name)
