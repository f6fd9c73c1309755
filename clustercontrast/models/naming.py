"""Names of parameters in official checkpoints, translated to ours."""

import re


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
