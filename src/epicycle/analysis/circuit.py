"""What a trained model computes with: spectra of its sites, key frequencies, losses with only and without them."""

import dataclasses
import math
from typing import Any, ClassVar, final

import numpy as np

from epicycle.analysis.progress import axis_norms, bases_of, measure_weights, pair_grid
from epicycle.analysis.stage import Stage, silent
from epicycle.errors import DataError
from epicycle.fourier.bases import Basis, half_domain
from epicycle.fourier.measures import gini, measures
from epicycle.fourier.nulls import null_test
from epicycle.fourier.operand_waves import multipliers, operand_frequencies
from epicycle.fourier.planes import (
    Plane,
    explained_by_frequency,
    explained_overall,
    key_frequencies,
    leading_frequencies,
    plane_losses,
    plane_power,
    same_waves,
)
from epicycle.fourier.spectra import FourierNorms, fourier_norms, heat_map, spectrum_2d
from epicycle.models.plain import Weights
from epicycle.models.sites import embedding, grids, neuron_logit_map
from epicycle.results import Result
from epicycle.tasks.modular import Task
from epicycle.training.config import RunConfig

PLANES: tuple[Plane, ...] = ("answer", "sum", "difference")


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Circuit(Result):
    """Spectra, key frequencies and their causal weight for one formula of one run at one step.

    Keys of the dict fields begin with the name of a basis. `norms` holds, for W_E and W_L, the frequency, the cosine
    norm and the sine norm; `p_values` the p-value of each frequency's share against permuted numbers, alone (`single`)
    and family-wise (`family`). `basis` is the one in which the logits' answer plane is most unequal (Gini).
    `key_frequencies` are those that lead the answer plane there (`planes.leading_frequencies`); `neuron_keys` those that
    own neurons. `same_waves` are frequencies that are one wave where the answers fall (`planes.same_waves`), named by the smallest; every
    other is a wave of its own. `multipliers` are those of a formula that is linear in its operands, or in their logarithms (empty otherwise), and
    `operand_frequencies` what its key waves need of the operands: 2a + 3b at k needs 2k and 3k. `losses[basis][plane]` are `fourier.planes.PlaneLosses`.

    A key frequency is shown to be used by `excluded` against `control`, not by the spectrum. Nothing here says how
    attention or the MLP compute it.
    """

    schema: ClassVar[int] = 5
    formula: str
    modulus: int
    step: int
    basis: str
    key_frequencies: tuple[int, ...]
    operand_frequencies: tuple[int, ...]
    multipliers: dict[str, list[int]]
    same_waves: dict[str, list[list[int]]]
    neuron_keys: dict[str, list[int]]
    measures: dict[str, Any]
    losses: dict[str, Any]
    neurons_explained: dict[str, float]
    answer_share: dict[str, float]
    weight_norm: float
    conventions: dict[str, str]
    norms: dict[str, np.ndarray]
    p_values: dict[str, np.ndarray]
    answer_power: dict[str, np.ndarray]
    logit_heat_map: dict[str, np.ndarray]
    neuron_heat_map: dict[str, np.ndarray]
    neuron_share: dict[str, np.ndarray]
    neuron_frequency: dict[str, np.ndarray]

    @property
    def period(self) -> int:
        """Numbers along the waves of its basis: p, or p - 1 logarithms."""
        return self.modulus - (self.basis == "multiplicative")

    def norms_of(self, basis: str, site: str) -> FourierNorms:
        """Norms of a site for the measures of `fourier.measures`; the constant and what belongs to no frequency are not kept."""
        frequency, cosine, sine = (self.norms[f"{basis}/{site}/{part}"] for part in ("frequency", "cosine", "sine"))
        count = self.modulus - (basis == "multiplicative")
        sine = np.where(2 * frequency == count, math.nan, sine)  # the wave that alternates has no sine
        return FourierNorms(frequency, count / frequency, cosine, sine, math.nan, math.nan)

    def plot(self, ax: Any = None) -> Any:
        """Spectrum of W_E in the chosen basis, cosine and sine apart; returns the axes."""
        from epicycle.plots.spectra import spectrum

        keys = f"{self.basis}/W_E"
        return spectrum(self.norms[f"{keys}/frequency"], self.norms[f"{keys}/cosine"], self.norms[f"{keys}/sine"],
                        self.operand_frequencies, ax)  # fmt: skip


