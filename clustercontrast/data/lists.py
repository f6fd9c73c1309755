"""Text lists of a dataset as any system writes them.

A byte order mark, UTF-16, lines that end in CRLF, blanks and tabs around fields, empty lines and
backslashes in paths are read as what they mean.
"""

import codecs
import csv
import io
import re
from pathlib import Path

from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
DELIMITERS = (",", ";", "\t")
INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)  # int64 holds them all
LABEL = re.compile(r"\d{1,18}", re.ASCII)
LARGEST_IDENTITY = 9999
"""Datasets write identities with four digits."""


def text(file: Path, advice: str) -> str:
    """The content of a text file, without a byte order mark.

    Args:
        file: in UTF-8, or in UTF-16 with a byte order mark.
        advice: what to do if it cannot be read, for the message.

    Raises:
        UserError: it cannot be read, or is not text.
    """
    try:
        content = file.read_bytes()
        found = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror}), {advice}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not text in UTF-8 ({error}), {advice}") from error
    if "\0" in found:
        raise UserError(
            f"{file} is not text in UTF-8 (it has NUL bytes, as UTF-16 without a byte order mark "
            f"has), {advice}"
        )
    return found


def integer(place: str, column: str, text: str) -> int:
    """A whole number as a field of a list or table has it: a sign and digits, nothing else.

    Args:
        place: file and line, for the message.
        column: what the field is, for the message.
        text: the field, without blanks around it.

    Raises:
        UserError: it is no whole number, or one of more than 18 digits.
    """
    if not INTEGER.fullmatch(text):
        raise UserError(f"{place} has the {column} {text!r}, expected an integer: correct it")
    return int(text)


def posix(path: str) -> str:
    """A relative path with forward slashes and no blanks around it."""
    return path.strip().replace("\\", "/")


def identities(file: Path, advice: str) -> list[int]:
    """Identities of a list: its first line, numbers separated by commas.

    Raises:
        UserError: the file cannot be read, is malformed, repeats a number or has one outside
            0 ... 9999.
    """
    first, *_ = text(file, advice).splitlines() or [""]
    fields = [field.strip() for field in first.split(",")]
    if not all(map(INTEGER.fullmatch, fields)):
        raise UserError(f"{file} is empty or malformed, {advice}")
    found = [int(field) for field in fields]
    if len(set(found)) < len(found) or min(found) < 0 or max(found) > LARGEST_IDENTITY:
        raise UserError(
            f"{file} has repeated numbers or numbers outside 0 ... {LARGEST_IDENTITY}, {advice}"
        )
    return found


def labels(file: Path, tree: Tree, advice: str) -> dict[str, int]:
    """Path -> label of an index file with lines "<path> <label>", in the order of the lines.

    Args:
        file: the index file.
        tree: where the paths lead; they become those on disk, if there are such files.
        advice: what to do if the file is wrong, for the message.

    Raises:
        UserError: the file cannot be read, a line is malformed or repeats a path.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(text(file, advice).splitlines(), start=1):
        if not line.strip():
            continue
        path, label = ["", *line.rsplit(maxsplit=1)][-2:]
        path = tree.find(posix(path)) or posix(path)
        if not path or not LABEL.fullmatch(label) or path in found:
            raise UserError(
                f"{file}, line {number} is malformed or repeats a path, expected '<path> <label>': "
                f"{advice}"
            )
        found[path] = int(label)
    return found


def table(file: Path, advice: str) -> list[tuple[int, list[str]]]:
    """Line number and fields of every line of a table but empty ones; the first is the header.

    Fields are separated by what separates the header's: commas, semicolons or tabs.

    Raises:
        UserError: the file cannot be read or is not a table.
    """
    content = text(file, advice)
    delimiter = max(DELIMITERS, key=content.lstrip().partition("\n")[0].count)
    lines = io.StringIO(content, newline="")
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        stripped = [(rows.line_num, [field.strip() for field in row]) for row in rows]
    except csv.Error as error:
        raise UserError(f"{file} is not a table ({error}), {advice}") from error
    return [(number, row) for number, row in stripped if any(row)]
