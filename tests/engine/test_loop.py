"""When things happen: hooks, steps, precision and learning rates, with stages of one weight."""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from clustercontrast.engine.checkpoint import load
from clustercontrast.engine.loop import resumed_under, take_step, train
from clustercontrast.engine.pipeline import run_pipeline
from clustercontrast.engine.run import Run, saved_model
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import ScheduledOptimiser, Stage
from clustercontrast.files import UserError


class ToyBatch:
    number_of_images = 1

    def __init__(self, value):
        self.value = value

    def to(self, device):
        return self


class Toy(Stage):
    """Pulls one weight towards random numbers and notes what happens."""

    name, retrieval = "toy", "net"
    streams = 1

    def setup(self):
        self.said = self.args.said
        self.net = self.add("net", nn.Linear(1, 1))
        sgd = torch.optim.SGD(self.net.parameters(), self.args.lr, momentum=0.9)
        self.optimise("net", sgd, step_decay(self.args.step_size))

    def refresh(self, epoch):
        self.said.append(f"refresh {epoch}")
        for number in range(self.streams):
            draws = torch.rand(self.args.iters, generator=self.run.generator)
            self.said.append(f"stream {number}")
            yield [ToyBatch(draw) for draw in draws]
            self.said.append(f"after stream {number}")

    def iteration(self, batch, epoch):
        before = self.net.weight.detach().clone()
        loss = (self.net(torch.ones(1, 1)) - batch.value).square().mean()
        yield "net", {"pull": (1.0, loss)}
        moved = "moved" if not torch.equal(before, self.net.weight) else "the same"
        rate = self.optimisers["net"].optimiser.param_groups[0]["lr"]
        self.said.append(f"weight {moved}, lr {rate:.3g}")


class Second(Toy):
    name = "second"
    starts_from = {"net": "toy.net"}  # noqa: RUF012


class ToyOptions:
    def __init__(self, **given):
        defaults = {"epochs": 2, "iters": 2, "lr": 0.1, "step_size": 1, "seed": 1, "first_epoch": 0}
        shared = {"eval_from": 0, "eval_step": 1, "start_from": "last", "compile": False}
        self.values = defaults | shared | {"said": []} | given

    def at(self, stage):
        return SimpleNamespace(**self.values)


def make_run(folder, **more):
    return Run(folder, torch.device("cpu"), print_freq=1, **more)


def go(folder, stages=(Toy,), run=None, **given):
    """Run toy stages; what they said."""
    options = ToyOptions(**given)
    run_pipeline(stages, options, None, run or make_run(folder))
    return options.values["said"]


def test_order_of_an_epoch(tmp_path):
    assert go(tmp_path, epochs=1) == [
        "refresh 0",
        "stream 0",
        "weight moved, lr 0.1",
        "weight moved, lr 0.1",
        "after stream 0",
    ]


def test_a_refresh_may_yield_several_streams(tmp_path):
    class Two(Toy):
        streams = 2

    said = go(tmp_path, stages=[Two], epochs=1, iters=1)
    step = "weight moved, lr 0.1"
    assert said == [
        "refresh 0",
        *("stream 0", step, "after stream 0"),
        *("stream 1", step, "after stream 1"),
    ]


