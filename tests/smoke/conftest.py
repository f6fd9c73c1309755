"""Finished trainings that several tests look at, each made once."""

import shutil

import method_runs
import narrow_resnet
import pytest
import tiny_runs

from clustercontrast.commands import cli


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a finished run: ``trained("pgm")``, with a ResNet-18 if ``resnet`` is true."""
    made = {}

    def folder(name, resnet=False):
        if (name, resnet) not in made:
            made[name, resnet] = _train(name, resnet, tmp_path_factory.mktemp("logs"))
        return made[name, resnet]

    yield folder
    for run in made.values():
        shutil.rmtree(run)


def _train(name, resnet, logs):
    method, flags = method_runs.RUNS[name]
    with pytest.MonkeyPatch.context() as patch:
        (narrow_resnet.use if resnet else tiny_runs.use_small_encoder)(patch)
        cli.train("sysu", tiny_runs.arguments(method, logs, "--name", name, *flags))
    return tiny_runs.run_folder(logs, method, name)