def circles(table: np.ndarray, basis: Basis, keys: tuple[int, ...]) -> np.ndarray:
    """Each number's place on the circle of each key frequency, (keys, p, 2).

    Args:
        table: (p, channels), in any unit; the places are in the same.
        basis: Its frequencies are those of `keys`.
        keys: Frequencies.

    The plane is spanned by the table's own cosine and sine coefficient vectors, made orthonormal; the first axis is the
    larger one. A table without the frequency gives a small blob.
    """
    places = []
    for k in keys:
        i = int(np.flatnonzero(basis.frequency == k)[0])
        vectors = [basis.rows[basis.cosine[i]] @ table]
        vectors.append(basis.rows[basis.sine[i]] @ table if basis.sine[i] >= 0 else np.zeros_like(vectors[0]))
        _, s, vt = np.linalg.svd(np.stack(vectors), full_matrices=False)
        vt = vt * (s > 1e-12)[:, None]
        places.append((table - table.mean(0)) @ vt.T)
    return np.array(places).reshape(len(keys), len(table), 2)


def analyse(
    task: Task, config: RunConfig, weights: Weights, step: int, *, index: int = 0, draws: int = 999, controls: int = 8
) -> Circuit:
    """Analyse one formula of a trained model.

    Args:
        task: From `tasks.modular.modular_task`.
        config: The run's configuration.
        weights: Its weights.
        step: The step they belong to, for the record.
        index: Which formula of a mixture.
        draws: Null tables per spectrum.
        controls: Random frequency sets removed beside the key frequencies.

    Raises:
        DataError: The formula has three operands; the planes are defined for two.
    """
    if task.operands.shape[1] != 2:
        raise DataError(f"got {task.rules[index].text} with {task.operands.shape[1]} operands; the circuit analysis is "
                        "defined for two. Use its history and `epicycle spectrum` on the weights.")  # fmt: skip
    p = task.config.modulus
    tokens, labels, train = pair_grid(task, config, index)
    logits, neurons = grids(weights, tokens, p, config.model.attention)
    tables = {"W_E": embedding(weights, p), "W_L": neuron_logit_map(weights, p)}
    scalars = measure_weights(task, config, weights)
    found: dict[str, dict] = {name: {} for name in (
        "norms", "p_values", "answer_power", "logit_heat_map", "neuron_heat_map", "neuron_share", "neuron_frequency",
        "neuron_keys", "losses", "neurons_explained", "answer_share", "conventions", "measures", "multipliers", "same_waves",
    )}  # fmt: skip
    unevenness, leading, linear = {}, {}, {}
    for basis in bases_of(task):
        name = basis.name
        found["conventions"][name] = basis.convention
        found["measures"][name] = dict(scalars[name])
        for site, table in tables.items():
            norms = fourier_norms(table, basis)
            for part in ("frequency", "cosine", "sine"):
                found["norms"][f"{name}/{site}/{part}"] = np.nan_to_num(np.asarray(getattr(norms, part), np.float64))
            test = null_test(table - table.mean(0), basis, "permuted", draws)
            found["p_values"][f"{name}/{site}/single"], found["p_values"][f"{name}/{site}/family"] = (
                test.p_value,
                test.p_family,
            )
        spectrum = spectrum_2d(neurons, basis)
        linear[name] = multipliers(labels, basis)
        found["multipliers"][name] = list(linear[name] or ())
        shares, total = explained_by_frequency(spectrum, basis, linear[name])
        found["neuron_share"][name], found["neuron_frequency"][name] = shares.max(0), basis.frequency[shares.argmax(0)]
        found["neurons_explained"][name] = explained_overall(shares, total)
        found["neuron_keys"][name] = key_frequencies(shares, basis).tolist()
        found["neuron_heat_map"][name] = heat_map(spectrum)
        found["logit_heat_map"][name] = heat_map(spectrum_2d(logits, basis))
        for site in ("neuron", "logit"):
            for axis, operand in enumerate("ab"):
                here = axis_norms(found[f"{site}_heat_map"][name], basis, axis)
                found["measures"][name][f"{site}s.{operand}"] = measures(here)
        power = plane_power(logits, labels, basis, "answer")
        found["answer_power"][name] = power.power
        found["answer_share"][name] = power.share
        found["same_waves"][name] = [list(group) for group in same_waves(basis, labels) if len(group) > 1]
        unevenness[name], leading[name] = (
            gini(power.power[power.first]) if power.first.sum() > 1 else 1.0,
            leading_frequencies(power, basis),
        )
        found["losses"][name] = {
            plane: plane_losses(logits, labels, train, basis, leading[name], plane, controls)._asdict()
            for plane in PLANES
        }
    found["measures"]["literal_eq5"] = {
        site: measures(fourier_norms(table, half_domain(p))) for site, table in tables.items()
    }
    found["conventions"]["literal_eq5"] = half_domain(p).convention
    chosen = max(unevenness, key=lambda name: unevenness[name])
    keys = tuple(int(k) for k in leading[chosen])
    operands = operand_frequencies(keys, linear[chosen], p - (chosen == "multiplicative"))
    return Circuit(formula=task.rules[index].text, modulus=p, step=step, basis=chosen, key_frequencies=keys, operand_frequencies=operands,
                   weight_norm=scalars["weight_norm"], **found)  # fmt: skip


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectory(Result):
    """The final key frequencies followed back through the kept checkpoints of a run.

    Losses in nats: `full`, `restricted` and `memory` over all pairs, `full_train` and `excluded` over the training pairs, in the
    plane of the answer and the basis of the final circuit (`fourier.planes.PlaneLosses`; NaN for the memory of a model trained on
    every pair). For the sites W_E and W_L, `spectra` (steps, k) is the share of
    power at each frequency and `circles` (steps, keys, p, 2) each number's place on the circle of each key frequency; of W_E on those of
    the circuit's `operand_frequencies`.
    """

    schema: ClassVar[int] = 4

    formula: str
    basis: str
    key_frequencies: tuple[int, ...]
    steps: np.ndarray
    full: np.ndarray
    full_train: np.ndarray
    restricted: np.ndarray
    memory: np.ndarray
    excluded: np.ndarray
    answer_share: np.ndarray
    frequency: np.ndarray
    spectra: dict[str, np.ndarray]
    circles: dict[str, np.ndarray]

    def plot(self, ax: Any = None) -> Any:
        """Full, restricted and excluded loss over steps; returns the axes."""
        from epicycle.plots.curves import losses

        return losses(self.steps, {"full": self.full, "restricted": self.restricted, "excluded": self.excluded}, ax)


