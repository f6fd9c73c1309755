"""A configuration that is repeated (``--like``): the values in the config.json of a run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustercontrast.files import UserError, read_json
from clustercontrast.settings.flags import Flag
from clustercontrast.settings.options import all_flags, by_stage, readers
from clustercontrast.settings.parser import shown
from clustercontrast.settings.recipes.common import Recipe

AS_IN = "as in "
"""How the origin of a repeated value begins."""
NOT_IN = "; not in "
"""In the origin of a default whose flag the run did not know."""
NOT_REPEATED = ("method", "variant", "name", "overwrite", "seeds", "stages", "shard")
"""Flags that a repetition has of its own: a name of its own, so that nothing is written over.  Of
several seeds a run has its own alone, as --seed; its stages were perhaps trained by several
commands, of which the file knows the last."""
SHAPE = {"about": {"method": str, "dataset": str, "variant": str}, "values": dict}


@dataclass(frozen=True)
class Repeated:
    """What a run's config.json says that a repetition of it takes over.

    Attributes:
        path: of the file.
        method: that was trained.
        dataset: that it was trained on.
        variant: of the method's defaults.
        values: flag -> value, or {stage: value}, as JSON keeps it; not those of ``NOT_REPEATED``.
        version: of this package that wrote it; "?" if it does not say so.
    """

    path: Path
    method: str
    dataset: str
    variant: str
    values: Mapping[str, Any]
    version: str

    @property
    def origin(self) -> str:
        """Where its values come from, in words."""
        return f"{AS_IN}{self.path}"

    def check(self, dataset: str, method: str | None, variant: str | None) -> None:
        """Refuse a command that is about something else.

        Args:
            dataset: of the command.
            method: as typed; None if it was not.
            variant: likewise.

        Raises:
            UserError: the file is of another dataset, method or variant.
        """
        of = f"--like {self.path} is of --method {self.method} on {self.dataset}"
        if dataset != self.dataset:
            raise UserError(f"{of}, and this command trains on {dataset}: give a run on {dataset}")
        for flag, typed, own in (
            ("--method", method, self.method),
            ("--variant", variant, self.variant),
        ):
            if typed not in (None, own):
                raise UserError(
                    f"{of}, {flag} {own}, and not of {flag} {typed}: leave {flag} out, or give a "
                    "run of it"
                )

    def over(
        self,
        recipe: Recipe,
        values: Mapping[str, Any],
        origins: Mapping[str, str],
        read: Callable[[Flag, str], Any],
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """These values laid over the defaults; flags that the run did not know keep theirs.

        Args:
            recipe: of the method.
            values: the defaults.
            origins: of the defaults.
            read: a typed word -> a value of a flag, or a ``UserError``.

        Raises:
            UserError: a value is wrong, or of a flag that there is not any more.
        """
        values, origins = dict(values), dict(origins)
        self._check_known(self.values.keys() - values.keys())
        for name, value in self.values.items():
            if value != _plain(values[name]):
                flag = all_flags()[name]
                self._check_form(flag, value, values[name], recipe)
                values[name] = self._checked(flag, value, read)
                origins[name] = self.origin
        for name in values.keys() - self.values.keys() - {*NOT_REPEATED}:
            origins[name] = f"{origins.get(name, '')}{NOT_IN}{self.path}"
        return values, origins

    def _check_known(self, unknown: Iterable[str]) -> None:
        names = [f"--{name.replace('_', '-')}" for name in sorted(unknown)]
        if names:
            raise UserError(
                f"{self.path} was written by version {self.version} and holds {', '.join(names)}, "
                f"which {self.method} on {self.dataset} does not read in this version: give a copy "
                'of it without them under "values", or train with that version'
            )

    def _check_form(self, flag: Flag, value: Any, usual: Any, recipe: Recipe) -> None:
        """Refuse a list, values of stages, or none at all, where a flag takes no such thing."""
        stages = readers(recipe, flag.name) if flag.per_stage else []
        own = value.values() if isinstance(value, dict) else [value]
        is_of_others = isinstance(value, dict) and value.keys() != {*stages}
        is_list = isinstance(value, list) and not flag.many
        may_lack = flag.follows or None in by_stage(usual, [""]).values()
        if is_of_others or is_list or (None in own and not may_lack):
            raise UserError(
                f"{self.path}: {flag.spelled} is {value!r} there, which is no value of it: correct "
                "that, or give another run"
            )

    def _checked(self, flag: Flag, value: Any, read: Callable[[Flag, str], Any]) -> Any:
        """A value, or those of stages, read as if they had been typed."""
        try:
            return _each(value, lambda one: None if one is None else read(flag, shown(one)))
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from error


def lacking(origins: Mapping[str, str]) -> list[str]:
    """A line on flags that the repeated run says nothing of; none if it says all."""
    names = [all_flags()[name].spelled for name, origin in origins.items() if NOT_IN in origin]
    said = "the run of --like says nothing of {}: defaults of this version"
    return [said.format(", ".join(names))] if names else []


def _plain(value: Any) -> Any:
    """A default as JSON would give it back."""
    return list(value) if isinstance(value, tuple) else value


def _each(value: Any, act: Callable[[Any], Any]) -> Any:
    """A value, or each of several, by another."""
    if isinstance(value, dict):
        return {key: act(own) for key, own in value.items()}
    return list(map(act, value)) if isinstance(value, list) else act(value)


def read(place: str) -> Repeated:
    """The configuration of a run.

    Args:
        place: the run's folder, or its config.json.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = _file(Path(place))
    content = read_json(path, SHAPE, "give the config.json of a run")
    about, versions = content["about"], content.get("versions")
    return Repeated(
        path,
        about["method"],
        about["dataset"],
        about["variant"],
        {name: own for name, own in content["values"].items() if name not in NOT_REPEATED},
        str(versions.get("clustercontrast", "?")) if isinstance(versions, dict) else "?",
    )


def _file(place: Path) -> Path:
    """The file that is meant; a folder of trials, or of seeds, has one for each."""
    if not place.is_dir():
        return place
    below = sorted([*place.glob("trial*/config.json"), *place.glob("seed*/config.json")])
    if below and not (place / "config.json").exists():
        raise UserError(f"--like {place}: it holds several runs, give one: {below[0].parent}")
    return place / "config.json"