def test_networks_train_during_steps_even_if_refresh_left_them_in_eval_mode(tmp_path):
    modes = []

    class Forgetful(Toy):
        def refresh(self, epoch):
            self.net.eval()
            yield from super().refresh(epoch)

        def iteration(self, batch, epoch):
            modes.append(self.net.training)
            yield from super().iteration(batch, epoch)

    go(tmp_path, stages=[Forgetful], epochs=1, iters=1)
    assert modes == [True]


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_restores_the_mode_and_the_gradients(tmp_path, training):
    stage = Toy(SimpleNamespace(compile=False), None, make_run(tmp_path))
    network = nn.Linear(1, 1).train(training)
    seen = []

    def extract():
        with stage.evaluating(network):
            seen.append((network.training, torch.is_grad_enabled()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        extract()
    assert seen == [(False, False)]
    assert network.training is training
    assert torch.is_grad_enabled()


def test_autocast_covers_the_stage_and_not_the_backward_pass(tmp_path):
    seen = {}

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            seen["backward"] = torch.is_autocast_enabled("cpu")
            return gradient

    class Bf16(Toy):
        def iteration(self, batch, epoch):
            seen["body"] = torch.is_autocast_enabled("cpu")
            out = Watched.apply(self.net(torch.ones(1, 1)))
            seen["dtype"] = out.dtype
            yield "net", {"pull": (1.0, out.float().sum())}
            seen["after"] = torch.is_autocast_enabled("cpu")

    run = Run(tmp_path, torch.device("cpu"), "bf16")
    go(tmp_path, stages=[Bf16], run=run, epochs=1, iters=1)
    assert seen == {"body": True, "dtype": torch.bfloat16, "backward": False, "after": True}


def test_a_context_is_left_while_the_caller_works():
    inside = []

    class Context:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *_):
            inside.pop()

    def body():
        for number in range(2):
            assert inside
            yield number
        assert inside

    assert [len(inside) for _ in resumed_under(Context, body())] == [0, 0]


def test_a_state_of_a_plain_optimiser_goes_on_fused():
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    plain, fused = (
        ScheduledOptimiser(torch.optim.Adam([w], 0.1, fused=how), step_decay(1))
        for w, how in zip(weights, (None, True), strict=True)
    )
    for _ in range(2):
        plain.optimiser.zero_grad()
        weights[0].square().sum().backward()
        plain.optimiser.step()
    weights[1].data.copy_(weights[0].data)
    fused.load(copy.deepcopy(plain.optimiser.state_dict()))
    assert fused.optimiser.param_groups[0]["fused"] is True
    for own, weight in ((plain, weights[0]), (fused, weights[1])):
        own.optimiser.zero_grad()
        weight.square().sum().backward()
        own.optimiser.step()
    torch.testing.assert_close(weights[1], weights[0])


def test_yielding_inside_no_grad_is_refused(tmp_path):
    class FromRefresh(Toy):
        def refresh(self, epoch):
            with torch.no_grad():
                yield []

    class FromIteration(Toy):
        def iteration(self, batch, epoch):
            with torch.no_grad():
                yield "net", {}

    for make in (FromRefresh, FromIteration):
        with torch.enable_grad(), pytest.raises(AssertionError, match="inside no_grad"):
            go(tmp_path / make.__name__, stages=[make])


def test_one_step_by_hand():
    weight = nn.Parameter(torch.tensor(2.0))
    optimiser = ScheduledOptimiser(torch.optim.SGD([weight], 0.1), step_decay(1))
    weight.grad = torch.tensor(100.0)  # left over, must not count
    take_step(optimiser, {"a": (0.5, weight**2), "b": (2.0, 3 * weight)})
    # d/dw (0.5 w^2 + 6 w) = w + 6 = 8, hence 2 - 0.1 * 8
    assert weight.item() == pytest.approx(1.2)


def test_learning_rates_are_functions_of_the_epoch_alone():
    weights = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.4, 0.01)]
    scheduled = ScheduledOptimiser(torch.optim.SGD(weights), step_decay(20))
    for epoch in (45, 0, 19, 20, 39, 40, 40):  # any order, any number of times
        scheduled.set_learning_rate(epoch, iteration=3)
        factor = 0.1 ** (epoch // 20)
        rates = [group["lr"] for group in scheduled.optimiser.param_groups]
        assert rates == pytest.approx([0.4 * factor, 0.01 * factor], rel=1e-12)


def test_a_resumed_run_decays_once(tmp_path):
    """The saved optimiser holds the decayed rate; multiplying it again would give 0.001."""
    go(tmp_path, epochs=2, iters=1)
    said = go(tmp_path, epochs=3, iters=1)
    assert [line for line in said if "lr" in line] == ["weight moved, lr 0.001"]
    rates = [line for line in go(tmp_path / "other", epochs=3, iters=1) if "lr" in line]
    assert rates == [f"weight moved, lr {lr}" for lr in ("0.1", "0.01", "0.001")]


def test_a_finished_stage_is_skipped_and_its_weights_are_handed_over(tmp_path):
    go(tmp_path)
    first = saved_model(tmp_path / "toy", "last")["weights"]
    begins_with = []

    class Watching(Second):
        def refresh(self, epoch):
            begins_with.append({k: v.clone() for k, v in self.net.state_dict().items()})
            yield from super().refresh(epoch)

    said = go(tmp_path, stages=[Toy, Watching], epochs=2)
    assert said.count("refresh 0") == 1
    assert all(torch.equal(begins_with[0][name], first[name]) for name in first)


def test_hand_over_takes_the_named_model(tmp_path):
    scores = iter([{"mAP": 5.0}, {"mAP": 3.0}])
    run = make_run(tmp_path, evaluate=lambda _: next(scores), rules={"test": "mAP"})
    go(tmp_path, run=run)
    best, final = (saved_model(tmp_path / "toy", which) for which in ("test", "last"))
    assert (best["epoch"], final["epoch"]) == (0, 1)
    for which, expected in (("test", best), ("last", final)):
        stage = Second(ToyOptions().at("second"), None, run)
        stage.setup()
        run.hand_over(stage, which, {"toy": 1})
        state = stage.net.state_dict()
        assert all(torch.equal(state[name], expected["weights"][name]) for name in state)


def test_hand_over_without_a_finished_stage_is_refused(tmp_path):
    with pytest.raises(UserError, match="train stage 'toy' first"):
        go(tmp_path, stages=[Second])


def test_hand_over_from_half_a_stage_is_refused(tmp_path):
    go(tmp_path, epochs=2)
    with pytest.raises(UserError, match="holds epoch 1 of 2, and second starts from its end"):
        go(tmp_path, stages=[Second], epochs=3)


def test_progress_is_logged_for_programs(tmp_path):
    go(tmp_path, epochs=1, iters=2)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    first, second = (line for line in lines if line["event"] == "progress")
    assert (first["iteration"], second["iteration"]) == (1, 2)
    assert first["weights"] == {"pull": 1.0}
    assert first["learning_rates"] == {"net": [0.1]}
    # One weight and one bias see the same gradient, twice the distance to the target.
    distance = math.sqrt(first["loss"]["pull"])
    assert first["gradient_norms"]["net"] == pytest.approx(math.sqrt(2) * 2 * distance, rel=1e-5)


def test_evaluations_are_due_from_an_epoch_in_steps_and_at_the_end(tmp_path):
    evaluated = []

    def evaluate(stage):
        evaluated.append(len([line for line in stage.said if line.startswith("refresh")]) - 1)
        return {"mAP": 0.0}

    run = make_run(tmp_path, evaluate=evaluate, rules={"test": "mAP"})
    go(tmp_path, run=run, epochs=8, eval_from=0, eval_step=3)
    assert evaluated == [2, 5, 7]  # as upstream counts: (epoch + 1) % 3 == 0, and the last
    evaluated.clear()
    run = make_run(tmp_path / "later", evaluate=evaluate, rules={"test": "mAP"})
    go(tmp_path / "later", run=run, epochs=9, eval_from=3, eval_step=2)
    assert evaluated == [3, 5, 7, 8]
    evaluated.clear()
    run = make_run(tmp_path / "even", evaluate=evaluate, rules={"test": "mAP"})
    go(tmp_path / "even", run=run, epochs=6, eval_from=0, eval_step=2, eval_offset=1)
    assert evaluated == [0, 2, 4, 5]


def test_an_equal_score_does_not_replace_the_best_model(tmp_path):
    scores = iter([{"mAP": 5.0}, {"mAP": 5.0}, {"mAP": 5.5}, {"mAP": 1.0}])
    run = make_run(tmp_path, evaluate=lambda _: next(scores), rules={"test": "mAP"})
    go(tmp_path, run=run, epochs=2)
    assert load(tmp_path / "toy" / "best_test.pth")["epoch"] == 0
    go(tmp_path, run=run, epochs=4)
    assert load(tmp_path / "toy" / "best_test.pth")["epoch"] == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(tmp_path, value):
    class Broken(Toy):
        def iteration(self, batch, epoch):
            loss = self.net(torch.ones(1, 1)).sum()
            broken = value if epoch == 1 else 1.0
            yield "net", {"pull": (1.0, loss), "cross": (0.25, loss * broken)}

    with pytest.raises(UserError, match="'cross' is no longer finite in epoch 1 of stage toy"):
        go(tmp_path, stages=[Broken])
    assert load(tmp_path / "toy" / "last.pth")["epoch"] == 0


def test_stages_draw_from_seeds_of_their_own_and_touch_no_other_state(tmp_path):
    draws = {}

    class Drawing(Toy):
        def refresh(self, epoch):
            draws[self.name, epoch] = torch.rand(1, generator=self.run.generator).item()
            yield [ToyBatch(1.0)]

    class Again(Drawing):
        name = "again"

    run = make_run(tmp_path)
    stages = [make(ToyOptions().at(make.name), None, run) for make in (Drawing, Again)]
    for stage in stages:
        stage.setup()
        run.resume(stage)
        train(stage, run)
    assert len(set(draws.values())) == 4


def test_layers_draw_by_the_epoch_alone(tmp_path):
    """Stochastic depth draws from torch's generator: a resumed epoch must draw the same again."""
    draws = {}

    class Drawing(Toy):
        def refresh(self, epoch):
            draws.setdefault(epoch, []).append(torch.rand(1).item())
            yield [ToyBatch(1.0)]

    for epochs in (range(4), range(2, 4)):
        run = make_run(tmp_path / str(len(epochs)))
        run.remaining = lambda stage, epochs=epochs: epochs
        stage = Drawing(ToyOptions(epochs=4).at("toy"), None, run)
        stage.setup()
        run.resume(stage)
        torch.rand(7)
        train(stage, run)
    assert len({value for (value, *_) in draws.values()}) == 4
    assert all(len(set(values)) == 1 for values in draws.values())
    assert [len(values) for values in draws.values()] == [1, 1, 2, 2]


def test_a_stage_counts_from_its_first_epoch(tmp_path):
    stage = Toy(ToyOptions(first_epoch=3).at("toy"), None, make_run(tmp_path))
    assert stage.epochs == range(3, 5)


def lines_of(folder):
    """The epochs' lines in log.txt, without their dates."""
    lines = (line.split("  ", 1)[1] for line in (folder / "log.txt").read_text().splitlines())
    return [line for line in lines if " epoch " in line]


def slow_epochs(folder, stage, seconds):
    """A log of another trial, in which a stage's epochs took so long."""
    folder.mkdir()
    events = [{"event": "saved", "stage": stage, "epoch": 0, "seconds": {"total": seconds}}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in events))
    return folder


