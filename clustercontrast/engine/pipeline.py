"""The stages of a method, in order: build, hand over, resume, train."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch

from clustercontrast.engine.loop import share_networks, train
from clustercontrast.engine.run import Run
from clustercontrast.engine.stage import HANDED_OVER, Stage

Plan = Callable[[type[Stage], Namespace], tuple[Namespace, str | None]]


def run_pipeline(
    stages: Sequence[type[Stage]],
    options: Any,
    data: Any,
    run: Run,
    plan: Plan | None = None,
    later: Sequence[type[Stage]] = (),
) -> None:
    """Run every stage that this run has not finished yet.

    Args:
        stages: in order.
        options: ``at(stage name)`` gives a stage its flags as a namespace of scalars.
        data: handed to the stages.
        run: where it happens.
        plan: gives a stage's flags with what had to be decided before it is built, and a line that
            says so.
        later: stages that follow these, in a run of their own.

    Raises:
        UserError: a stage cannot do what its flags say; nothing has been trained yet.
    """
    for make in stages:  # before the first one takes hours
        make(options.at(make.name), data, run).check_flags()
    for number, make in enumerate(stages, start=1):
        args = options.at(make.name)
        stage = make(args, data, run)
        ahead = (*stages[number:], *later)
        run.ahead = {own.name: getattr(options.at(own.name), "epochs", 1) for own in ahead}
        if stage.is_finished():
            run.log.say(f"{make.name}: finished before, skipped")
            continue
        if plan is not None:
            args, line = plan(make, args)
            stage = make(args, data, run)
            if line:
                run.log.say(line)
        torch.manual_seed(args.seed)  # new layers draw their initial weights from torch's generator
        stage.setup()
        if stage.starts_from and args.start_from in HANDED_OVER:
            earlier = {origin.partition(".")[0] for origin in stage.starts_from.values()}
            ends = {name: Stage(options.at(name), None, None).epochs[-1] for name in earlier}
            run.hand_over(stage, args.start_from, ends)
        run.keep_start(stage)
        run.resume(stage)
        share_networks(stage)
        train(stage, run)


def last_epoch(stage: type[Stage], options: Any) -> int:
    """Number of the last epoch that a stage has under these options."""
    return stage(options.at(stage.name), None, None).epochs[-1]
