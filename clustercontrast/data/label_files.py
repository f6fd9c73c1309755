"""What every file of labels has in common: arrays, read and checked, and joined by path."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from clustercontrast.data.samples import ImageList
from clustercontrast.files import UserError


def read_arrays(path: Path, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name.

    Args:
        path: the file.
        needed: arrays that it must have.

    Raises:
        UserError: it is missing, is no such file, is damaged, encrypted or packed in a way that is
            not known, holds objects, or lacks an array.
    """
    wanted = f"it must be an .npz file with the arrays {' and '.join(needed)}; make it again"
    try:
        content = np.load(path)
        is_archive = isinstance(content, np.lib.npyio.NpzFile)
        found = {name: content[name] for name in content.files} if is_archive else {}
    except FileNotFoundError as error:
        raise UserError(f"cannot read the labels {path}: there is no such file") from error
    except Exception as error:  # NumPy's reader fails on foreign bytes with any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read the labels {path} ({reason}): {wanted}") from error
    if not is_archive:
        raise UserError(f"cannot read the labels {path} (one array without a name): {wanted}")
    missing = [name for name in needed if not isinstance(found.get(name), np.ndarray)]
    if missing:
        raise UserError(f"cannot read the labels {path} (no {missing[0]}): {wanted}")
    return found


def joined(
    path: Path, names: np.ndarray, labels: np.ndarray, images: ImageList
) -> tuple[np.ndarray, np.ndarray]:
    """Row of every image in a file, -1 for images that it does not know, and its label.

    Args:
        path: of the file, for messages.
        names: (M,) text, paths of images; backslashes, as Windows writes them, are slashes.
        labels: (M,) integers from -1, in any numbering.
        images: N images.

    Returns:
        (N,), (N,) int64; the label of an unknown image is -1.

    Raises:
        UserError: the file's names or labels are not of that kind, or a path is there twice.
    """
    _check(path, names, labels)
    place = {name.replace("\\", "/"): row for row, name in enumerate(names.tolist())}
    if len(place) < len(names):
        raise UserError(f"{path} names {len(names) - len(place)} images more than once: correct it")
    rows = np.array([place.get(name, -1) for name in images.paths], dtype=np.int64)
    return rows, np.append(labels.astype(np.int64), -1)[rows]


def say_unknown(path: Path, rows: Mapping[str, np.ndarray], say: Callable[[str], None]) -> None:
    """Say how many images a file of labels knows, if it does not know all.

    Args:
        path: of the file.
        rows: kind of images -> (N,) rows of :func:`joined`.
        say: what to tell a person with.
    """
    if all((own >= 0).all() for own in rows.values()):
        return
    known = " and ".join(
        f"{np.count_nonzero(own >= 0):,} of {len(own):,} {kind}" for kind, own in rows.items()
    )
    say(f"{path} knows {known} images: the others are outliers")


def compacted(labels: np.ndarray, smallest: int = 1) -> np.ndarray:
    """Labels (N,) renumbered 0 ... C-1 in order; clusters below ``smallest`` images get -1."""
    clusters, member_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    is_kept = (clusters >= 0) & (sizes >= smallest)
    return np.where(is_kept, np.cumsum(is_kept) - 1, -1)[member_of]


def _check(path: Path, names: np.ndarray, labels: np.ndarray) -> None:
    """Refuse what is not one whole number from -1 for every path."""
    asked = "expected one whole number from -1 on for every path; correct it"
    if names.dtype.kind != "U" or names.ndim != 1:
        raise UserError(
            f"{path} is damaged: its paths are {names.dtype} of shape {names.shape}, expected a "
            "list of text"
        )
    if labels.dtype.kind not in "iu" or labels.shape != names.shape:
        raise UserError(
            f"{path} is damaged: it has {names.size} paths, and labels that are {labels.dtype} of "
            f"shape {labels.shape}; {asked}"
        )
    wrong = labels[(labels < -1) | (labels > np.iinfo(np.int64).max)]
    if wrong.size:
        raise UserError(f"{path} is damaged: it has the label {wrong[0]}; {asked}")
