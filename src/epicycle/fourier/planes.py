"""Logits and neurons as functions of two numbers: which waves carry them, and the loss with only or without those.

Three planes per frequency. A wave of the sum, cos w(a+b), is (cos x cos - sin x sin)/sqrt(2) in the product basis; of
the difference, (cos x cos + sin x sin)/sqrt(2). A wave of the answer, cos w f(a,b), exists for every formula f: for
a+b it is the sum's, for a-b the difference's, and for a^2+b^2 or a*b neither. In the multiplicative basis the waves
run along the discrete logarithm.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.fourier.bases import Basis
from epicycle.fourier.operand_waves import Multipliers, folded

Plane = Literal["sum", "difference", "answer"]


def plane_directions(
    basis: Basis, frequency: int, plane: Plane, labels: Int[np.ndarray, "p p"] | None = None
) -> Float[np.ndarray, "directions p p"]:
    """Functions cos and sin of w(a+b), w(a-b) or w f(a,b) on the grid of pairs (one function at the Nyquist frequency).

    Those of the sum and the difference have unit norm. Those of the answer need `labels`, and where f takes its values
    unequally often they are neither of unit norm nor orthogonal.

    Source:
        Nanda et al. 2023 (`get_component_cos_xpy`) for the sum; the difference is the same identity with the other
        sign. The plane of the answer is ours.
    """
    i = int(np.flatnonzero(basis.frequency == frequency)[0])
    c = basis.rows[basis.cosine[i]]
    if plane == "answer":
        if labels is None:
            raise ValueError("the plane of the answer needs the answers")
        known = [basis.cosine[i]] + ([basis.sine[i]] if basis.sine[i] >= 0 else [])
        return np.where(labels >= 0, basis.rows[known][:, labels], 0.0)
    if basis.sine[i] < 0:
        return np.outer(c, c)[None]
    s = basis.rows[basis.sine[i]]
    sign = -1 if plane == "sum" else 1
    cosine = (np.outer(c, c) + sign * np.outer(s, s)) / 2**0.5
    sine = (np.outer(s, c) - sign * np.outer(c, s)) / 2**0.5
    return np.stack([cosine, sine])


def _orthonormal(directions: list[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """Orthonormal span of functions on the pairs inside, (rank, pairs), their means removed."""
    rows = np.concatenate(directions)[:, inside]
    rows = rows - rows.mean(1, keepdims=True)
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    return vt[s > 1e-9 * s[0]] if len(s) and s[0] > 0 else vt[:0]


def same_waves(basis: Basis, labels: Int[np.ndarray, "p p"]) -> tuple[tuple[int, ...], ...]:
    """Frequencies in groups whose waves of the answer are one and the same wave, ascending; those that are constant are in none.

    Where the answers fall on some numbers only, several frequencies can be one function of them: on the squares, whose logarithms are
    even, k and (p - 1)/2 - k. Every group has one frequency where the answers take all values.

    Source: ours. What is counted, kept or removed by frequency would otherwise be so twice, and control sets have more directions.
    """
    values = np.unique(labels[np.outer(basis.support, basis.support) & (labels >= 0)])
    if basis.support[values].sum() == basis.support.sum():
        return tuple((int(k),) for k in basis.frequency)
    spans: list[tuple[np.ndarray, list[int]]] = []
    for k, cosine, sine in zip(basis.frequency, basis.cosine, basis.sine, strict=True):
        known = [cosine] + ([sine] if sine >= 0 else [])
        rows = basis.rows[known][:, values]
        rows = rows - rows.mean(1, keepdims=True)
        rows = rows[np.linalg.norm(rows, axis=1) > 1e-9]
        if not len(rows):
            continue
        _, s, vt = np.linalg.svd(rows, full_matrices=False)
        unit = vt[s > 1e-9 * s[0]]
        group = next(
            (g for other, g in spans if len(other) == len(unit) and ((other @ unit.T) ** 2).sum() > len(unit) - 1e-9),
            None,
        )
        if group is None:
            spans.append((unit, [int(k)]))
        else:
            group.append(int(k))
    return tuple(tuple(group) for _, group in spans)


class PlanePower(NamedTuple):
    """Squared norm of the centred logits in the plane of each frequency, in total, and over how many pairs.

    `joint` is the squared norm in all planes together, which is less than the sum of `power` where they overlap; `first` marks the
    first frequency of each wave (`same_waves`).
    """

    power: Float[np.ndarray, " k"]
    total: float
    pairs: int
    joint: float
    first: np.ndarray

    @property
    def share(self) -> float:
        """Share of the logits' variance in all planes together."""
        return min(self.joint / self.total, 1.0) if self.total > 0 else float("nan")


