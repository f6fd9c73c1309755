"""No flag is ignored: what a recipe says that a stage reads is what the stage reads.

Every stage of every method runs an epoch on tiny images while its namespace notes what is asked of
it.  A flag that the stage has no right to is not in the namespace at all.
"""

import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import narrow_resnet
import numpy as np
import pytest
import tiny_cmam
import torch

from clustercontrast.data.images import ImageArray
from clustercontrast.data.source_labels import FILE
from clustercontrast.engine.loop import train
from clustercontrast.engine.run import Run
from clustercontrast.methods import METHODS
from clustercontrast.settings.command_line import conditions_of, parse, unread
from clustercontrast.settings.options import all_flags, flags_of_run
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DATASETS

LED = {"eps", "k1", "momentum", "clusters", "shared_seed"}  # read as others, such as a follower
EVALUATION = {"eval_from", "eval_step"}  # read by the engine, of stages that are evaluated
BY_THE_ENGINE = EVALUATION | {"eval_offset"}
TINY = [
    *("--height", "32", "--width", "16", "--device", "cpu", "--pretrained", "random"),
    *("--epochs", "1", "--iters", "1", "--batch-size", "8", "--num-instances", "2"),
]
CLUSTERING = ["--k1", "6", "--k2", "2", "--eps", "0.7", "--min-samples", "2"]
LATER = {  # so that the only epoch has all there is
    "mmm": ["--warm-epochs", "0"],
    "pca": ["--adversarial-from", "0"],
    "gur": ["--unify-from", "0", "--smooth-from", "0"],
    "sdcl": ["--first-epoch", "0", "--homogeneous-from", "0", "--heterogeneous-from", "0"],
}
JOINT = {"joint_k1": 6, "joint_k2": 2}
TWO_JOINT_CLUSTERS = {"bmil": {"eps_joint": 0.4}, "united": {"eps_joint": 0.4}}


class Watched(Namespace):
    """A namespace that notes which names are asked for."""

    def __init__(self, values: dict) -> None:
        super().__init__(**values)
        object.__setattr__(self, "asked", set())

    def __getattribute__(self, name: str):
        if not name.startswith("_") and name != "asked":
            object.__getattribute__(self, "asked").add(name)
        return super().__getattribute__(name)

    def __contains__(self, name: str) -> bool:
        return name in vars(self)


def read_by(make, options, data, folder) -> set[str]:
    """Flags that a stage reads in its set-up and its epochs."""
    args = Watched(vars(options.at(make.name)))
    args.asked.clear()
    run = Run(folder, torch.device("cpu"))
    stage = make(args, data, run)
    torch.manual_seed(1)
    stage.setup()
    if make.reads:  # a later stage wants its files
        run.resume(stage)
        train(stage, run)
        return set(args.asked)
    for epoch in stage.epochs:
        run.open_epoch(stage, epoch)
        for batches in stage.refresh(epoch):
            for batch in batches:
                for _ in stage.iteration(batch, epoch):  # losses, without a step
                    pass
    return set(args.asked)


def switched(method: str) -> list[tuple[str, ...]]:
    """Command lines that meet the conditions which the defaults of a method leave unmet."""
    options, recipe = parse("sysu", ["--method", method]), all_recipes()[method]
    lines = {}
    for stage, names in recipe.stages.items():
        for name in names:
            if unread(options, all_flags()[name], stage):
                wanted = conditions_of(all_flags()[name], recipe)[0]
                met = vars(options.at(stage)).keys() & wanted.keys()
                line = (word for other in sorted(met) for word in words(other, wanted[other][0]))
                lines[tuple(line)] = None
    return list(lines)


def words(name: str, value: object) -> list[str]:
    flag = all_flags()[name]
    if value is None:
        return []
    return [flag.spelled] if value is True else [flag.spelled, str(value)]


def command_lines():
    """Method, dataset and flags: every variant, every dataset, every condition."""
    for method, recipe in all_recipes().items():
        yield from ((method, "sysu", ("--variant", v)) for v in recipe.variants)
        yield from ((method, name, ()) for name in DATASETS if name != "sysu")
        yield from ((method, "sysu", line) for line in switched(method))


