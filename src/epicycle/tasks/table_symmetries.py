"""Symmetries of a table of answers that move all rows, and all columns, in one cycle: searched exhaustively.

A symmetry is a permutation of rows with one of columns that leaves every answer where it was. Colours of rows and columns are refined
until no symmetry can mix them, as in graph isomorphism; what is left is tried, but for what has closed a shorter cycle already, so that
nothing found is a proof.
"""

from collections.abc import Iterator
from itertools import count

import numpy as np
from jaxtyping import Int

from epicycle.numbers.residues import is_prime

UNKNOWN = -1
MOST_TRIED = 3_000
"""Images of single rows that are tried: a table with nearly as many symmetries as permutations could take for ever."""


class TooManySymmetriesError(Exception):
    """Neither found nor refuted within `MOST_TRIED`."""


def cycle(table: Int[np.ndarray, "m m"], m: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Places x, y modulo m with table[i, j] a function of x[i] + y[j], each a bijection; None if there are none.

    All rows and all columns of the table are different. Exhaustive: None is a proof.

    Raises:
        TooManySymmetriesError: It could not be settled.
    """
    tried = count()
    for row in range(1, m):
        found = _moves(table, row, m, tried)
        if found is not None:
            return found
        if is_prime(m):
            return None  # in a group of prime order some generator takes row 0 to row 1
    return None


def _moves(table: np.ndarray, row: int, m: int, tried: Iterator[int]) -> tuple[np.ndarray, np.ndarray] | None:
    """A symmetry that takes row 0 to `row` and is one cycle on rows and on columns."""
    plain = _refine(table, np.zeros(m, np.uint64), np.zeros(m, np.uint64))
    if plain[0][0] != plain[0][row]:
        return None
    first = _refine(table, _marked(plain[0], 0), _marked(plain[1], 0))
    for column in range(m):
        if plain[1][column] != plain[1][0] or table[row, column] != table[0, 0]:
            continue
        second = _refine(table, _marked(plain[0], row), _marked(plain[1], column))
        for rows, columns in _matchings(table, first, second, tried):
            x, y = _places(rows, m), _places(columns, m)
            if x is not None and y is not None:
                return x, -y % m
    return None


def _marked(colors: np.ndarray, place: int) -> np.ndarray:
    found = colors.copy()
    found[place] = _mix(found[place : place + 1] + np.uint64(1))[0]
    return found


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: one 64-bit word well mixed."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _refine(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours of rows and columns that no symmetry with the given colours can mix, made finer until nothing changes."""
    labels = _mix(table.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    count = 0
    while True:
        with np.errstate(over="ignore"):
            rows = _mix(rows * np.uint64(3) + _mix(labels ^ columns[None, :]).sum(1, dtype=np.uint64))
            columns = _mix(columns * np.uint64(5) + _mix(labels ^ _mix(rows)[:, None]).sum(0, dtype=np.uint64))
        now = len(np.unique(rows)) + len(np.unique(columns))
        if now == count:
            return rows, columns
        count = now


def _matchings(
    table: np.ndarray,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    tried: Iterator[int],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All symmetries that take the first colours to the second, as images of rows and of columns, but those that are no single cycle."""
    if any((np.sort(a) != np.sort(b)).any() for a, b in zip(first, second, strict=True)):
        return
    values, where, counts = np.unique(first[0], return_index=True, return_counts=True)
    if (counts == 1).all():  # columns follow from rows, since all columns are different
        rows = np.argsort(second[0])[np.argsort(np.argsort(first[0]))]
        columns = _columns_of(table, rows)
        if columns is not None:
            yield rows, columns
        return
    known = {int(where[i]): int(np.flatnonzero(second[0] == values[i])[0]) for i in np.flatnonzero(counts == 1)}
    place = int(where[counts > 1][0])
    finer = _refine(table, _marked(first[0], place), first[1])
    for image in np.flatnonzero(second[0] == first[0][place]):
        if _closes_early({**known, place: int(image)}, len(table)):
            continue
        if next(tried) >= MOST_TRIED:
            raise TooManySymmetriesError
        yield from _matchings(table, finer, _refine(table, _marked(second[0], int(image)), second[1]), tried)


def _closes_early(image: dict[int, int], m: int) -> bool:
    """True if a part of a permutation has a cycle that does not hold everything."""
    left = dict(image)
    while left:
        begin, at = left.popitem()
        length = 1
        while at != begin and at in left:
            at, length = left.pop(at), length + 1
        if at == begin and length < m:
            return True
    return False


def _columns_of(table: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
    """The permutation of columns that undoes one of rows: table[rows][:, columns] == table."""
    moved = {column.tobytes(): j for j, column in enumerate(np.ascontiguousarray(table[rows].T))}
    images = [moved.get(column.tobytes()) for column in np.ascontiguousarray(table.T)]
    return None if None in images else np.array(images)


def _places(image: np.ndarray, m: int) -> np.ndarray | None:
    """Place along the cycle that a permutation makes from 0; None if it is not one cycle."""
    found = np.full(m, UNKNOWN)
    at = 0
    for step in range(m):
        if found[at] >= 0:
            return None
        found[at] = step
        at = int(image[at])
    return found
