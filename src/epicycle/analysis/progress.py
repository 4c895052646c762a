"""Measures taken while a run trains. Each is an observer: name, cadence, function of the weights.

To add one: a function (task, config, weights) -> JSON-like dict, and one line in `observers`.
"""

from typing import Any

import numpy as np

from epicycle.fourier.bases import BASES, Basis
from epicycle.fourier.measures import measures
from epicycle.fourier.operand_waves import multipliers
from epicycle.fourier.planes import explained_by_frequency, explained_overall, leading_frequencies, plane_power
from epicycle.fourier.spectra import FourierNorms, fourier_norms, heat_map, norms_of_rows, spectrum_2d
from epicycle.models.plain import Weights
from epicycle.models.sites import embedding, grids, neuron_logit_map
from epicycle.numbers.residues import is_prime
from epicycle.tasks.modular import Task
from epicycle.training.config import RunConfig
from epicycle.training.loop import Observer


def bases_of(task: Task) -> list[Basis]:
    """The bases a task allows: multiplicative modulo primes above 3; additive, but where 0 is never asked and so never learned.

    A table with one number that was never trained has a spike there, which is flat in additive frequencies and would hide all else.
    """
    modulus = task.config.modulus
    names = ["multiplicative"] if is_prime(modulus) and modulus > 3 else []
    if task.config.zeros == "included":
        names.insert(0, "additive")
    return [BASES[name](modulus) for name in names]


def pair_grid(task: Task, config: RunConfig, index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens of all p^2 pairs of one formula (row-major), their answers (p, p), and which were trained on.

    Answers are -1 where a formula has none. Pairs of the published operand range beyond the modulus are left out.

    Args:
        task: A task of two operands.
        config: Says where the answer is read, and so how tokens are laid out.
        index: Which formula of a mixture.

    Returns:
        Token ids (p^2, 3 or 2), answers (p, p), and a boolean (p, p).
    """
    p = task.config.modulus
    inside = (task.operands < p).all(1)
    labels, train = np.full((p, p), -1), np.zeros((p, p), bool)
    a, b = task.operands[inside].T
    labels[a, b] = np.where(task.defined[index, inside], task.labels[index, inside], -1)
    trained = task.operands[task.train[index]]
    trained = trained[(trained < p).all(1)]
    train[trained[:, 0], trained[:, 1]] = True
    first, second = np.divmod(np.arange(p * p), p)
    operator = np.full(p * p, task.operator_tokens(config.model.readout)[index])
    columns = {"equals": (first, second, operator), "operand": (first, operator, second), "pair": (first, second)}[
        config.model.readout
    ]
    return np.stack(columns, 1), labels, train


def axis_norms(pooled: np.ndarray, basis: Basis, axis: int) -> FourierNorms:
    """Norms along one operand (axis 0: a, 1: b) of a heat map (f, f), the other operand and all channels pooled."""
    return norms_of_rows(np.sqrt((pooled**2).sum(1 - axis)), basis)


def measure_weights(task: Task, config: RunConfig, weights: Weights) -> dict[str, Any]:
    """FFD, FCR, bias, Gini and IPR of W_E and W_L in every basis, and the norm of every parameter."""
    p = task.config.modulus
    tables = {"W_E": embedding(weights, p), "W_L": neuron_logit_map(weights, p)}
    found: dict[str, Any] = {
        basis.name: {site: measures(fourier_norms(table, basis)) for site, table in tables.items()}
        for basis in bases_of(task)
    }
    squares = {name: float((tensor.double() ** 2).sum()) for name, tensor in weights.items()}
    found["weight_norm"] = sum(squares.values()) ** 0.5
    found["weight_norms"] = {name: value**0.5 for name, value in squares.items()}
    return found


def measure_activations(task: Task, config: RunConfig, weights: Weights) -> dict[str, Any]:
    """The same scalars for logits and neurons along both operands, and how much single frequencies explain.

    One dict per basis; for a mixture one such dict per formula.
    """
    found = {rule.text: _measure_formula(task, config, weights, i) for i, rule in enumerate(task.rules)}
    return found if task.num_tasks > 1 else next(iter(found.values()))


def _measure_formula(task: Task, config: RunConfig, weights: Weights, index: int) -> dict[str, Any]:
    p = task.config.modulus
    tokens, labels, _ = pair_grid(task, config, index)
    logits, neurons = grids(weights, tokens, p, config.model.attention)
    found: dict[str, Any] = {}
    for basis in bases_of(task):
        spectra = {"logits": spectrum_2d(logits, basis), "neurons": spectrum_2d(neurons, basis)}
        here: dict[str, Any] = {}
        for site, spectrum in spectra.items():
            pooled = heat_map(spectrum)
            for axis, operand in enumerate("ab"):
                here[f"{site}.{operand}"] = measures(axis_norms(pooled, basis, axis))
        shares = explained_by_frequency(spectra["neurons"], basis, multipliers(labels, basis))
        here["neurons_explained"] = explained_overall(*shares)
        power = plane_power(logits, labels, basis, "answer")
        here["answer_share"] = power.share
        here["leading_frequencies"] = leading_frequencies(power, basis).tolist()
        found[basis.name] = here
    return found


def observers(config: RunConfig) -> list[Observer]:
    """The measures of a run at its cadences; two operands are needed for the two-dimensional ones."""
    from epicycle.tasks.operations import formula

    found = [Observer("weights", 0, measure_weights)]
    if formula(config.task.formulas[0]).num_operands == 2:
        found.append(Observer("activations", config.schedule.measure_every, measure_activations))
    return found
