"""Unsupervised visible-infrared person re-identification, method by method.

The way of the data::

    data/         a dataset's images, prepared once, drawn and augmented in batches
    models/       the two-stream encoder and where its weights come from
    features.py   images -> flip-averaged features
    clustering/   features -> k-reciprocal Jaccard distance -> pseudo labels -> centroids
    association/  which visible cluster is which infrared cluster
    memory.py     centroids -> memories that queries are contrasted with
    losses/       what is not a memory's own loss
    methods/      one file per paper: its stages, in the paper's order
    engine/       when things happen: loop, pipeline, checkpoints, log
    evaluation/   metrics, protocols, diagnostics
    report/       tables, figures, the page of a run
    rendering/    people drawn by this project, to exercise all of it without a dataset

``recipes.py`` holds every default, ``flags.py`` every flag; ``cli.py`` has the commands,
``training.py`` what training does, ``results.py`` what testing does, ``sweep.py`` grids of runs.
"""

__version__ = "0.1.0"
