"""Files written whole or not at all, a line for the user, and the one exception a user can cause.

Every result of a run goes through ``atomic``: the name appears only when the content is complete,
so an interrupted or failed write never damages what was there before.
"""

import contextlib
import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any


class UserError(Exception):
    """A mistake the user can correct: its text is one line that names the thing and the remedy.

    The command line prints it without a traceback and leaves with exit code 2.
    """


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` that takes its name only when the block succeeds.

    Args:
        path: file to write; its folder is made when missing.
        mode: "w" for text (UTF-8) or "wb" for bytes.

    Raises:
        UserError: the disk is full or the place cannot be written; ``path`` is left as it was.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names of files need not be UTF-8: their bytes are written as they are.
        text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape"}
        with temporary.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, InterruptedError):
            raise write_error(path, error) from error
        raise


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its name only when the block succeeds.

    Args:
        folder: to make; it must be free (:func:`check_free`).

    Raises:
        UserError: the place cannot be written; nothing is left there.
    """
    check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory("", f"{folder.name}.partial-", folder.parent) as own:
            whole = Path(own) / folder.name
            whole.mkdir()  # the temporary folder itself is closed to others
            yield whole
            whole.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def check_free(place: Path) -> None:
    """Refuse to write over anything; an empty folder is free.

    Raises:
        UserError: there is a file, or a folder that holds something.
    """
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise UserError(f"{place} is there already: give a name that is free")


@contextlib.contextmanager
def alone(
    folder: Path, say: Callable[[str], None] = print, remedy: str = "check the folder's rights"
) -> Iterator[None]:
    """Let one process at a time work on a folder; the others wait, and say so.

    The lock is a hidden file beside the folder, which stays; it is free again when its process
    ends, in whatever way.

    Args:
        folder: need not exist.
        say: what to tell a person with.
        remedy: what to do if the place cannot be written, for the message.

    Raises:
        UserError: the place cannot be written.
    """
    from filelock import FileLock, Timeout  # a quarter of a second, which --help need not wait

    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{folder}: another process is at work on it; waiting for its end")
        lock.acquire()
    except OSError as error:
        raise write_error(folder, error, remedy) from error
    try:
        yield
    finally:
        lock.release()


def write_error(path: Path, error: OSError, remedy: str = "check the folder's rights") -> UserError:
    """Say in one line why ``path`` could not be written and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left on the disk while writing {path}: free some space and run the same "
            "command again; everything saved before is intact"
        )
    return UserError(f"cannot write {path} ({error.strerror or error}): {remedy}")


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic(path) as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path, shape: Any = dict, remedy: str = "delete it and make it again") -> Any:
    """Read JSON of a known shape.

    Args:
        path: the file.
        shape: what has to be in it, see :func:`fault`.
        remedy: what to do about a damaged file, for the message.

    Raises:
        UserError: the file is missing, or it is damaged; says where.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8-sig", "surrogateescape"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error}): {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from error
    check_shape(path, content, shape, remedy)
    return content


def check_shape(path: Path, content: Any, shape: Any, remedy: str) -> None:
    """Refuse content of a file without a shape.

    Raises:
        UserError: it says where.
    """
    found = fault(content, shape)
    if found:
        raise UserError(f"{path} is damaged ({found}): {remedy}")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; the last one is passed over where a kill has cut it.

    Raises:
        UserError: the file is missing, or another line is damaged.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: has the run been started?") from error
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if fault(event, {"event": str}) is None:
            events.append(event)
        elif number < len(lines):
            raise UserError(
                f"{path}, line {number} is damaged: delete that line; checkpoints and results are "
                "kept"
            )
    return events


def fault(content: Any, shape: Any, where: str = "") -> str | None:
    """What keeps content read from a file from having a shape; None if it has it.

    Args:
        content: of JSON, or of a checkpoint.
        shape: a type, or a tuple of types; a frozenset of words; a list of one shape, for lists of
            such; or a mapping key -> shape of the keys that must be there, ``...`` standing for
            every key there is.
        where: name of the content in the file.
    """
    if isinstance(shape, frozenset):
        good = isinstance(content, str) and content in shape
        wanted = " or ".join(sorted(shape))
        return None if good else f"{where or 'it'} is {_shown(content)}, expected {wanted}"
    if isinstance(shape, (type, tuple)):
        kinds = shape if isinstance(shape, tuple) else (shape,)
        # True is an int for Python; not in a file.
        good = isinstance(content, kinds) and not (isinstance(content, bool) and bool not in kinds)
        wanted = " or ".join(kind.__name__ for kind in kinds)
        return None if good else f"{where or 'it'} is {_shown(content)}, expected {wanted}"
    kind = list if isinstance(shape, list) else Mapping
    if not isinstance(content, kind):
        return f"{where or 'it'} is {_shown(content)}, expected {kind.__name__.lower()}"
    prefix = f"{where}." if where else ""
    if isinstance(shape, list):
        if [*set(map(type, content))] == shape:  # a million entries in a moment
            return None
        parts = ((f"{where}[{number}]", own, shape[0]) for number, own in enumerate(content))
        return next(filter(None, (fault(own, wanted, name) for name, own, wanted in parts)), None)
    missing = [key for key in shape if key is not ... and key not in content]
    if missing:
        return f"{prefix}{missing[0]} is missing"
    parts = ((key, shape.get(key, shape.get(...))) for key in content)
    found = (fault(content[key], own, f"{prefix}{key}") for key, own in parts if own is not None)
    return next(filter(None, found), None)


def _shown(content: Any) -> str:
    """Content of a file, short enough for a line."""
    text = repr(content)
    return text if len(text) <= 40 else f"{text[:37]}..."


def say(line: str) -> None:
    """A line for the user."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