def plane_power(
    logits: Float[np.ndarray, "p p c"], labels: Int[np.ndarray, "p p"], basis: Basis, plane: Plane
) -> PlanePower:
    """Squared norm of the centred logits in the plane of each frequency, and in total.

    Pairs without an answer (-1) and outside the basis's support are left out; the mean over pairs is removed. The
    planes of the answer overlap a little where f takes its values unequally often.
    """
    inside = np.outer(basis.support, basis.support) & (labels >= 0)
    flat = logits[inside].astype(np.float64)
    flat -= flat.mean(0)
    directions = [plane_directions(basis, int(k), plane, labels)[:, inside] for k in basis.frequency]
    sizes = [len(d) for d in directions]
    rows = np.concatenate(directions)
    rows -= rows.mean(1, keepdims=True)
    products = rows @ flat
    first = (
        np.isin(basis.frequency, [group[0] for group in same_waves(basis, labels)])
        if plane == "answer"
        else np.ones(len(sizes), bool)
    )
    power, place = [], 0
    for size in sizes:  # |Q^T x|^2 with Q an orthonormal basis of these rows is x^T A^T (A A^T)^-1 A x
        here = slice(place, place + size)
        gram = rows[here] @ rows[here].T
        power.append(float(np.einsum("ic,ij,jc->", products[here], np.linalg.pinv(gram, rcond=1e-12), products[here])))
        place += size
    own = np.repeat(first, sizes)
    gram, known = rows[own] @ rows[own].T, products[own]
    joint = (
        float(np.einsum("ic,ic->", known, np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ known))
        if own.any()
        else 0.0
    )
    return PlanePower(np.array(power), float((flat**2).sum()), len(flat), joint, first)


def leading_frequencies(found: PlanePower, basis: Basis) -> Int[np.ndarray, " keys"]:
    """Frequencies that lead a plane's power and hold more than noise would put there.

    A frequency leads if it holds more than 1.25 times the uniform share of the plane, and is beyond noise if it holds
    more than three times 2 / pairs of all the logits' variance, which is what white-noise logits put into two
    directions. Power spread evenly has no leader: then the basis is wrong, or every frequency is used alike. Of frequencies that are
    one wave (`same_waves`) the smallest can lead.

    Args:
        found: From `plane_power`.
        basis: The basis it was computed in.

    Source: ours. It asks the logits, and so works for every formula; `key_frequencies` asks the neurons.
    """
    power, total, pairs, _, first = found
    every = float(power[first].sum())
    if not total > 0 or not every > 0:
        return basis.frequency[:0]
    uniform = every / max(first.sum(), 2)  # a single wave leads
    return basis.frequency[first & (power > 1.25 * uniform) & (power > 3 * 2 / pairs * total)]


