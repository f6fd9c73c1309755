"""What makes a run another one than its method as it is: flags, as one would type them.

Published figures are keyed by these words.  What is no part of a configuration is left out: flags
that say where and how to run (``Flag.free``) and those that make another sample of the same
(``Flag.sample``).
"""

from pathlib import Path
from typing import Any

from clustercontrast.settings.command_line import unread
from clustercontrast.settings.flags import Flag, switch
from clustercontrast.settings.options import Options, all_flags, by_stage, defaults
from clustercontrast.settings.parser import shown

ORIGINS = {"start_from", "stage1", "variant", "method"}
"""Not compared: a configuration names method and variant, and what a stage starts from."""
IMAGENET = ("resnet50-0676ba61.pth", "resnet50-19c8e357.pth")
"""Files of the weights that ``--pretrained imagenet`` means: torchvision's IMAGENET1K_V1."""


def stage_changes(options: Options, stage: str) -> list[str]:
    """Flags that a stage reads with another value than the recipe has for the run's variant.

    A value that is not given, and follows from others, is left out as long as it does so.

    Args:
        options: of the run.
        stage: its name.

    Returns:
        Words such as "--no-hpcl" and "--epochs progressive=100", sorted.
    """
    values, _ = defaults(options.recipe, options.dataset, options.variant)
    usual = Options(options.recipe, options.dataset, values, {})
    now = vars(options.at(stage))
    return sorted(
        _words(flag, stage, now[name])
        for name, flag in all_flags().items()
        if name in now.keys() - ORIGINS
        and not (flag.free or flag.sample)
        and _is_changed(flag, stage, options, usual)
        and unread(options, flag, stage) is None
    )


def _words(flag: Flag, stage: str, value: Any) -> str:
    """A flag and its value in a stage, as one would type them."""
    if flag.per_stage:
        return f"{flag.spelled} {stage}={shown(value)}"
    if flag.kind is switch:
        return flag.spelled if value else flag.spelled.replace("--", "--no-", 1)
    return f"{flag.spelled} {shown(value)}"


def _is_changed(flag: Flag, stage: str, options: Options, usual: Options) -> bool:
    """Whether a flag has another value, or follows its leader here and not there."""
    now, before = (_follows(own, flag, stage) for own in (options, usual))
    if now and before:
        return False
    if flag.follows and now != before:
        return True
    one, other = (_plain(getattr(own.at(stage), flag.name)) for own in (options, usual))
    return not flag.is_same(one, other)


def _follows(options: Options, flag: Flag, stage: str) -> bool:
    """Whether a flag has its leader's value, or none of its own."""
    given = by_stage(options.values[flag.name], [stage])[stage]
    leader = flag.follows and getattr(options.at(stage), flag.follows)
    return given is None or given == leader


def _plain(value: Any) -> Any:
    """A value to compare; a file of weights is known by its name, wherever it lies."""
    if isinstance(value, str):
        return "imagenet" if Path(value).name in IMAGENET else Path(value).name
    return list(value) if isinstance(value, tuple) else value
