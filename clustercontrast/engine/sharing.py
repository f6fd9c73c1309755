"""Files that several runs share, and work that several processes share.

Stages that declare what they depend on (``Stage.reads``) leave their files in a folder named after
just that: runs that differ elsewhere share them.  An ablation of a later stage does not make them
again, and what one trial has learnt never serves another.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clustercontrast.engine.stage import Stage
from clustercontrast.processes import ranks


def process_of(args: Any) -> tuple[int, int]:
    """Number of this process and of all: ``--shard i/n``, else those that work together."""
    if getattr(args, "shard", None):
        number, count = args.shard.split("/")
        return int(number), int(count)
    return ranks.number(), ranks.count()


def places(data: Any, stages: Sequence[type[Stage]]) -> dict[str, Path]:
    """Folder of every stage that shares its files, below LOGS_DIR/shared.

    Its name ends in a digest of the flags and images that the files depend on, those of the stages
    it is built on included.

    Args:
        data: the images, and the run's ``options``.
        stages: of the method, in order.
    """
    found: dict[str, Path] = {}
    for stage in stages:
        if stage.reads:
            basis = basis_of(stage, data)
            basis["built_on"] = [found[name].name for name in stage.built_on]
            digest = hashlib.blake2b(json.dumps(basis, sort_keys=True).encode(), digest_size=5)
            name = f"{stage.name}-{digest.hexdigest()}"
            found[stage.name] = Path(data.options.logs_dir) / "shared" / name
    return found


def basis_of(stage: type[Stage], data: Any) -> dict:
    """What a shared stage's files depend on: flags, and the images they are made from."""
    args = vars(data.options.at(stage.name))
    return {
        "flags": {name: args[name] for name in stage.reads},
        "images": {name: data.basis(name) for name in stage.made_from},
    }