def explained_by_frequency(
    spectrum: Float[np.ndarray, "f f m"], basis: Basis, multipliers: Multipliers | None = None
) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, " m"]]:
    """Share of each neuron's centred variance in the block {1, cos, sin} x {1, cos, sin} of one frequency.

    Args:
        spectrum: Neurons over pairs of basis rows.
        basis: Of both axes.
        multipliers: Of a formula that is linear in its operands (`operand_waves.multipliers`): the block of frequency k is then that
            of alpha k along a and beta k along b, of which a wave of the answer at k is made.

    Returns:
        The shares (frequencies, neurons), zero for a dead neuron, and each neuron's centred squared norm.

    Source: Nanda et al. 2023. All frequencies are searched; their `range(1, p//2)` leaves out the last. Multipliers are ours.
    """
    square = spectrum**2
    total = square.sum((0, 1)) - square[basis.constant, basis.constant]
    for row in basis.other:
        total = total - square[row].sum(0) - square[:, row].sum(0) + square[row, row]
    shares = np.zeros((len(basis.frequency), spectrum.shape[2]))
    n = int(basis.support.sum())
    for i, k in enumerate(basis.frequency.tolist()):
        rows, columns = (_rows(basis, folded(m * k, n)) for m in multipliers or (1, 1))
        block = square[np.ix_(rows, columns)].sum((0, 1)) - square[basis.constant, basis.constant]
        shares[i] = np.divide(block, total, out=np.zeros_like(block), where=total > 1e-30)
    return shares, total


def _rows(basis: Basis, k: int) -> list[int]:
    """The constant, and cosine and sine of a frequency, if it is one."""
    return [
        basis.constant,
        *(
            int(row)
            for i in np.flatnonzero(basis.frequency == k)
            for row in (basis.cosine[i], basis.sine[i])
            if row >= 0
        ),
    ]


def explained_overall(shares: Float[np.ndarray, "k m"], total: Float[np.ndarray, " m"]) -> float:
    """Share of the variance of all neurons together that each one's best frequency explains; dead neurons weigh nothing."""
    return float((shares.max(0) * total).sum() / total.sum()) if total.sum() > 0 else float("nan")


def key_frequencies(
    shares: Float[np.ndarray, "k m"], basis: Basis, threshold: float = 0.85, least_neurons: float = 0.01
) -> Int[np.ndarray, " keys"]:
    """Frequencies that own neurons: each explains more than `threshold` of at least `least_neurons` of the neurons.

    Args:
        shares: From `explained_by_frequency`.
        basis: The basis of the shares.
        threshold: Share of a neuron's variance that its best frequency must explain.
        least_neurons: Share of all neurons that must belong to a frequency.

    Source:
        Nanda et al. 2023.
        Deviates: they take every frequency that is best for any neuron, which a dead or noisy neuron fills up;
        `threshold=0, least_neurons=0` gives theirs.
    """
    best = shares.argmax(0)
    owned = shares.max(0) > threshold
    count = np.bincount(best[owned], minlength=len(basis.frequency))
    return basis.frequency[(count > 0) & (count >= least_neurons * shares.shape[1])]


def cross_entropy(logits: Float[np.ndarray, "b c"], labels: Int[np.ndarray, " b"]) -> float:
    """Mean cross-entropy in nats, in the margin form that stays accurate when the loss is tiny."""
    rows = np.arange(len(labels))
    right = logits[rows, labels].astype(np.float64)
    wrong = logits.astype(np.float64)  # a copy, worked on in place
    wrong[rows, labels] = -np.inf
    top = wrong.max(1)
    wrong -= top[:, None]
    gap = top + np.log(np.exp(wrong, out=wrong).sum(1)) - right
    return float(np.logaddexp(0, gap).mean())


class PlaneLosses(NamedTuple):
    """Losses in nats after keeping or removing the key waves of one plane.

    `restricted` keeps the mean and the key waves, on all pairs; `excluded` removes the key waves, on the training
    pairs; `excluded_each` removes one key frequency at a time. `full` and `full_train` are the losses of the
    unchanged logits over the same classes and pairs. `share` is the key waves' share of the logits' variance.
    `rank` is the number of directions over pairs that the key waves span, of `pairs`. `control` removes as many random
    other frequencies, `subspace` random directions of the same rank (all draws). Other frequencies hold less of the
    logits by selection, so the controls show that what is removed matters, not how much. `memory` is `restricted` with the logits of
    the untrained pairs exchanged among themselves at random: what the key waves take over from the trained pairs, since pairs with
    the same answer share a wave. A restricted loss near it is no sign of a rule; None where every pair was trained on.
    No number here is a loss over the special tokens, nor over pairs outside the basis's support.
    """

    plane: str
    full: float
    full_train: float
    restricted: float
    excluded: float
    excluded_each: tuple[float, ...]
    control: tuple[float, ...]
    subspace: tuple[float, ...]
    rank: int
    pairs: int
    share: float
    memory: float | None = None


