"""Whether a table of answers has the form h(g1(a) + g2(b)) or h(g1(a) * g2(b)), decided from the table, with a witness.

Source: Doshi et al. 2024 (arXiv:2406.03495), hypotheses 5.1 and 5.2, conjecture that networks grok exactly such formulas. The
decision procedure is ours:

* Equal rows may share g1, equal columns g2, so they are merged. With m different rows and as many different columns, and sums in
  Z/m, the form exists if and only if one symmetry of the table moves all rows in one cycle and all columns in one cycle. Symmetries
  are searched exhaustively, by refining colours of rows and columns (exact where it refutes, verified where it finds).
* With fewer rows than the modulus, h may still be injective: then its inverse solves linear equations over the field, which are
  solved. A product is also looked for as c + g1(a) g2(b) for every c, and refuted where there are more answers than products.
* What is left (h not injective, g1 or g2 not onto) is not decided, and said so, unless somebody brings g1 and g2 to be tried
  (`tasks.separation` reads them off a polynomial).
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from epicycle.numbers.residues import inverses, is_prime, primitive_root

UNKNOWN = -1


class Form(NamedTuple):
    """What was found for one of the two forms; `exists` is None where it could not be decided.

    g1, g2 (p,) and h (p,): answers are h[(g1[a] + g2[b]) % p], or h of the product; h is -1 where no pair leads.
    """

    kind: Literal["sum", "product"]
    exists: bool | None
    reason: str
    g1: np.ndarray | None = None
    g2: np.ndarray | None = None
    h: np.ndarray | None = None

    @property
    def is_injective(self) -> bool:
        """True if h gives different answers to different arguments."""
        if self.h is None:
            return False
        used = self.h[self.h >= 0]
        return len(np.unique(used)) == len(used)


def sum_form(table: Int[np.ndarray, "p p"]) -> Form:
    """Decide h(g1(a) + g2(b)) modulo p for a table of answers, -1 where there is none."""
    return _plain_sum(table) or _decided_sum(table)


def _plain_sum(table: np.ndarray) -> Form | None:
    """The form with h the identity, modulo any number, where the answers are differences of rows and columns; None if they are not."""
    p, given = len(table), table >= 0
    rows, columns = given.any(1), given.any(0)
    if not given.any() or (given != np.outer(rows, columns)).any():
        return None
    a, b = int(rows.argmax()), int(columns.argmax())
    g1, g2 = np.where(rows, table[:, b] - table[a, b], 0) % p, np.where(columns, table[a], 0)
    if ((g1[:, None] + g2) % p != table)[given].any():
        return None
    return Form(
        "sum",
        True,
        f"the answer itself is a sum{'' if given.all() else ' wherever there is one'}",
        g1,
        g2,
        np.arange(p),
    )


def _decided_sum(table: np.ndarray) -> Form:
    """As `sum_form`, from the symmetries of the table."""
    p = len(table)
    if (table < 0).any():
        return Form("sum", None, "not decided: some pairs have no answer")
    rows, row_class = _merged(table)
    small, column_class = _merged(rows.T)
    small = small.T
    r, c = small.shape
    if r == 1 or c == 1:
        return _sum_witness(
            table,
            *((np.zeros(p, int), np.arange(p)) if r == 1 else (np.arange(p), np.zeros(p, int))),
            "one operand does not matter",
        )
    if r == c == p:
        found = cycle(small, p)
        if found is None:
            return Form("sum", False, "no symmetry of the table moves all rows and all columns in one cycle each")
        return _sum_witness(
            table,
            found[0][row_class],
            found[1][column_class],
            "a symmetry of the table moves all rows and all columns in one cycle each",
        )
    if not is_prime(p):
        return Form("sum", None, "not decided: rows or columns repeat, and the modulus is not a prime")
    return _injective_sum(table)


def product_form(table: Int[np.ndarray, "p p"]) -> Form:
    """Decide h(g1(a) * g2(b)) modulo a prime p for a table of answers, -1 where there is none."""
    p = len(table)
    if not is_prime(p) or p < 5:
        return Form("product", None, "not decided: the modulus is not a prime above 3")
    whole_columns, empty_columns = np.all(table >= 0, axis=0), np.all(table < 0, axis=0)
    if not whole_columns.any() or bool(np.any(~whole_columns & ~empty_columns)):
        return Form("product", None, "not decided: some pairs have no answer")
    if (shifted := _shifted_product(table)) is not None:
        return shifted
    given = table[:, whole_columns]
    for zero_rows, zero_columns in _zero_candidates(given):
        inner = given[~zero_rows][:, ~zero_columns]
        if not inner.size:
            continue
        rows, row_class = _merged(inner)
        small, column_class = _merged(rows.T)
        small = small.T
        m = len(small)
        if m == small.shape[1] and m > 1 and (p - 1) % m == 0:
            found = cycle(small, m)
            if found is not None:
                x, y = (_spread(place, kind, zeros, p) for place, kind, zeros in
                        ((found[0], row_class, zero_rows), (found[1], column_class, zero_columns)))  # fmt: skip
                form = _product_witness(table, x, _widened(y, whole_columns, p))
                if form is not None:
                    return form
    refutation = _no_product(given)
    if refutation is None:
        return Form("product", None, "not decided: rows or columns repeat")
    return Form("product", False, refutation)


def _merged(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows, and the index of each row among them."""
    rows, place = np.unique(table, axis=0, return_inverse=True)
    return rows, place.reshape(-1)


