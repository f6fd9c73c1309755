"""What differs between runs: flags, stage by stage, versions and hardware, data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clustercontrast.report.markup import COMMAND_LINE, shown

Rows = list[tuple[str, ...]]

NAMES_OF_RUNS = ("name", "logs_dir", "seeds")
"""Flags that differ between any two runs and say nothing of how they were made."""

PLACES = ("data_dir", "cache_dir", "cache_root", "manifest")
"""Flags that say where data lie; whether they are the same data, their digest says."""

WORDS = {
    "git": "git commit",
    "commits": "commits that trained (-dirty: with changes)",
    "digest": "digest of all images, of training and test",
    "complete": "all images of the dataset are there",
    "rendered": "rendered identities",
    "leak": "test identities were trained on",
    "ends": "last epoch",
}
"""Names of facts that do not read well."""

ABSENT = "no such flag"


def flags(configs: Sequence[Mapping[str, Any]]) -> Rows:
    """Flags whose values differ, those given on a command line first.

    Args:
        configs: ``config.json`` of every run.

    Returns:
        The flag as it is typed, with a stage where stages differ, and its value in every run.
    """
    names = dict.fromkeys(name for own in configs for name in own["values"])
    typed = {name for own in configs for name, o in own["origins"].items() if o == COMMAND_LINE}
    ordered = sorted(names, key=lambda name: name not in typed)
    known = [name for name in ordered if name not in NAMES_OF_RUNS + PLACES]
    return [row for name in known for row in _flag(name, [own["values"] for own in configs])]


def _flag(name: str, values: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of one flag: of the stages where any run has a value per stage."""
    own, flag = [run.get(name, ABSENT) for run in values], "--" + name.replace("_", "-")
    stages = dict.fromkeys(stage for value in own if isinstance(value, Mapping) for stage in value)
    if not stages:
        return _differing([(flag, own)])
    return _differing(
        (f"{flag}, stage {stage}", [_at(value, stage) for value in own]) for stage in stages
    )


def _at(value: Any, stage: str) -> Any:
    """A value at a stage; one that is no mapping holds for all stages."""
    return value.get(stage, "no such stage") if isinstance(value, Mapping) else value


def versions(configs: Sequence[Mapping[str, Any]]) -> Rows:
    """Versions that differ, and commits of the code and hardware that trained."""
    return _facts(
        [
            own.get("versions", {}) | {name: own.get(name) for name in ("commits", "hardware")}
            for own in configs
        ]
    )


def data(configs: Sequence[Mapping[str, Any]]) -> Rows:
    """What differs in the images, in their places, and in what runs say of themselves."""
    return _facts([dict(_said(own)) for own in configs])


def _said(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    about = config["about"]
    yield from about["images"].items()
    yield from (item for item in about.items() if item[0] not in ("images", "changes", "name"))
    places = ((name, config["values"].get(name)) for name in PLACES)
    yield from (("--" + name.replace("_", "-"), place) for name, place in places)


def _facts(facts: Sequence[Mapping[str, Any]]) -> Rows:
    names = dict.fromkeys(name for own in facts for name in own)
    return _differing((WORDS.get(name, name), [own.get(name) for own in facts]) for name in names)


def _differing(rows: Iterable[tuple[str, Sequence[Any]]]) -> Rows:
    """Rows whose values are not all the same, in a reader's words."""
    return [
        (name, *(shown(value) for value in values))
        for name, values in rows
        if any(value != values[0] for value in values)
    ]