def plane_losses(
    logits: Float[np.ndarray, "p p c"],
    labels: Int[np.ndarray, "p p"],
    train: np.ndarray,
    basis: Basis,
    keys: Int[np.ndarray, " keys"],
    plane: Plane,
    controls: int = 8,
    seed: int = 0,
) -> PlaneLosses:
    """Restricted and excluded loss of logits that depend on two numbers.

    Args:
        logits: Over the number classes only, for every pair.
        labels: Right answers; -1 where a pair has none (left out everywhere).
        train: Boolean (p, p): pairs that were trained on.
        basis: Basis in a and in b; pairs outside its support (a zero, in the multiplicative basis) are left out.
        keys: Key frequencies.
        plane: Waves of the sum, of the difference, or of the answer.
        controls: Number of random sets of as many other frequencies that are removed instead, each another wave (`same_waves`).
        seed: Seed of the control sets.

    Source:
        Nanda et al. 2023: restricted on all inputs with the mean added back, excluded on train without.
        For a-b the plane of the difference, which Furuta et al. 2024, App. E, do not state.
        Deviates: waves are centred over the pairs kept; random control sets and the plane of the answer are ours.
    """
    inside = np.outer(basis.support, basis.support) & (labels >= 0)
    flat, answer, trained = logits[inside], labels[inside], train[inside]
    mean = flat.mean(0)
    centred = flat - mean

    def span(frequencies) -> np.ndarray:
        if len(frequencies) == 0:
            return np.zeros((0, len(flat)))
        return _orthonormal([plane_directions(basis, int(k), plane, labels) for k in frequencies], inside)

    def without(unit: np.ndarray) -> float:
        return cross_entropy((flat - unit.T @ (unit @ centred))[trained], answer[trained])

    def excluded(frequencies) -> float:
        return without(span(frequencies))

    own = span(keys)
    kept = own.T @ (own @ centred)
    groups = same_waves(basis, labels) if plane == "answer" else [(int(k),) for k in basis.frequency]
    rest = np.array([group[0] for group in groups if not np.isin(group, keys).any()], int)
    generator = np.random.default_rng(seed)
    count = controls if 0 < len(own) < len(flat) else 0
    blind = [np.linalg.qr(generator.standard_normal((len(flat), len(own))))[0].T for _ in range(count)]
    sets = [generator.choice(rest, len(keys), replace=False) for _ in range(controls) if 0 < len(keys) <= len(rest)]
    total = float((centred**2).sum())
    return PlaneLosses(
        plane,
        cross_entropy(flat, answer),
        cross_entropy(flat[trained], answer[trained]),
        cross_entropy(kept + mean, answer),
        excluded(keys),
        tuple(excluded([k]) for k in keys),
        tuple(excluded(chosen) for chosen in sets),
        tuple(without(unit) for unit in blind),
        len(own),
        len(flat),
        float((kept**2).sum()) / total if total > 0 else float("nan"),
        None if trained.all() else cross_entropy(own.T @ (own @ _exchanged(centred, ~trained, seed)) + mean, answer),
    )


def _exchanged(rows: np.ndarray, where: np.ndarray, seed: int) -> np.ndarray:
    """Rows with those of some places in another order."""
    found = rows.copy()
    places = np.flatnonzero(where)
    found[places] = rows[np.random.default_rng(seed).permutation(places)]
    return found
