"""One run of an experiment, as a user would start it."""

from pathlib import Path

from clustercontrast.commands import cli


def train(folder: Path, name: str, images: str, flags: str) -> Path:
    """Train a run on rendered identities in SYSU-MM01's layout, or what is missing of it.

    Args:
        folder: of the experiment: images below it, runs in its ``logs``.
        name: of the run.
        images: folder of the rendered set.
        flags: of the training; ``--method`` is among them.

    Returns:
        The run's folder.
    """
    words = f"--name {name} --logs-dir {folder}/logs --data-dir {folder}/{images} {flags}".split()
    place = folder / "logs" / "sysu" / words[words.index("--method") + 1] / name
    if not (place / "report.json").exists():  # the last thing that a run writes
        cli.train("sysu", words)
    return place