def cases():
    """The command lines; the variants on SYSU-MM01 are the fast part."""
    for method, dataset, flags in command_lines():
        is_fast = method != "cmam" and flags[:1] == ("--variant",)
        marks = () if is_fast else pytest.mark.slow
        yield pytest.param(
            method, dataset, flags, marks=marks, id=" ".join((method, dataset, *flags))
        )


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    narrow_resnet.use(monkeypatch)


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    """``read_by``, which is not asked twice about the same values of a stage's flags."""
    known: dict[tuple, set[str]] = {}
    runs = tmp_path_factory.mktemp("runs")

    def ask(make, options, data):
        if make.reads:
            return read_by(make, options, data, data.places[make.name])
        own = options.recipe.stages[make.name]
        key = make, *(repr(getattr(options.at(make.name), name)) for name in own)
        if key not in known:
            known[key] = read_by(make, options, data, runs / options.method)
        return known[key]

    yield ask
    shutil.rmtree(runs)


@pytest.mark.parametrize(("method", "dataset", "flags"), list(cases()))
def test_what_a_recipe_declares_is_read(method, dataset, flags, reads, tmp_path):
    data = tiny_cmam.world(tmp_path)
    data.places["generation"] = tmp_path / "new"
    fakes = tmp_path / "generation"
    if "camera" in flags or "united-camera" in flags:
        data.visible, data.infrared = map(with_two_cameras, (data.visible, data.infrared))
    for make in METHODS[method]:
        options = parse(dataset, ["--method", method, *tiny(method, flags, data), *flags])
        data.options = options
        asked = reads(make, options, data)
        data.places["generation"] = fakes
        declared = set(options.recipe.stages[make.name])
        active = {n for n in declared if unread(options, all_flags()[n], make.name) is None}
        unasked = active - LED - BY_THE_ENGINE - asked
        assert not unasked
        assert asked <= declared | flags_of_run(options.recipe, dataset)
        is_evaluated = make(options.at(make.name), data, None).retrieval is not None
        assert (declared >= EVALUATION) == is_evaluated


def with_two_cameras(images: ImageArray) -> ImageArray:
    cameras = 1 + np.arange(len(images)) % 2
    return ImageArray(replace(images.index, cameras=cameras), images.pixels)


def tiny(method: str, flags: tuple[str, ...], data: SimpleNamespace) -> list[str]:
    """A small network and few images, in words that the method reads beside ``flags``."""
    if method == "cmam":
        labels = ["--source-labels", str(labels_of(data))]
        more = {"import": labels, "kmeans": ["--source-clusters", "4"]}.get(
            flags[-1] if flags else "", []
        )
        return [*tiny_cmam.FLAGS, "--source", "images", "--labelled", "0.5", *more]
    reads = {name for stage in all_recipes()[method].stages.values() for name in stage}
    is_vit = "vit" in flags or method == "sdcl"
    small = [*TINY, "--batch-visible", "8", "--depth", "2" if is_vit else "10"]
    small += ["--vit-width", "64"] if is_vit else []
    small += LATER.get(method, [])
    small += CLUSTERING if "k1" in reads else []
    return small + joint_words(method, flags)


def joint_words(method: str, flags: tuple[str, ...]) -> list[str]:
    """Those of the joint clustering, as far as a stage reads them beside ``flags``."""
    options = parse("sysu", ["--method", method, *flags])
    return [
        word
        for name, value in (JOINT | TWO_JOINT_CLUSTERS.get(method, {})).items()
        if any(
            name in names and unread(options, all_flags()[name], stage) is None
            for stage, names in options.recipe.stages.items()
        )
        for word in words(name, value)
    ]


def labels_of(data) -> Path:
    return data.places["auxiliary"] / "auxiliary" / FILE


def test_every_declared_flag_is_active_on_some_command_line():
    """A condition that no command line of the test above meets would hide an ignored flag."""
    met: dict[tuple[str, str], bool] = {}
    for method, dataset, flags in command_lines():
        options = parse(dataset, ["--method", method, *flags])
        for stage, names in options.recipe.stages.items():
            for name in names:
                is_met = unread(options, all_flags()[name], stage) is None
                met[method, name] = met.get((method, name), False) or is_met
    assert {key for key, is_met in met.items() if not is_met} == set()