def explained(
    table: Int[np.ndarray, "p p"],
    kind: Literal["sum", "product"],
    g1: Int[np.ndarray, " p"],
    g2: Int[np.ndarray, " p"],
    reason: str,
) -> Form | None:
    """The form with these g1 and g2, if they explain every answer of the table; None if some argument would need two of them."""
    p = len(table)
    g1, g2 = g1 % p, g2 % p
    argument = (g1[:, None] + g2 if kind == "sum" else g1[:, None] * g2) % p
    given = table >= 0
    h = np.full(p, UNKNOWN)
    h[argument[given]] = table[given]
    return Form(kind, True, reason, g1, g2, h) if (h[argument[given]] == table[given]).all() else None


def _sum_witness(table: np.ndarray, g1: np.ndarray, g2: np.ndarray, reason: str) -> Form:
    found = explained(table, "sum", g1, g2, reason)
    assert found is not None
    return found


def _injective_sum(table: np.ndarray) -> Form:
    """Solve e(M[a,b]) - e(M[a,0]) - e(M[0,b]) + e(M[0,0]) = 0 for a relabelling e of the answers."""
    p = len(table)
    labels, index = np.unique(table, return_inverse=True)
    index = index.reshape(table.shape)
    n = len(labels)
    equations = np.zeros(((p - 1) ** 2, n), int)
    at = np.arange(len(equations))
    for place, sign in (
        (index[1:, 1:], 1),
        (np.broadcast_to(index[1:, :1], (p - 1, p - 1)), -1),
        (np.broadcast_to(index[:1, 1:], (p - 1, p - 1)), -1),
    ):
        np.add.at(equations, (at, place.reshape(-1)), sign)
    equations[:, index[0, 0]] += 1
    solutions = null_space(np.unique(equations % p, axis=0), p)  # constants are among them
    if len(solutions) == 2:
        candidates = [solutions[0], solutions[1], (solutions[0] + solutions[1]) % p]
        exact = True  # any other is an affine image
    else:
        generator = np.random.default_rng(0)
        candidates = [generator.integers(0, p, len(solutions)) @ solutions % p for _ in range(200)]
        exact = len(solutions) < 2
    for e in candidates:
        if len(np.unique(e)) == n:
            return _sum_witness(
                table,
                e[index[:, 0]],
                (e[index[0]] - e[index[0, 0]]) % p,
                "a relabelling of the answers makes the table a sum",
            )
    if exact:
        return Form(
            "sum",
            None,
            "not decided: no relabelling of the answers makes the table a sum, but h might not be injective",
        )
    return Form("sum", None, "not decided: too many relabellings")


def null_space(matrix: Int[np.ndarray, "n k"], p: int) -> Int[np.ndarray, "d k"]:
    """A basis of the solutions x of matrix @ x = 0 modulo a prime."""
    work, k = matrix.copy() % p, matrix.shape[1]
    inverse, pivots, row = inverses(p), [], 0
    for column in range(k):
        below = np.flatnonzero(work[row:, column])
        if not len(below):
            continue
        work[[row, row + below[0]]] = work[[row + below[0], row]]
        work[row] = work[row] * inverse[work[row, column]] % p
        others = np.flatnonzero(work[:, column])
        others = others[others != row]
        work[others] = (work[others] - np.outer(work[others, column], work[row])) % p
        pivots.append(column)
        row += 1
        if row == len(work):
            break
    free = [column for column in range(k) if column not in pivots]
    basis = np.zeros((len(free), k), int)
    for i, column in enumerate(free):
        basis[i, column] = 1
        basis[i, pivots] = -work[: len(pivots), column] % p
    return basis


