"""A training command on the device: what the plan expected of every stage, and what it then took.

``python planned.py FILE FLAGS...`` writes {stage: [estimated bytes, most bytes]}, images aside.
"""

import json
import sys
from pathlib import Path

import narrow_resnet
import pytest
import torch

from clustercontrast.commands import planning, reporting, training
from clustercontrast.engine import pipeline
from clustercontrast.settings.command_line import parse

FOUND: dict[str, list[int]] = {}


def follow(patch: pytest.MonkeyPatch) -> None:
    """Note every decision, and the most that lies on the device from set-up to the last epoch."""
    planner, decide, train = planning.Planner.__call__, planning.decide, pipeline.train
    seen = {}

    def planned(self, make, args):
        seen["data"] = self.data
        chosen = planner(self, make, args)
        torch.cuda.reset_peak_memory_stats()
        return chosen

    def decided(*given):
        decision = decide(*given)
        seen["estimate"] = decision.peak
        return decision

    def trained(stage, run):
        train(stage, run)
        peak = torch.cuda.max_memory_allocated() - seen["data"].bytes_on_device()
        FOUND[stage.name] = [seen["estimate"], peak]

    patch.setattr(planning.Planner, "__call__", planned)
    patch.setattr(planning, "decide", decided)
    patch.setattr(pipeline, "train", trained)
    patch.setattr(reporting, "report", lambda *_: None)  # the table is not what is tested


if __name__ == "__main__":
    file, *flags = sys.argv[1:]
    with pytest.MonkeyPatch.context() as patch:
        narrow_resnet.use(patch)
        follow(patch)
        training.train_runs(parse("sysu", flags), "planned.py")
    Path(file).write_text(json.dumps(FOUND))