def trajectory(
    task: Task,
    config: RunConfig,
    checkpoints: dict[int, Weights],
    circuit: Circuit,
    stage: Stage = silent,
) -> Trajectory:
    """Follow a circuit back through time.

    Args:
        task: The run's task.
        config: The run's configuration.
        checkpoints: Step -> weights.
        circuit: The final circuit; its formula, basis and key frequencies are kept fixed.
        stage: Told how far it is, before every checkpoint.

    Source: Nanda et al. 2023 compute restricted and excluded loss with the final key frequencies at every step.
    """
    p = task.config.modulus
    index = [rule.text for rule in task.rules].index(circuit.formula)
    tokens, labels, train = pair_grid(task, config, index)
    basis = next(b for b in bases_of(task) if b.name == circuit.basis)
    keys = np.array(circuit.key_frequencies, int)
    losses: dict[str, list] = {name: [] for name in ("full", "full_train", "restricted", "memory", "excluded", "share")}
    spectra: dict[str, list] = {"W_E": [], "W_L": []}
    places: dict[str, list] = {"W_E": [], "W_L": []}
    steps = sorted(checkpoints)
    for done, step in enumerate(steps):
        stage(f"following {circuit.formula} back through checkpoints", done, len(steps))
        weights = checkpoints[step]
        logits, _ = grids(weights, tokens, p, config.model.attention)
        found = plane_losses(logits, labels, train, basis, keys, "answer", controls=0)
        for name, values in losses.items():
            values.append(getattr(found, name))
        for site, table, needed in (
            ("W_E", embedding(weights, p), circuit.operand_frequencies),
            ("W_L", neuron_logit_map(weights, p), circuit.key_frequencies),
        ):
            spectra[site].append(fourier_norms(table, basis).share)
            places[site].append(circles(table, basis, needed))
    curves = {name: np.array(values, float) for name, values in losses.items()}  # None becomes NaN
    return Trajectory(
        formula=circuit.formula,
        basis=circuit.basis,
        key_frequencies=circuit.key_frequencies,
        steps=np.array(steps),
        frequency=basis.frequency,
        answer_share=curves.pop("share"),
        spectra={site: np.array(values) for site, values in spectra.items()},
        circles={site: np.array(values) for site, values in places.items()},
        **curves,
    )
