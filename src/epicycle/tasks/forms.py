"""Whether a table of answers has the form h(g1(a) + g2(b)) or h(g1(a) * g2(b)), decided from the table, with a witness.

Source: Doshi et al. 2024 (arXiv:2406.03495), hypotheses 5.1 and 5.2, conjecture that networks grok exactly such formulas. The
decision procedure is ours:

* Equal rows may share g1, equal columns g2, so they are merged. With m different rows and as many different columns, and sums in
  Z/m, the form exists if and only if one symmetry of the table moves all rows in one cycle and all columns in one cycle
  (`tasks.table_symmetries`; exact where it refutes, verified where it finds).
* As many different rows as numbers make g1 a bijection, so that every column runs through the whole of h: answers are counted.
* With fewer rows than the modulus, h may still be injective: then its inverse solves linear equations over the field, which are
  solved. A product is also looked for as c + g1(a) g2(b) for every c, and refuted where there are more answers than products.
* What is left (h not injective, g1 or g2 not onto) is not decided, and said so, unless somebody brings g1 and g2 to be tried
  (`tasks.separation` reads them off a polynomial).
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from epicycle.numbers.residues import inverses, is_prime, primitive_root
from epicycle.tasks.table_symmetries import UNKNOWN, TooManySymmetriesError, cycle

NO_CYCLE = "no symmetry of the table moves all rows and all columns without zeros in one cycle each"
TOO_MANY = "not decided: the table has too many symmetries to try them all"


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
    found = _plain_sum(table) or _decided_sum(table)
    if found.exists is None and (_is_no_sum(table) or _is_no_sum(table.T)):
        why = "one of g1 and g2 has to be a bijection, and rows or columns have answers that others do not, or not as often"
        return Form("sum", False, why)
    return found


def _is_no_sum(table: np.ndarray) -> bool:
    """True if as many different rows as numbers make g1 a bijection, and the answers contradict that.

    Then every column runs through all of h, and has the same answers, each as often; and a row, which has h at different places for
    different columns, has no answer more often than these. Columns without some answer are left out: what is left is necessary.
    """
    p = len(table)
    whole = table[:, (table >= 0).all(0)]
    if whole.shape[1] == 0 or len(_merged(whole)[0]) < p:
        return False
    counts = [np.bincount(column, minlength=p) for column in whole.T]
    different = _merged(whole.T)[0].T
    return any((each != counts[0]).any() for each in counts) or any(
        (np.bincount(row, minlength=p) > counts[0]).any() for row in different
    )


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
        try:
            found = cycle(small, p)
        except TooManySymmetriesError:
            return Form("sum", None, TOO_MANY)
        if found is None:
            return Form("sum", False, "no symmetry of the table moves all rows and all columns in one cycle each")
        return _sum_witness(
            table,
            found[0][row_class],
            found[1][column_class],
            "a symmetry of the table moves all rows and all columns in one cycle each",
        )
    if not is_prime(p):
        return Form("sum", None, "not decided: rows or columns repeat, and the modulus is no prime")
    return _injective_sum(table)


def product_form(table: Int[np.ndarray, "p p"]) -> Form:
    """Decide h(g1(a) * g2(b)) modulo a prime p for a table of answers, -1 where there is none."""
    p = len(table)
    if not is_prime(p) or p < 5:
        return Form("product", None, "not decided: the modulus is no prime above 3")
    whole_columns, empty_columns = np.all(table >= 0, axis=0), np.all(table < 0, axis=0)
    if not whole_columns.any() or bool(np.any(~whole_columns & ~empty_columns)):
        return Form("product", None, "not decided: some pairs have no answer")
    if (shifted := _shifted_product(table)) is not None:
        return shifted
    given, is_open = table[:, whole_columns], False
    for zero_rows, zero_columns in _zero_candidates(given):
        inner = given[~zero_rows][:, ~zero_columns]
        if not inner.size:
            continue
        rows, row_class = _merged(inner)
        small, column_class = _merged(rows.T)
        small = small.T
        m = len(small)
        if m == small.shape[1] and m > 1 and (p - 1) % m == 0:
            try:
                found = cycle(small, m)
            except TooManySymmetriesError:
                is_open = True
                continue
            if found is not None:
                x, y = (_spread(place, kind, zeros, p) for place, kind, zeros in
                        ((found[0], row_class, zero_rows), (found[1], column_class, zero_columns)))  # fmt: skip
                form = _product_witness(table, x, _widened(y, whole_columns, p), m)
                if form is not None:
                    return form
    refutation = _no_product(given)
    if is_open and refutation in (None, NO_CYCLE):
        return Form("product", None, TOO_MANY)
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


def _product_witness(table: np.ndarray, x: np.ndarray, y: np.ndarray, m: int) -> Form | None:
    """Places modulo m as exponents of an element of order m, so that equal places are equal products."""
    p = len(table)
    element = pow(primitive_root(p), (p - 1) // m, p)
    power = np.array([pow(element, e, p) for e in range(m)])
    g1, g2 = (np.where(z >= 0, power[z % m], 0) for z in (x, y))
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
        reason = NO_CYCLE
    return reason
