"""The logits as key frequencies, other frequencies and a residual, and the loss of every combination of them.

Source: Furuta et al. 2024, App. E, Table A.4.
"""

import contextlib
import dataclasses
from itertools import combinations
from pathlib import Path
from typing import ClassVar, final

import numpy as np

from epicycle.analysis.circuit import Circuit
from epicycle.analysis.grok import Grok, config_of
from epicycle.analysis.progress import bases_of, pair_grid
from epicycle.errors import DataError
from epicycle.fourier.bases import Basis, additive
from epicycle.fourier.planes import Plane, cross_entropy, plane_directions, same_waves
from epicycle.models.sites import grids
from epicycle.results import Result
from epicycle.tasks.modular import modular_task

PARTS = ("key", "non-key", "residual")
OVERLAPPING = "takes its answers unequally often, so that their waves overlap and are no parts; expected one like 2a + 3b or a*b. Look at restricted and excluded loss."
DEPENDENT = 1e-9
"""Rise of the loss above which a frequency that is no key counts as one the answer depends on, in nats."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Decomposition(Result):
    """Losses over all pairs, nats, of the logits cut to some of their parts; the mean over pairs is in all of them.

    `losses`: combination of key, non-key and residual, joined by +, -> loss. `dependent`: frequencies that are no keys and whose
    removal from the logits of all frequencies (key + non-key, without the residual) raises the loss by more than 1e-9; `rises` has that
    rise for every frequency in the order of `frequency`, `controls` for random planes: taking anything at all from logits that are right
    costs something, often more than 1e-9.
    Planes are those of the sum or of the difference, and of any other formula that takes its answers equally often those of the answer; of
    one that does so among pairs without a zero, as products do, those of the multiplicative `basis`.

    The paper says that removing one worsens the restricted loss, whose logits are the keys alone and have no other frequency to
    remove; its table has key + non-key, which is read here. A small loss of the key part shows that it suffices, not how it is made.
    """

    schema: ClassVar[int] = 5
    formula: str
    plane: str
    basis: str
    keys: tuple[int, ...]
    losses: dict[str, float]
    dependent: tuple[int, ...]
    frequency: np.ndarray
    rises: np.ndarray
    controls: np.ndarray


def decompose(
    logits: np.ndarray,
    labels: np.ndarray,
    keys: tuple[int, ...],
    plane: Plane,
    formula: str = "",
    *,
    basis: Basis | None = None,
    controls: int | None = None,
    seed: int = 0,
) -> Decomposition:
    """Cut the logits of all pairs into parts and take the loss of every combination.

    Args:
        logits: (p, p, p), first operand, second operand, answer.
        labels: Right answers (p, p), all defined.
        keys: Key frequencies in the basis.
        plane: sum or difference; answer where it takes its values equally often, as a linear formula does.
        formula: For the record.
        basis: Additive if not given. Pairs outside its support are left out.
        controls: How many random planes are removed; if not given, 19 for each frequency that is no key. A random plane cuts into the
            keys, too, which a frequency that is no key does not: one that means nothing is above all of them in less than one run of twenty.
        seed: Of these.

    Raises:
        DataError: Some pair has no answer, or waves overlap.
    """
    basis = additive(len(logits)) if basis is None else basis
    inside = np.outer(basis.support, basis.support)
    if (labels[inside] < 0).any():
        raise DataError(
            f"got {int((labels[inside] < 0).sum())} pairs without an answer; expected all pairs of the {basis.name} basis. Choose a formula that is defined everywhere."
        )
    flat, answer = logits[inside].astype(np.float64), labels[inside]
    mean = flat.mean(0)
    centred = flat - mean
    spans = {k: rows[:, inside] for k, rows in _waves(basis, plane, labels).items()}
    frequency = np.array(list(spans))
    of = lambda k: spans[k].T @ (spans[k] @ centred)  # noqa: E731  made anew each time: all at once would be p/2 arrays of p^3
    zero = np.zeros_like(centred)
    pieces = {
        "key": sum((of(k) for k in spans if k in keys), zero),
        "non-key": sum((of(k) for k in spans if k not in keys), zero),
    }
    pieces["residual"] = centred - pieces["key"] - pieces["non-key"]
    losses = {" + ".join(names): cross_entropy(mean + np.sum([pieces[name] for name in names], axis=0), answer)
              for count in (3, 1, 2) for names in combinations(PARTS, count)}  # fmt: skip
    waves = mean + pieces["key"] + pieces["non-key"]
    varied = waves - mean
    whole = losses["key + non-key"]
    rises = np.array([cross_entropy(waves - of(int(k)), answer) - whole for k in frequency])
    generator = np.random.default_rng(seed)
    controls = 19 * (len(frequency) - len(set(keys))) if controls is None else controls
    blind = (np.linalg.qr(generator.standard_normal((len(flat), 2)))[0].T for _ in range(controls))
    return Decomposition(
        formula=formula, plane=plane, basis=basis.name, keys=tuple(keys), losses=losses, frequency=frequency, rises=rises,
        dependent=tuple(int(k) for k, rise in zip(frequency, rises, strict=True) if k not in keys and rise > DEPENDENT),
        controls=np.array([cross_entropy(waves - unit.T @ (unit @ varied), answer) - whole for unit in blind]),
    )  # fmt: skip


def _waves(basis: Basis, plane: Plane, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Unit waves of every frequency on the pairs, at right angles to each other and without a mean.

    Raises:
        DataError: Those of the answer overlap, since it takes its values unequally often.
    """
    if plane != "answer":
        return {int(k): plane_directions(basis, int(k), plane) for k in basis.frequency}
    found = {}
    for k, *_ in same_waves(basis, labels):
        rows = plane_directions(basis, k, plane, labels) * np.outer(basis.support, basis.support)
        size = np.linalg.norm(rows, axis=(1, 2))
        found[k] = rows[size > 1e-9] / size[size > 1e-9, None, None]
    every = np.concatenate([rows.reshape(len(rows), -1) for rows in found.values()])
    if abs(every @ every.T - np.eye(len(every))).max() > 1e-6 or abs(every.sum(1)).max() > 1e-6 * len(labels):
        raise DataError(f"got a formula that {OVERLAPPING}")
    return found


