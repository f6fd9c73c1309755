"""Unsupervised visible-infrared person re-identification, method by method.

The rooms, from the ground up; each imports from those above it only::

    files.py      files written whole or not at all, a line for the user, the user's mistake
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
    report/       tables, figures, the page of a run
    rendering/    identities drawn by this project, to exercise all of it without a dataset
    commands/     prepare, train, test, report, sweep

``python -m clustercontrast``, ``.report`` and ``.sweep`` are doors to the commands.
"""

__version__ = "0.1.0"