def _zero_candidates(table: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns where g1 or g2 may be zero: none, or all constant ones with the same answer."""
    none = np.zeros(len(table), bool), np.zeros(table.shape[1], bool)
    constant_rows, constant_columns = np.ptp(table, axis=1) == 0, np.ptp(table, axis=0) == 0
    values = {*table[constant_rows, 0].tolist(), *table[0, constant_columns].tolist()}
    found = [(constant_rows & (table[:, 0] == v), constant_columns & (table[0] == v)) for v in sorted(values)]
    return [*found, none]


def _spread(place: np.ndarray, kind: np.ndarray, zeros: np.ndarray, p: int) -> np.ndarray:
    """Exponent of every number, UNKNOWN for those that are zero."""
    found = np.full(len(zeros), UNKNOWN)
    found[~zeros] = place[kind]
    return found


def _widened(y: np.ndarray, whole: np.ndarray, p: int) -> np.ndarray:
    """Exponents of all columns, UNKNOWN where a column has no answers."""
    found = np.full(p, UNKNOWN)
    found[whole] = y
    return found


def _product_witness(table: np.ndarray, x: np.ndarray, y: np.ndarray) -> Form | None:
    p = len(table)
    root = primitive_root(p)
    power = np.array([pow(root, e, p) for e in range(p - 1)])
    g1, g2 = (np.where(z >= 0, power[z % (p - 1)], 0) for z in (x, y))
    return explained(
        table,
        "product",
        g1,
        g2,
        "a symmetry of the table moves all rows and all columns without zeros in one cycle each",
    )


def _shifted_product(table: np.ndarray) -> Form | None:
    """Look for c + g1(a) g2(b), for every c."""
    p = len(table)
    if (table < 0).any():
        return None
    for c in range(p):
        inner = (table - c) % p
        some = np.argwhere(inner)
        if not len(some):
            continue
        a, b = some[0]
        g1, g2 = inner[:, b], inner[a] * inverses(p)[inner[a, b]] % p
        if (g1[:, None] * g2 % p == inner).all():
            return Form("product", True, "the table is a constant plus a product", g1, g2, (np.arange(p) + c) % p)
    return None


def _no_product(table: np.ndarray) -> str | None:
    """Why a table without a cycle is no product; None if that does not follow.

    Whichever numbers are zeros, the other rows and columns are all different and p - 1 many, so that no cycle is a proof; or there
    are more of them, or of the answers that they have, than the p - 1 units can give.
    """
    p, reason = len(table), "without zeros, it has more different answers, rows or columns than there are units"
    for zero_rows, zero_columns in _zero_candidates(table):
        inner = table[~zero_rows][:, ~zero_columns]
        rows, columns = len(np.unique(inner, axis=0)), len(np.unique(inner.T, axis=0))
        if rows == 0 or columns == 0 or max(rows, columns, len(np.unique(inner))) > p - 1:
            continue
        if (rows, columns) != (p - 1, p - 1):
            return None
        reason = "no symmetry of the table moves all rows and all columns without zeros in one cycle each"
    return reason


def cycle(table: Int[np.ndarray, "m m"], m: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Places x, y modulo m with table[i, j] a function of x[i] + y[j], each a bijection; None if there are none.

    All rows and all columns of the table are different. Exhaustive: None is a proof.
    """
    for row in range(1, m):
        found = _moves(table, row, m)
        if found is not None:
            return found
        if is_prime(m):
            return None  # in a group of prime order some generator takes row 0 to row 1
    return None


def _moves(table: np.ndarray, row: int, m: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A symmetry that takes row 0 to `row` and is one cycle on rows and on columns."""
    plain = _refine(table, np.zeros(m, np.uint64), np.zeros(m, np.uint64))
    if plain[0][0] != plain[0][row]:
        return None
    first = _refine(table, _marked(plain[0], 0), _marked(plain[1], 0))
    for column in range(m):
        if plain[1][column] != plain[1][0] or table[row, column] != table[0, 0]:
            continue
        second = _refine(table, _marked(plain[0], row), _marked(plain[1], column))
        for rows, columns in _matchings(table, first, second):
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


def _matchings(table: np.ndarray, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]):
    """All symmetries that take the first colours to the second, as images of rows and of columns."""
    if any((np.sort(a) != np.sort(b)).any() for a, b in zip(first, second, strict=True)):
        return
    values, counts = np.unique(first[0], return_counts=True)
    if (counts == 1).all():  # columns follow from rows, since all columns are different
        rows = np.argsort(second[0])[np.argsort(np.argsort(first[0]))]
        columns = _columns_of(table, rows)
        if columns is not None:
            yield rows, columns
        return
    color = values[counts > 1][0]
    place = int(np.flatnonzero(first[0] == color)[0])
    finer = _refine(table, _marked(first[0], place), first[1])
    for image in np.flatnonzero(second[0] == color):
        yield from _matchings(table, finer, _refine(table, _marked(second[0], int(image)), second[1]))


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
