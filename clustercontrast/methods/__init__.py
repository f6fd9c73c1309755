"""One file per paper.  A method is an ordered list of stages; the recipes say which there are."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from clustercontrast.engine.stage import Stage
from clustercontrast.settings.recipes import all_recipes

METHODS: Mapping[str, list[type[Stage]]] = MappingProxyType(
    {name: import_module(f"{__name__}.{name}").STAGES for name in all_recipes()}
)