def test_epochs_are_counted_alike_wherever_they_are_named(tmp_path, monkeypatch):
    titles = []
    bar = lambda batches, title, *_, **__: titles.append(title) or EmptyBar(batches)  # noqa: E731
    monkeypatch.setattr("clustercontrast.engine.run.tqdm", bar)
    go(tmp_path, epochs=2, iters=1, first_epoch=3)
    lines = lines_of(tmp_path)
    assert titles == ["toy 3/4", "toy 4/4"]
    assert [line.partition(":")[0] for line in lines[::2]] == [
        "toy epoch 3 of 4",
        "toy epoch 4 of 4",
    ]
    assert {json.loads(own)["epoch"] for own in (tmp_path / "metrics.jsonl").open()} == {3, 4}
    assert load(tmp_path / "toy" / "last.pth")["epoch"] == 4


class EmptyBar(list):
    """What stands for a progress bar."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def set_postfix_str(self, _):
        pass


def test_every_line_says_what_is_left(tmp_path):
    """Nothing is known of the second stage before it begins, but from another trial."""
    go(tmp_path / "alone", stages=[Toy, Second])
    said = [line.rpartition("  ")[2] for line in lines_of(tmp_path / "alone")[::2]]
    assert [text.replace("1 s", "0 s") for text in said] == [
        "left 0 s, then second",
        "then second",
        "left 0 s",
        said[3],
    ]
    assert "left" not in said[3]
    run = make_run(tmp_path / "run", others=[slow_epochs(tmp_path / "trial1", "second", 1800.0)])
    go(tmp_path / "run", stages=[Toy, Second], run=run)
    said = [line.rpartition("  ")[2] for line in lines_of(tmp_path / "run")[::2]]
    assert said[0].endswith("run 60 min")
    assert said[1] == "left run 60 min"


def test_a_resumed_run_remembers_how_long_its_epochs_took(tmp_path):
    go(tmp_path, epochs=1)
    path = tmp_path / "metrics.jsonl"
    *before, last = map(json.loads, path.read_text().splitlines())
    last["seconds"]["total"] = 7200.0
    path.write_text("".join(f"{json.dumps(event)}\n" for event in (*before, last)))
    go(tmp_path, epochs=3)
    (line,) = (line for line in lines_of(tmp_path) if "epoch 1 of 2: loss" in line)
    assert line.endswith("left 60 min")  # the mean of 2 h and of nothing


def test_what_is_said_of_an_epoch_beside_others_has_its_record(tmp_path):
    beside = lambda record: f"beside {record['stage']} {record['epoch']}" * record["epoch"]  # noqa: E731
    go(tmp_path, run=make_run(tmp_path, beside=beside))
    assert (tmp_path / "log.txt").read_text().count("beside") == 1
    assert "  beside toy 1\n" in (tmp_path / "log.txt").read_text()
