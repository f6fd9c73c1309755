"""Packages that few need, imported when they are used."""

import importlib
from types import ModuleType

from clustercontrast.files import UserError


def package(name: str, extra: str, purpose: str) -> ModuleType:
    """A package that a plain installation does not have.

    Args:
        name: of the module.
        extra: of this project that installs it.
        purpose: what needs it, and what can be done without, for the message.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name.partition('.')[0]} is not installed: pip install 'clustercontrast[{extra}]' "
            f"({purpose})"
        ) from error
