"""Sets, runs and results of an experiment, as a user would make them."""

import zlib
from pathlib import Path

from clustercontrast.commands import cli
from clustercontrast.files import read_json
from clustercontrast.rendering import __main__ as rendering


def rendered(folder: Path, name: str, flags: str, size: str) -> None:
    """Identities in SYSU-MM01's layout, prepared; what is there already stays.

    Args:
        folder: of the experiment.
        name: of the set, a folder below it.
        flags: of the renderer.
        size: ``--height`` and ``--width`` of the prepared images.
    """
    rendering.main([*f"--out {folder}/{name} --size demo".split(), *flags.split()])
    cli.prepare("sysu", f"--data-dir {folder}/{name} {size}".split())


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


def named(name: str, flags: str) -> str:
    """The name of a run that no run with other flags has."""
    return f"{name}-{zlib.crc32(flags.encode()):08x}"


def tested(place: Path) -> dict[str, dict]:
    """All-search results of a finished run, means of its gallery draws, by model."""
    results = read_json(place / "report.json")["results"]
    return {row["selection"]: row for row in results if row["mode"] == "all"}
