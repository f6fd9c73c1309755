"""A training command on the device: what the plan expected of every stage, and what it then took.

``python planned.py FILE FLAGS...`` writes {stage: [estimated bytes, most bytes]}, images aside.
"""

import json
import sys
from pathlib import Path

import narrow_resnet
import pytest
import torch

from clustercontrast.commands import planning, results, training
from clustercontrast.engine import pipeline

FOUND: dict[str, list[int]] = {}


def follow(patch: pytest.MonkeyPatch) -> None:
    """Note every decision, and the most that lies on the device from set-up to the last epoch."""
    planner, train = planning.Planner.__call__, pipeline.train

    def planned(self, make, args):
        follow.data = self.data
        decide = planning.decide
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(planning, "decide", lambda *given, **named: noted(decide(*given, **named)))
            chosen = planner(self, make, args)
        torch.cuda.reset_peak_memory_stats()
        return chosen

    def noted(decision):
        follow.estimate = decision.peak
        return decision

    def trained(stage, run):
        train(stage, run)
        peak = torch.cuda.max_memory_allocated() - follow.data.bytes_on_device()
        FOUND[stage.name] = [follow.estimate, peak]

    patch.setattr(planning.Planner, "__call__", planned)
    patch.setattr(pipeline, "train", trained)
    patch.setattr(results, "report", lambda *_: None)  # the table of the run is not what is tested


if __name__ == "__main__":
    file, *flags = sys.argv[1:]
    with pytest.MonkeyPatch.context() as patch:
        narrow_resnet.use(patch)
        follow(patch)
        from clustercontrast.settings.command_line import parse

        training.train_runs(parse("sysu", flags), "planned.py")
    Path(file).write_text(json.dumps(FOUND))
