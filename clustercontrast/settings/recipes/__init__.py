"""The registry of methods: every file here, but ``common``, is the recipe of one.

A recipe says what a method's stages are called, which flags each reads, and every default with the
place that it comes from.  It is data: nothing is imported from a method's code.
"""

import functools
import importlib
import pkgutil
from types import MappingProxyType
from typing import Any


@functools.cache
def all_recipes() -> MappingProxyType[str, Any]:
    """Method -> :class:`clustercontrast.settings.recipes.common.Recipe`, oldest paper first."""
    names = {module.name for module in pkgutil.iter_modules(__path__)} - {"common"}
    found = {name: importlib.import_module(f"{__name__}.{name}").RECIPE for name in names}
    ordered = sorted(found, key=lambda name: (found[name].year or 9999, found[name].title))
    return MappingProxyType({name: found[name] for name in ordered})
