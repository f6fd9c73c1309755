"""How a command line is split into flags and their words, and what ``--help`` shows of a method.

The parser knows the flags of all methods, so that a flag of another one can be refused by name.
"""

import argparse
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from clustercontrast.files import UserError
from clustercontrast.settings.flags import Flag, switch
from clustercontrast.settings.official import FLAGS as OFFICIAL_FLAGS
from clustercontrast.settings.official import flag_answer, script_answer
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import Recipe

DRY_RUN = "--dry-run"
LIKE = "--like"
"""Words of a training command that are no values of the run."""


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line as one line, and looks for the flag that was meant.

    Attributes:
        method: that the flags are for, if that is known.
        others: words that are understood elsewhere.
    """

    method: str | None = None
    others: tuple[str, ...] = ()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        raise UserError(f"{message} (--help lists the flags)")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse; a word that is not understood is named, with the nearest flag."""
        known, surplus = self.parse_known_args(args, namespace)
        if surplus:
            flags = (*self._option_string_actions, *self.others)
            self.error(not_understood(surplus, flags, self.method))
        return known


def not_understood(surplus: Sequence[str], flags: Iterable[str], method: str | None = None) -> str:
    """What to say of words that no flag takes.

    Args:
        surplus: the words.
        flags: those that there are.
        method: that they are for.
    """
    word = next((word for word in surplus if word.startswith("-")), surplus[0]).partition("=")[0]
    if not word.startswith("-"):
        unknown = f"'{word}' is not understood: a value too many, or a flag without its dashes"
        return script_answer(word) or unknown
    answer = flag_answer(word, flags, method)
    if answer:
        return answer
    if word == DRY_RUN:
        return f"{DRY_RUN} takes no value, and belongs to the commands that train one method"
    near = difflib.get_close_matches(word, list(flags), n=1) if word.strip("-") else []
    return f"{word} is not a flag" + (f": did you mean {near[0]}?" if near else "")


class TrainingParser(OneLineParser):
    """Words by flag, for the flags of all methods; help that is made elsewhere.

    Args:
        method: its name.
        flags: all there are.
        described: makes the text of ``--help``.
    """

    others = (DRY_RUN, LIKE)

    def __init__(self, method: str, flags: Iterable[Flag], described: Callable[[], str]) -> None:
        super().__init__(argument_default=argparse.SUPPRESS, allow_abbrev=False)
        self.method, self._described = method, described
        for flag in flags:
            spellings = [flag.short, flag.spelled] if flag.short else [flag.spelled]
            several = "+" if flag.per_stage or flag.many else 1
            if flag.kind is switch:  # alone it means on
                several, no = "*", flag.spelled.replace("--", "--no-", 1)
                self.add_argument(no, action="store_const", const=["off"], dest=flag.name)
            self.add_argument(*spellings, nargs=several, dest=flag.name)
        taken = self._option_string_actions
        for flag in (flag for flag in OFFICIAL_FLAGS if flag.accepted):
            own = [name for name in flag.names if name not in taken]  # --arch is ours, too
            self.add_argument(*own, nargs=1, dest=flag.accepted)

    def format_help(self) -> str:
        """Usage, and the text that is made elsewhere."""
        return f"usage: {self.prog} [--FLAG VALUE ...]\n{self._described()}"


# --- help ---

COLUMN = 32
"""Where help texts begin."""


def help_text(
    dataset: str,
    recipe: Recipe,
    flags: Sequence[Flag],
    values: Mapping[str, Any],
    origins: Mapping[str, str],
) -> str:
    """One line per flag that the method reads, under the headings of the groups."""
    lines = [
        f"{values['method']} on {dataset}: {recipe.paper}",
        f"{DRY_RUN} checks images, weights, disk and flags, prints the memory plan, and times two "
        f"steps of every stage.  {LIKE} RUN puts another run's values in place of the defaults.",
        "In brackets: the default, and where it comes from.  V per stage: one value, one per stage "
        f"that reads the flag, or STAGE=V; the stages are {', '.join(recipe.stages)}.",
    ]
    for number, title in enumerate(dict.fromkeys(flag.group for flag in flags)):
        lines += [*[""] * bool(number), f"{title}:"]
        for flag in flags:
            if flag.group == title:
                left = f"  {_spelled(flag)} "
                lines.append(f"{left:<{COLUMN}}{_described(flag, recipe, values, origins)}")
    return "\n".join(lines) + "\n"


def choices_of(flag: Flag, recipe: Recipe) -> tuple:
    """The only values of a flag that a method knows; empty if any will do."""
    listed = {"method": all_recipes(), "variant": recipe.variants, "stages": recipe.stages}
    return tuple(listed.get(flag.name, recipe.choices.get(flag.name, flag.choices)))


def _spelled(flag: Flag) -> str:
    if flag.kind is switch and not flag.per_stage:
        return flag.spelled.replace("--", "--[no-]", 1)
    name = f"{flag.short}, {flag.spelled}" if flag.short else flag.spelled
    return f"{name} V" + (" per stage" if flag.per_stage else " ..." if flag.many else "")


def _described(
    flag: Flag, recipe: Recipe, values: Mapping[str, Any], origins: Mapping[str, str]
) -> str:
    choices = choices_of(flag, recipe)
    listed = f": {', '.join(map(str, choices))}" if choices else ""
    value = values.get(flag.name)
    if value is None:
        default = f" [as --{flag.follows.replace('_', '-')}]" if flag.follows else ""
    else:
        origin = origins.get(flag.name)
        default = f" [{shown(value)}{'; ' + origin if origin else ''}]"
    return f"{flag.help}{listed}{default}"


def shown(value: Any) -> str:
    """A value as one would write it."""
    if isinstance(value, dict):
        return " ".join(f"{stage}={shown(own)}" for stage, own in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
