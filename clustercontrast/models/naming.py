"""Names of parameters in official checkpoints, unwrapped and translated to ours."""

import re
from collections.abc import Mapping
from typing import Any

WRAPPERS = (
    "weights", "state_dict", "model_state_dict", "net", "network", "model", "module", "teacher",
)  # fmt: skip
"""Keys under which files keep their tensors; the first one that a file has counts."""


def innermost(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The innermost dictionary of a file's content, in which ``WRAPPERS`` may be nested."""
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
    return content if inner is None else innermost(inner)


def unwrapped(content: Mapping[str, Any]) -> dict[str, Any]:
    """The innermost dictionary of a file's content, its names without those of wrapped networks.

    Args:
        content: of a file, in which ``WRAPPERS`` may be nested.

    Returns:
        Values by name, without ``module.`` before it, once or more often.
    """
    named = innermost(content).items()
    return {re.sub(r"^(module\.)+", "", name): value for name, value in named}


def translated(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    """A name whose beginning is replaced by the first row of a table that it matches.

    Args:
        name: of a parameter or buffer.
        table: rows of a pattern and its replacement, which may refer to the pattern's groups.

    Returns:
        The new name; None when no row matches.
    """
    for pattern, replacement in table:
        if match := re.match(pattern, name):
            return match.expand(replacement) + name[match.end() :]
    return None
