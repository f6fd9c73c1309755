"""A run killed at any moment and started again equals one that was left alone, bit for bit."""

import itertools
import shutil

import pytest
import tiny_runs
from method_runs import METHODS_ALONE, RUNS

from clustercontrast import methods
from clustercontrast.commands import cli, reporting, training
from clustercontrast.engine import checkpoint
from clustercontrast.engine.log import Log
from clustercontrast.engine.run import Run


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)
    monkeypatch.setattr(reporting, "curves", lambda *_: None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Everything that an uninterrupted run has saved, made when first asked for."""
    made = {}

    def of(name):
        if name not in made:
            logs, method = tmp_path_factory.mktemp("undisturbed"), RUNS[name][0]
            cli.train("sysu", arguments(name, logs))
            made[name] = tiny_runs.saved(tiny_runs.run_folder(logs, method, name))
            shutil.rmtree(logs)
        return made[name]

    return of


def in_the_middle_of_an_epoch(patch, interrupt):
    tick = Run.tick

    def interrupted(run, stage, epoch, iteration, images):
        tick(run, stage, epoch, iteration, images)
        if iteration == 0:
            interrupt((stage.name, epoch))

    patch.setattr(Run, "tick", interrupted)


def before_the_commit(patch, interrupt):
    commit = checkpoint.commit

    def interrupted(folder, state, models):
        interrupt((state["stage"], state["epoch"]))
        commit(folder, state, models)

    patch.setattr(checkpoint, "commit", interrupted)


def between_last_and_best(patch, interrupt):
    settle = checkpoint.settle

    def interrupted(folder, state):
        interrupt((state["stage"], state["epoch"]))
        settle(folder, state)

    patch.setattr(checkpoint, "settle", interrupted)


def between_best_and_last(patch, interrupt):
    save = checkpoint.save

    def interrupted(path, content):
        if path.name == checkpoint.LAST:
            interrupt((content["stage"], content["epoch"]))
        save(path, content)

    patch.setattr(checkpoint, "save", interrupted)


def around_the_log(patch, interrupt):
    event = Log.event

    def interrupted(log, **content):
        place = content["event"], content["stage"], content["epoch"]
        interrupt((*place, "before"))
        event(log, **content)
        interrupt((*place, "after"))

    patch.setattr(Log, "event", interrupted)


MOMENTS = (
    in_the_middle_of_an_epoch,
    before_the_commit,
    between_last_and_best,
    between_best_and_last,
    around_the_log,
)


def arguments(name, logs):
    method, flags = RUNS[name]
    return tiny_runs.arguments(method, logs, "--name", name, *flags)


def is_interrupted(name, logs) -> bool:
    """Start the training command; whether it was interrupted."""
    try:
        cli.train("sysu", arguments(name, logs))
    except SystemExit as leaving:
        return leaving.code == 130
    return False


NAMES = [*METHODS_ALONE, "united-teacher"]
CASES = [  # the moments differ in the engine, hence all of them with one method in the fast part
    pytest.param(
        name,
        moment,
        id=f"{name}-{moment.__name__}",
        marks=[pytest.mark.slow] if name != "pclhd" and moment is not MOMENTS[0] else [],
    )
    for name, moment in itertools.product(NAMES, MOMENTS)
]


@pytest.mark.parametrize(("name", "moment"), CASES)
def test_every_epoch_interrupted_equals_none(name, moment, undisturbed, tmp_path, monkeypatch):
    gone_off = set()

    def interrupt(position):
        if position not in gone_off:
            gone_off.add(position)
            raise KeyboardInterrupt

    expected, method = undisturbed(name), RUNS[name][0]
    moment(monkeypatch, interrupt)
    interruptions = 0
    while is_interrupted(name, tmp_path):
        interruptions += 1
    assert interruptions == len(gone_off) >= 2 * len(methods.METHODS[method])
    got = tiny_runs.saved(tiny_runs.run_folder(tmp_path, method, name))
    assert tiny_runs.differences(got, expected) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_compared_is_complete(name, undisturbed):
    content = undisturbed(name)
    stages = list(dict.fromkeys(event["stage"] for event in content["events"]))
    epochs = [(event["stage"], event["epoch"]) for event in content["events"]]
    assert epochs == tiny_runs.epochs_of(RUNS[name][0])
    for stage in stages:
        state = content[f"{stage}/last.pth"]
        moments = state["optimisers"]["encoder"]["state"][0]
        moment = moments["exp_avg" if "exp_avg" in moments else "momentum_buffer"]
        assert moment.abs().sum() > 0
        assert state["generator"].dtype.is_floating_point is False
        assert {f"{stage}/best_{rule}.pth" for rule in ("test", "cycle")} <= content.keys()
        assert len([name for name in content if name.startswith(f"{stage}/labels/")]) == 2
    assert not [name for name in content if name.endswith((".next", ".tmp"))]


def test_a_difference_is_seen(undisturbed):
    content = undisturbed("pclhd")
    state = content["progressive/last.pth"]
    weights = state["networks"]["momentum_encoder"]
    name = next(iter(weights))
    changed = weights | {name: weights[name] + 1e-7}
    other = content | {
        "progressive/last.pth": state
        | {"networks": state["networks"] | {"momentum_encoder": changed}}
    }
    assert tiny_runs.differences(content, other) == [
        f"/progressive/last.pth/networks/momentum_encoder/{name}"
    ]


def test_a_momentum_teacher_was_part_of_it(undisturbed):
    networks = undisturbed("united-teacher")["united/last.pth"]["networks"]
    own, teacher = networks["encoder"], networks["momentum_encoder"]
    assert any((own[name] != teacher[name]).any() for name in own)


def test_the_joint_branch_was_part_of_it(undisturbed):
    losses = [event["loss"] for event in undisturbed("pclhd")["events"]]
    assert any("joint_visible" in loss for loss in losses)


def test_interrupted_before_the_first_epoch_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run_pipeline", interrupted)
    with pytest.raises(SystemExit) as leaving:
        cli.train("sysu", tiny_runs.arguments("pgm", tmp_path))
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert leaving.value.code == 130
    assert line.startswith("interrupted")
    assert "the same command goes on" in line