def _has_parts(basis: Basis, labels: np.ndarray) -> bool:
    with contextlib.suppress(DataError):
        return bool(_waves(basis, "answer", labels))
    return False


def decomposition_of(grok: Grok, index: int = 0, *, again: bool = False) -> Decomposition:
    """Decomposition of a finished run, in the basis of its circuit if its answers are equally often there, else in the other; kept beside the circuit.

    Raises:
        DataError: The run has no circuit, or its answers are unequally often in both: their waves overlap and are no parts.
    """
    if not grok.circuits:
        raise DataError(
            f"got run {grok.run.id} without a circuit; expected two operands and a training that did not diverge. Choose another run."
        )
    if not again and (kept := kept_decomposition(grok, index)) is not None:
        return kept
    circuit: Circuit = grok.circuits[index]
    config = config_of(grok.run)
    task = modular_task(config.task)
    tokens, labels, _ = pair_grid(task, config, index)
    logits, _ = grids(grok.run.weights(), tokens, task.config.modulus, config.model.attention)
    bases = {each.name: each for each in bases_of(task)}
    order = [circuit.basis, *(name for name in bases if name != circuit.basis)]
    name = next((each for each in order if _has_parts(bases[each], labels)), None)
    if name is None:
        raise DataError(f"got run {grok.run.id} on {circuit.formula}, which {OVERLAPPING}")
    alpha, beta = circuit.multipliers[name] or (0, 0)
    plane: Plane = "answer"
    if name == "additive" and 1 in (alpha, beta):  # the same waves, by the names that Nanda and Furuta know them by
        plane = "sum" if alpha == beta else "difference" if (alpha + beta) % circuit.modulus == 0 else "answer"
    keys = circuit.key_frequencies if circuit.basis == name else ()
    found = decompose(logits, labels, keys, plane, circuit.formula, basis=bases[name])
    found.save(_place(grok, index))
    return found


def kept_decomposition(grok: Grok, index: int = 0) -> Decomposition | None:
    """The decomposition of a run, if it was computed before."""
    place = _place(grok, index)
    return Decomposition.load(place) if Decomposition.is_current(place) else None


def _place(grok: Grok, index: int) -> Path:
    return grok.run.path / "results" / ("decomposition" if index == 0 else f"decomposition-{index + 1}")
