"""No flag is ignored: what a recipe says that a stage reads is what the stage reads.

Every stage of every method runs an epoch on tiny images while its namespace notes what is asked of
it.  A flag that the stage has no right to is not in the namespace at all.
"""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_cmam
import tiny_runs
import torch

from clustercontrast.data.images import open_prepared
from clustercontrast.data.source_labels import FILE
from clustercontrast.engine.loop import train
from clustercontrast.engine.run import Run
from clustercontrast.methods import METHODS
from clustercontrast.settings.options import all_flags, flags_of_run, parse, unread
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DATASETS

# Options.at reads these for their followers, or for the derived values.
LED = {"eps", "k1", "momentum", "clusters"}


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
    run = Run(folder, torch.device("cpu"), evaluate=lambda _: {"rank1": 1.0})
    stage = make(args, data, run)
    torch.manual_seed(1)
    stage.setup()
    run.keep_start(stage)
    run.resume(stage)
    train(stage, run)
    return set(args.asked)


def images_of(method: str, folder: Path) -> SimpleNamespace:
    """Tiny images for the stages of a method."""
    if method == "cmam":
        return tiny_cmam.world(folder)
    prepared = open_prepared(Path(f"{tiny_runs.dataset()}-32x16"), "sysu")
    return SimpleNamespace(visible=prepared["train_visible"], infrared=prepared["train_infrared"])


def switched(method: str) -> list[tuple[str, ...]]:
    """Command lines that meet the conditions which the defaults of a method leave unmet."""
    options, recipe = parse("sysu", ["--method", method]), all_recipes()[method]
    lines = {}
    for stage, names in recipe.stages.items():
        for name in names:
            if unread(options, all_flags()[name], stage):
                wanted = {**all_flags()[name].when, **recipe.when.get(name, {})}
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
    for method, recipe in all_recipes().items():
        yield from ((method, "sysu", ("--variant", v)) for v in recipe.variants)
        yield from ((method, name, ()) for name in DATASETS if name != "sysu")
        yield from ((method, "sysu", line) for line in switched(method))


@pytest.mark.parametrize(
    ("method", "dataset", "flags"),
    command_lines(),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_a_recipe_declares_is_read(method, dataset, flags, tmp_path):
    if method == "cmam":
        own = [*tiny_cmam.FLAGS, "--source", "images"]
    else:
        own = tiny_runs.tiny_flags(method, dataset, *flags)
        own += ["--epochs", "1", "--depth", "2" if "vit" in flags or method == "sdcl" else "10"]
    for make in METHODS[method]:
        data = images_of(method, tmp_path / make.name / "data")
        more = ["--source-labels", str(labels_of(data))] if "import" in flags else []
        options = parse(dataset, ["--method", method, *own, *flags, *more])
        asked = read_by(make, options, data, tmp_path / make.name)
        declared = set(options.recipe.stages[make.name])
        active = {n for n in declared if unread(options, all_flags()[n], make.name) is None}
        assert active - LED <= asked, active - LED - asked
        assert asked <= declared | flags_of_run(options.recipe, dataset)


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
