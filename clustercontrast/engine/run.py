"""One run: its folder, device, precision, generator, log, and what happens at epoch boundaries."""

import contextlib
import functools
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from clustercontrast.engine import checkpoint, compiling
from clustercontrast.engine.determinism import use_deterministic_kernels
from clustercontrast.engine.epoch_line import epoch_line, time_left, time_split
from clustercontrast.engine.log import Log, Meter, numbers
from clustercontrast.engine.precision import autocast, tensor_cores
from clustercontrast.engine.stage import Stage, Terms
from clustercontrast.files import UserError
from clustercontrast.processes import ranks
from clustercontrast.processes.launch import started


class Run:
    """State shared by the stages of one run.

    Args:
        folder: the run's folder; every stage has a folder of its own in it.
        device: where networks and batches live.
        precision: see :func:`clustercontrast.engine.precision.autocast`.
        evaluate: scores of a stage's retrieval network; ``rules`` name the deciding ones.
        rules: selection rule -> the score it maximises.
        print_freq: iterations between two lines of log.txt.
        about: facts stored with every saved model (method, dataset, images).
        numbers: flags that the results depend on, stored with every epoch.
        beside: an epoch's record, as it goes to metrics.jsonl -> what is to be said of it beside
            what others have published; "" for nothing.
        others: folders of other trials, or seeds, whose epochs tell how long those to come take.
        deterministic: see :mod:`clustercontrast.engine.determinism`.

    Attributes:
        ahead: stage -> epochs, of the stages that follow the one at hand.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: str = "fp32",
        evaluate: Callable[[Stage], dict[str, float]] | None = None,
        rules: dict[str, str] | None = None,
        print_freq: int = 10,
        about: dict[str, Any] | None = None,
        numbers: dict[str, Any] | None = None,
        beside: Callable[[Mapping[str, Any]], str] | None = None,
        others: Iterable[Path] = (),
        deterministic: bool = False,
    ) -> None:
        self.folder, self.device, self.precision = folder, device, precision
        self.evaluate, self.rules = evaluate, rules or {}
        self.print_freq, self.about, self.numbers = print_freq, about or {}, numbers or {}
        self.generator = torch.Generator()  # all randomness of the training; seeded per stage
        self.log = Log(folder)
        self.beside, self.others = beside, tuple(others)
        self.best: dict[str, dict] = {}
        self.ahead: dict[str, int] = {}
        self._took: dict[str, list[float]] = {}
        self._meter, self._seconds, self._bar = Meter(), {}, None
        self.position = "before the first epoch"
        # What is not a step or an extraction computes in full float32 (engine/precision.py).
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        use_deterministic_kernels(deterministic and device.type == "cuda")

    def autocast(self) -> contextlib.AbstractContextManager:
        """The run's precision, in which networks and losses are evaluated."""
        return autocast(self.device, self.precision)

    def compile(self, network: nn.Module) -> None:
        """Compile a network's parts (``--compile``), or say why that is not possible."""
        reason = compiling.reason_against(self.device)
        if reason is None:
            compiling.compile_parts(network)
        else:
            self.log.say(f"--compile: not possible here, going on without ({reason})")

    def tensor_cores(self) -> contextlib.AbstractContextManager:
        """The run's precision without autocast, in which losses are differentiated."""
        return tensor_cores(self.precision)

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the block's seconds to the epoch's account of time, but for those of blocks in it."""
        started, noted = time.perf_counter(), sum(self._seconds.values())
        yield
        inside = sum(self._seconds.values()) - noted
        self.add_seconds(what, time.perf_counter() - started - inside)

    def add_seconds(self, what: str, seconds: float) -> None:
        """Add seconds to the current epoch."""
        self._seconds[what] = self._seconds.get(what, 0.0) + seconds

    # Stages and their weights

    def reached(self, stage: str) -> int | None:
        """Last saved epoch of a stage."""

        def epoch() -> int | None:
            state = checkpoint.last(self.folder / stage)
            return None if state is None else state["epoch"]

        return ranks.first(epoch)

    def hand_over(self, stage: Stage, source: str, ends: Mapping[str, int]) -> None:
        """Give a stage the weights of an earlier one, and the optimisers of the one it continues.

        Args:
            stage: receives weights for the networks of its ``starts_from``.
            source: "test" or "cycle" (the best model under that rule) or "last".
            ends: last epoch of every earlier stage; one that was interrupted before is refused.

        Raises:
            UserError: the earlier stage has not finished in this run.
        """

        @functools.cache
        def read(earlier: str) -> dict:
            return ranks.first(lambda: saved_model(self.folder / earlier, source))

        for name, origin in stage.starts_from.items():
            earlier, network = origin.split(".")
            model = read(earlier)
            if model["reached"] < ends[earlier]:
                raise UserError(
                    f"{self.folder / earlier} holds epoch {model['reached']} of {ends[earlier]}, "
                    f"and {stage.name} starts from its end: run --stages {earlier} again, which "
                    "goes on, or give --start-from PATH"
                )
            weights = model["companions"].get(network, model["weights"])
            stage.networks[name].load_state_dict(weights)
            self.log.say(f"{stage.name}.{name} starts from {earlier} ({source} model)")
        if stage.continues:
            state = ranks.first(lambda: checkpoint.last(self.folder / stage.continues))
            kept = state["optimisers"]
            for name, optimiser in stage.optimisers.items():
                optimiser.load(kept[name])

    def resume(self, stage: Stage) -> None:
        """Go on after the stage's last whole epoch, if there is one."""
        self.best = {}
        self._stage_folder = self.folder / stage.name
        state = ranks.first(lambda: checkpoint.last(self._stage_folder))
        self._next = stage.epochs[0] if state is None else state["epoch"] + 1
        self.log.forget(stage.name, self._next)
        self._took = self._finished_epochs(stage.name)
        if state is None:
            self.generator.manual_seed(stage.args.seed + zlib.crc32(stage.name.encode()))
            return
        checkpoint.restore(stage, state, self.generator)
        self.best = state["best"]
        self.log.say(f"{stage.name}: resumed after epoch {state['epoch']}")

    def _finished_epochs(self, stage: str) -> dict[str, list[float]]:
        """Seconds of finished epochs, of the stage at hand and of those ahead.

        Those of other trials and seeds stand in for a stage that has none here.
        """
        logs = [Log(folder) for folder in self.others]
        found = {name: self.log.epoch_seconds(name) for name in (stage, *self.ahead)}
        for name in self.ahead:
            found[name] += [s for log in logs if not found[name] for s in log.epoch_seconds(name)]
        return found

    def keep_start(self, stage: Stage) -> None:
        """Save the network that training begins with, once, to measure training against it."""
        path = self.folder / stage.name / "start.pth"
        is_kept = not ranks.is_first() or any(self.folder.glob("*/start.pth"))
        if stage.retrieval and not is_kept:
            checkpoint.save(path, self._model(stage, -1))

    def remaining(self, stage: Stage) -> range:
        """Epochs still to do."""
        return range(self._next, stage.epochs.stop)

    def rate_start(self, stage: Stage) -> None:
        """Let the weights that a stage starts from compete for its best model.

        Called in the first epoch, before training.  Nothing is committed yet: a run that is killed
        in this epoch comes here again.
        """
        first = stage.epochs[0] - 1
        with self.timed("evaluation"):
            scores = self.evaluate(stage) if self.evaluate else {}
        for rule in self._improved(first, scores):
            if ranks.is_first():
                best = checkpoint.best_file(self._stage_folder, rule)
                checkpoint.save(best, self._model(stage, first))
        shown = "  ".join(f"{name} {value:.2f}" for name, value in scores.items())
        self.log.say(f"{stage.name} before training: {shown}")

    # Epochs

    def open_epoch(self, stage: Stage, epoch: int) -> None:
        """Start the account of an epoch."""
        self._meter, self._seconds = Meter(), {}
        self._started = time.perf_counter()
        stage.epoch = epoch
        self.position = f"in epoch {epoch} of stage {stage.name}"
        # What layers draw (stochastic depth) depends on the epoch alone, hence not on a resume.
        torch.manual_seed(stage.args.seed + zlib.crc32(f"{stage.name} {epoch}".encode()))

    def progress(self, batches: Iterable, stage: Stage, epoch: int) -> Iterable:
        """The batches, behind a bar with loss, images per second and remaining time."""
        title = f"{stage.name} {epoch}/{stage.epochs[-1]}"
        hidden = ranks.hides_bars()
        with tqdm(batches, title, stage.iterations, leave=False, disable=hidden) as self._bar:
            self._images, self._bar_started = 0, time.perf_counter()
            yield from self._bar

    def meter(self, terms: Terms) -> None:
        """Note the terms of one optimiser step."""
        self._meter.add(terms)

    def tick(self, stage: Stage, epoch: int, iteration: int, images: int) -> None:
        """End of an iteration: show and log the running means now and then."""
        self._meter.iterations += 1
        self._images += images
        if (iteration + 1) % self.print_freq:
            return
        means = self._means(stage)
        rate = self._images / (time.perf_counter() - self._bar_started)
        self._bar.set_postfix_str(f"loss {means['total']:.3f}, {rate:.0f} images/s")
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        line = f"{stage.name} [{epoch}][{iteration + 1}/{stage.iterations}]  {shown}"
        self.log.say(f"{line}  {rate:.0f} images/s", console=False)
        optimisers = stage.optimisers.items()
        self.log.event(
            event="progress",
            stage=stage.name,
            epoch=epoch,
            iteration=iteration + 1,
            loss=means,
            weights=self._meter.weights,
            learning_rates={name: own.learning_rates() for name, own in optimisers},
            gradient_norms=numbers({name: own.gradient_norm() for name, own in optimisers}),
            images_per_second=round(rate, 1),
        )

    def close_epoch(self, stage: Stage, epoch: int) -> None:
        """Evaluate if due, keep the best models, commit the epoch, log it."""
        loss = self._means(stage)
        scores = {}
        if self.evaluate and stage.retrieval and self._due(stage, epoch):
            with self.timed("evaluation"):
                scores = self.evaluate(stage)
        record = {
            "event": "epoch",
            "stage": stage.name,
            "epoch": epoch,
            "iterations": self._meter.iterations,
            "loss": loss,
            "clusters": stage.facts,
            "scores": scores,
            "seconds": self._account(),
        }
        # Logged first: an event without its epoch is forgotten on resuming, never the other way.
        self.log.event(**record)
        with self.timed("saving"):
            self._commit(stage, epoch, scores)
        seconds = self._account()
        self.log.event(event="saved", stage=stage.name, epoch=epoch, seconds=seconds)
        self._say_epoch(stage, record, seconds)

    def _say_epoch(self, stage: Stage, record: Mapping[str, Any], seconds: dict) -> None:
        """The epoch's line, where its time went, and published figures beside its own."""
        epoch, last = record["epoch"], stage.epochs[-1]
        self._took.setdefault(stage.name, []).append(seconds["total"])
        left = time_left(last - epoch, self.ahead, self._took)
        title, times = f"{stage.name} epoch {epoch} of {last}", (f"{seconds['total']:.0f} s", left)
        line = epoch_line(
            title, record["loss"], stage.facts, record["scores"], self._best_in_words(stage), times
        )
        self.log.say(line)
        self.log.say(f"{title}: {time_split(seconds)}", console=False)
        if self.beside and (line := self.beside(record)):
            self.log.say(line)

    def _best_in_words(self, stage: Stage) -> str:
        if "test" not in self.best:
            return ""
        score, of = self.best["test"]["score"], self.best["test"]["epoch"]
        when = f"epoch {of}" if of in stage.epochs else "before training"
        return f"best on test {score:.2f} ({when})"

    def _account(self) -> dict[str, float]:
        """Seconds of the open epoch so far, by what took them."""
        seconds = self._seconds | {"total": time.perf_counter() - self._started}
        return {name: round(value, 3) for name, value in seconds.items()}

    def _due(self, stage: Stage, epoch: int) -> bool:
        a = stage.args
        counted = epoch + 1 + getattr(a, "eval_offset", 0)
        in_step = epoch >= a.eval_from and counted % a.eval_step == 0
        return in_step or epoch == stage.epochs[-1]

    def _means(self, stage: Stage) -> dict[str, float]:
        try:
            return self._meter.means()
        except FloatingPointError as error:
            raise UserError(
                f"the loss term '{error}' is no longer finite {self.position}: lower --lr, or use "
                f"--precision fp32; the epochs before are saved in {self.folder / stage.name}"
            ) from error

    def _commit(self, stage: Stage, epoch: int, scores: dict[str, float]) -> None:
        improved = self._improved(epoch, scores)
        if not ranks.is_first():
            return
        models = {rule: self._model(stage, epoch) for rule in improved}
        if stage.labels:
            labels = self._stage_folder / "labels" / f"epoch_{epoch:03d}.npz"
            checkpoint.save_labels(labels, stage.labels | stage.clustered)
        state = checkpoint.capture(stage, epoch, self.generator)
        state |= {"best": self.best, "about": self.about, "numbers": self.numbers}
        checkpoint.commit(self._stage_folder, state, models)

    def _improved(self, epoch: int, scores: dict[str, float]) -> list[str]:
        """Note the rules under which these scores are the best so far."""
        improved = []
        for rule, key in self.rules.items():
            if key in scores and scores[key] > self.best.get(rule, {"score": -1})["score"]:
                self.best[rule] = {"score": scores[key], "epoch": epoch}
                improved.append(rule)
        return improved

    def _model(self, stage: Stage, epoch: int) -> dict:
        return {
            "stage": stage.name,
            "epoch": epoch,
            "retrieval": stage.retrieval,
            "weights": stage.networks[stage.retrieval].state_dict(),
            "companions": {name: stage.networks[name].state_dict() for name in stage.companions},
            "about": self.about,
        }


