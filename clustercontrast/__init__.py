"""Unsupervised visible-infrared person re-identification, method by method.

A trained model at work (docs/using.md)::

    model = clustercontrast.load("logs/sysu/pclhd/seed1")
    queries = model.features("queries", modality="infrared")
    gallery = model.features("gallery", modality="visible")
    found = clustercontrast.search(queries, gallery, top=10)

The rooms, from the ground up; each imports from those above it only::

    files.py      files written whole or not at all, a line for the user, the user's mistake
    processes/    which process of a training this is, and what they tell each other
    settings/     flags, recipes (one file per method), a command line
    models/       the two-stream encoder and where its weights come from
    clustering/   features -> k-reciprocal Jaccard distance -> pseudo labels -> centroids
    association/  which visible cluster is which infrared cluster
    memories/     centroids -> memories that features are contrasted with
    losses/       what is not a memory's own loss
    data/         a dataset's images, prepared once, drawn and augmented in batches
    generation/   fake infrared images: edges, noise levels, sets on disk
    evaluation/   images -> features, metrics, protocols, diagnostics
    engine/       when things happen: loop, pipeline, checkpoints, log
    methods/      one file per paper: its stages, in the paper's order
    retrieval/    a trained model at work: features of one's own images, searches
    report/       tables, figures, the page of a run
    rendering/    identities drawn by this project, to exercise all of it without a dataset
    commands/     prepare, train, test, report, sweep, features, search, export, methods

``clustercontrast`` (or ``python -m clustercontrast``), ``.report`` and ``.sweep`` are doors to the
commands.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# bf16 autocast gave NaN with oneDNN's AMX kernels, and does not with those of AVX-512
# (docs/memory.md).  Read at torch's first operation.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

# Found when they are asked for: importing the package imports nothing else.
OFFERED = {
    "load": "clustercontrast.commands.loading",
    "search": "clustercontrast.retrieval.search",
    "Model": "clustercontrast.retrieval.model",
    "Features": "clustercontrast.retrieval.features",
    "Index": "clustercontrast.retrieval.index",
}
"""What is offered for use in programs -> where it lies."""


def __getattr__(name: str) -> Any:
    if name not in OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *OFFERED])
