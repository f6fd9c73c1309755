"""A million paths in little memory: one buffer of text behind the interface of a sequence."""

import operator
import reprlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, starmap
from typing import overload

import numpy as np

# Names of files need not be valid text: Python keeps their odd bytes as lone surrogates.
ENCODING = "utf-8", "surrogatepass"


class Paths(Sequence[str]):
    """An unchanging sequence of N texts, equal to a tuple or list of the same texts.

    A text takes its bytes in UTF-8 and 8 more.

    Args:
        paths: N texts; lone surrogates are kept.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        text, bounds = bytearray(), array("q", [0])
        for path in paths:
            text += path.encode(*ENCODING)
            bounds.append(len(text))
        self._text, self._bounds = bytes(text), np.array(bounds)

    def take(self, rows: np.ndarray) -> "Paths":
        """The texts at ``rows`` (M,) integers, in that order."""
        starts, stops = self._bounds[:-1][rows], self._bounds[1:][rows]
        taken = Paths()
        taken._text = b"".join(
            self._text[start:stop]
            for start, stop in zip(memoryview(starts), memoryview(stops), strict=True)
        )
        taken._bounds = np.append(0, np.cumsum(stops - starts))
        return taken

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> "Paths": ...

    def __getitem__(self, row):
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        row = range(len(self))[row]  # from the end, too; or out of range
        return self._at(*self._bounds[row : row + 2])

    def __iter__(self) -> Iterator[str]:
        return starmap(self._at, pairwise(memoryview(self._bounds)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Paths):
            return self._text == other._text and np.array_equal(self._bounds, other._bounds)
        if isinstance(other, (tuple, list)):
            return len(self) == len(other) and all(map(operator.eq, self, other))
        return NotImplemented

    def __repr__(self) -> str:
        return f"Paths({reprlib.repr(list(self[:7]))})"

    def _at(self, start: int, stop: int) -> str:
        return self._text[start:stop].decode(*ENCODING)