def choose_device(name: str) -> torch.device:
    """The device that ``--device`` names; "auto" is a GPU if there is one.

    Of several processes each takes the GPU of its number on the machine.

    Raises:
        UserError: no such device here.
    """
    gpus, launch = torch.cuda.device_count() if torch.cuda.is_available() else 0, started()
    is_asked_for = name != "auto"
    if not is_asked_for:
        name = f"cuda:{launch.local}" if gpus else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:[0-9]{1,4})?", name):
        raise UserError(f"--device '{name}' is not a device here: give auto, cpu, cuda or cuda:N")
    if not gpus:
        raise UserError(f"--device {name}: this machine has no usable GPU; give --device cpu")
    if launch.count > 1 and is_asked_for and name != "cuda":
        raise UserError(
            f"--device {name} is one GPU, and there are {launch.count} processes: leave it out, "
            "and each takes the GPU of its LOCAL_RANK"
        )
    if launch.count > 1 and launch.local >= gpus:
        raise UserError(
            f"there are {gpus} usable GPUs on this machine and more processes: start torchrun with "
            f"--nproc_per_node={gpus}, or add --device cpu"
        )
    if int(name.partition(":")[2] or 0) >= gpus:
        raise UserError(
            f"--device {name}: this machine has {gpus} usable GPUs, counted from 0; give a smaller "
            "number"
        )
    return torch.device(f"cuda:{launch.local}" if launch.count > 1 else name)


def saved_model(folder: Path, which: str) -> dict:
    """A stage's model: "last" epoch, "start", or the best under a rule ("test", "cycle").

    Returns:
        ``weights`` (state dict of the network that ``retrieval`` names), ``companions`` (name ->
        state dict of other networks saved with it), ``epoch``, ``stage`` and ``about``; and
        ``reached``, the stage's last saved epoch.

    Raises:
        UserError: the stage has not been trained in that folder.
    """
    state = checkpoint.last(folder)
    if state is None:
        raise UserError(
            f"{folder} has no finished epoch: train stage '{folder.name}' first, or give "
            "--start-from PATH (weights of another run) or --start-from pretrained"
        )
    if which != "last":
        file = folder / "start.pth" if which == "start" else checkpoint.best_file(folder, which)
        return checkpoint.best(file) | {"reached": state["epoch"]}
    others = dict(state["networks"])
    weights = others.pop(state["retrieval"])
    return {key: state[key] for key in ("stage", "epoch", "retrieval", "about")} | {
        "weights": weights,
        "companions": others,
        "reached": state["epoch"],
    }
