"""Files written whole or not at all, a line for the user, and the one exception a user can cause.

Every result of a run goes through ``atomic``: the name appears only when the content is complete,
so an interrupted or failed write never damages what was there before.
"""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


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
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
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
def alone(folder: Path, say: Callable[[str], None] = print) -> Iterator[None]:
    """Let one process at a time work on a folder; the others wait, and say so.

    The lock is a hidden file beside the folder, which stays; it is free again when its process
    ends, in whatever way.

    Args:
        folder: need not exist.
        say: what to tell a person with.

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
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write_error(path: Path, error: OSError) -> UserError:
    """Say in one line why ``path`` could not be written and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left on the disk while writing {path}: free some space and run the same "
            "command again; everything saved before is intact"
        )
    return UserError(f"cannot write {path} ({error.strerror or error}): check the folder's rights")


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic(path) as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> object:
    """Read JSON; a missing or damaged file is a :class:`UserError`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and make it again") from error


def say(line: str) -> None:
    """A line for the user."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
