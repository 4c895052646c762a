"""Every measure against signals and networks whose answer is known.

To add an oracle: a generator of `Check`s and one line in ORACLES.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from epicycle.analysis.checks import Check
from epicycle.analysis.circuit import analyse
from epicycle.analysis.selftest_fourier import FOURIER_ORACLES
from epicycle.analysis.selftest_geometry import GEOMETRY_ORACLES
from epicycle.analysis.selftest_language import LANGUAGE_ORACLES
from epicycle.analysis.selftest_sweep import SWEEP_ORACLES
from epicycle.fourier import bases, planes
from epicycle.fourier.spectra import spectrum_2d
from epicycle.models import oracles, plain
from epicycle.models.config import ModelConfig
from epicycle.models.readout import read_out
from epicycle.models.weights import initial_weights
from epicycle.numbers.residues import discrete_logarithms
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.training.build import library
from epicycle.training.config import OptimiserConfig, furuta2024
from epicycle.training.examples import example_set, row_map
from epicycle.training.fused import FusedStep
from epicycle.training.grokking import milestones
from epicycle.training.tables import TableStep

P, WIDTH = 97, 128


def _labels(p: int, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    a = np.arange(p)
    return rule(a[:, None], a[None, :]) % p


def _leaders(logits: np.ndarray, labels: np.ndarray, basis: bases.Basis) -> list[int]:
    return planes.leading_frequencies(planes.plane_power(logits, labels, basis, "answer"), basis).tolist()


def leaders() -> Iterator[Check]:
    """Key frequencies of exact adders, few and many, at small and large moduli; none for noise or a flat spectrum."""
    for p, keys in ((5, (1,)), (7, (1, 2)), (11, (1, 2, 4)), (13, (1, 2, 5)), (53, tuple(range(2, 27, 2)))):
        labels, logits = _labels(p, lambda a, b: a + b), oracles.adder_logits(p, keys)
        found = _leaders(logits, labels, bases.additive(p))
        yield Check(
            f"exact adder, p = {p}, {len(keys)} keys", "leading frequencies found", 1.0, float(found == list(keys)), 0
        )
    labels, every = _labels(29, lambda a, b: a + b), oracles.adder_logits(29, tuple(range(1, 15)))
    yield Check(
        "exact adder, all frequencies", "leading frequencies", 0.0, len(_leaders(every, labels, bases.additive(29))), 0
    )
    noise = np.random.default_rng(8).standard_normal((29, 29, 29))
    yield Check("white-noise logits", "leading frequencies", 0.0, len(_leaders(noise, labels, bases.additive(29))), 0)


def exact_adder() -> Iterator[Check]:
    """Quadratic adder: logits, losses with and without its frequencies, all in closed form."""
    p, keys = 29, (3, 5, 11)
    basis = bases.additive(p)
    labels, train = _labels(p, lambda a, b: a + b), np.ones((p, p), bool)
    raw = oracles.adder_logits(p, keys)
    a = np.arange(p)
    formula = sum(4.5 * np.cos(2 * np.pi * k * (a[:, None, None] + a[None, :, None] - a) / p) for k in keys)
    yield Check("exact adder", "largest logit error", 0.0, float(np.abs(raw - formula).max()), 1e-10)
    yield Check("exact adder", "accuracy", 1.0, float((raw.argmax(2) == labels).mean()), 0)
    logits, scale = raw / 4.5, 1.0
    loss = oracles.subset_loss(p, keys, scale)
    for plane in ("sum", "answer"):
        found = planes.plane_losses(logits, labels, train, basis, np.array(keys), plane)
        yield Check(f"exact adder, plane of the {plane}", "full loss", loss, found.full, 1e-10)
        yield Check(f"exact adder, plane of the {plane}", "restricted loss", loss, found.restricted, 1e-10)
        yield Check(f"exact adder, plane of the {plane}", "excluded loss, ln p", math.log(p), found.excluded, 1e-10)
        yield Check(
            f"exact adder, plane of the {plane}", "loss without other frequencies", loss, max(found.control), 1e-10
        )
        without = oracles.subset_loss(p, keys[1:], scale)
        yield Check(f"exact adder, plane of the {plane}", "loss without k = 3", without, found.excluded_each[0], 1e-10)
    wrong = planes.plane_losses(logits, labels, train, basis, np.array(keys), "difference")
    yield Check("exact adder, plane of the difference", "restricted loss, ln p", math.log(p), wrong.restricted, 1e-10)
    share = planes.plane_power(logits, labels, basis, "answer").share
    yield Check("exact adder", "leading frequencies found", 1.0,
                float(_leaders(logits, labels, basis) == list(keys)), 0)  # fmt: skip
    yield Check("exact adder", "share of variance in the answer plane", 1.0, share, 1e-12)
    every = tuple(range(1, 15))
    yield Check("exact adder, all frequencies", "loss, ln(1 + (p-1) exp(-p/2))", math.log1p(28 * math.exp(-29 / 2)),
                planes.cross_entropy((oracles.adder_logits(p, every) / 4.5)[train], labels[train]), 1e-12)  # fmt: skip
    difference = logits[:, -a % p]
    found = planes.plane_losses(difference, _labels(p, lambda a, b: a - b), train, basis, np.array(keys), "difference")
    yield Check("exact subtractor, plane of the difference", "restricted loss", loss, found.restricted, 1e-10)
    yield Check("exact subtractor, plane of the difference", "excluded loss, ln p", math.log(p), found.excluded, 1e-10)


def exact_multiplier() -> Iterator[Check]:
    """The adder on logarithms: its planes are those of the multiplicative basis."""
    p, keys = 29, (2, 5, 9)
    labels, train = _labels(p, lambda a, b: a * b), np.ones((p, p), bool)
    logits, basis = oracles.multiplier_logits(p, keys), bases.multiplicative(p)
    yield Check("exact multiplier", "accuracy", 1.0, float((logits.argmax(2) == labels).mean()), 0)
    yield Check("exact multiplier", "leading frequencies found", 1.0,
                float(_leaders(logits, labels, basis) == list(keys)), 0)  # fmt: skip
    found = planes.plane_losses(logits, labels, train, basis, np.array(keys), "sum")
    yield Check(
        "exact multiplier, plane of the sum of logarithms",
        "restricted - full loss",
        0.0,
        found.restricted - found.full,
        1e-9,
    )
    yield Check("exact multiplier", "additive leading frequencies", 0.0,
                float(len(_leaders(logits, labels, bases.additive(p)))), 0)  # fmt: skip


def transformer() -> Iterator[Check]:
    """A ReLU transformer set by hand, through the whole analysis."""
    keys = (4, 19, 31, 44)
    task, config = modular_task(TaskConfig()), furuta2024(TaskConfig())
    weights = oracles.relu_adder(P, keys)
    tokens = torch.from_numpy(task.examples("all").tokens)
    logits = read_out(weights, tokens).logits[:, :P]
    labels = torch.from_numpy(task.labels[0])
    yield Check("transformer set by hand", "accuracy", 1.0, float((logits.argmax(1) == labels).double().mean()), 0)
    a, b = task.operands.T
    w = 2 * np.pi * np.array(keys) / P
    closed = sum(np.abs(np.cos(x * (a - b) / 2))[:, None] * np.cos(x * ((a + b)[:, None] - np.arange(P))) for x in w)
    ratio = 127 * 2 / (3 * math.pi)
    yield Check("transformer set by hand", "logits / (n 2/(3 pi)) vs |cos| cos, largest error", 0.0,
                float(np.abs(logits.numpy() / ratio - closed).max()), 2e-3)  # fmt: skip
    found = analyse(task, config, {k: 0.05 * v if k == "unembed.W_U" else v for k, v in weights.items()}, 0, draws=99)
    yield Check("transformer set by hand", "key frequencies found", 1.0, float(found.key_frequencies == keys), 0)
    for site in ("W_E", "W_L"):
        yield Check("transformer set by hand", f"FFD of {site}", 4 / 48, found.measures["additive"][site]["ffd"], 1e-12)
        yield Check(
            "transformer set by hand",
            f"FCR of {site} where defined",
            1.0,
            found.measures["additive"][site]["fcr"],
            1e-9,
        )
    losses = found.losses["additive"]["sum"]
    yield Check(
        "transformer set by hand", "excluded above chance", 1.0, float(losses["excluded"] > 0.9 * math.log(P)), 0
    )
    yield Check(
        "transformer set by hand", "controls leave the loss", 0.0, max(losses["control"]) - losses["full_train"], 1e-6
    )
    generator = np.random.default_rng(0)
    free = {k: torch.from_numpy(generator.standard_normal(v.shape)) * 0.1 for k, v in weights.items()}
    nothing = analyse(task, config, free, 0, draws=99)
    yield Check("random transformer", "number of key frequencies", 0.0, float(len(nothing.key_frequencies)), 0)


def neurons() -> Iterator[Check]:
    """A neuron cos wa + cos wb + cos w(a+b) is wholly explained by its frequency."""
    basis, a = bases.additive(P), np.arange(P)
    w = 2 * np.pi * 7 / P
    x, y = a[:, None], a[None, :]
    one = np.cos(w * x) + np.cos(w * y) + np.cos(w * (x + y)) + 3
    two = one + np.cos(2 * np.pi * 30 * x / P)
    shares, total = planes.explained_by_frequency(spectrum_2d(np.stack([one, two], 2), basis), basis)
    yield Check("neuron of one frequency", "share explained by k = 7", 1.0, float(shares[6, 0]), 1e-12)
    yield Check("neuron of two frequencies", "share explained by k = 7", 0.75, float(shares[6, 1]), 1e-12)
    yield Check("neuron of one frequency", "centred squared norm", 1.5, float(total[0]) / P**2, 1e-10)


def loss_forms() -> Iterator[Check]:
    """The margin form keeps its accuracy where float64 log-softmax is already zero."""
    for margin in (20.0, 60.0, 300.0):
        logits = np.zeros((1, P))
        logits[0, 3] = margin
        exact = (P - 1) * math.exp(-margin)
        exact -= exact**2 / 2
        yield Check(
            f"margin {margin:.0f}", "loss / exact", 1.0, planes.cross_entropy(logits, np.array([3])) / exact, 1e-10
        )
    logits = torch.zeros(1, P, dtype=torch.float64)
    logits[0, 3] = 60.0
    yield Check("margin 60, float64 log-softmax", "loss", 0.0, float(-logits.log_softmax(1)[0, 3]), 0)


def step() -> Iterator[Check]:
    """The exact step against the plain forward over all positions and its backward pass, in float64."""
    for name, model, extra in (("furuta2024", ModelConfig(), 5),
                               ("nanda2023", ModelConfig(positions=True, biases=True, readout="equals", init="nanda2023"), 1)):  # fmt: skip
        p = 31
        task = modular_task(TaskConfig(modulus=p))
        every = task.examples("all", model.readout)
        tokens, labels, which = task.examples("train", model.readout)
        weights = initial_weights(model, p + extra, 3, 1, torch.float64)
        generator = torch.Generator().manual_seed(0)
        for key in weights:
            if key.endswith(("b_in", "b_out")):
                weights[key] = torch.randn(weights[key].shape, generator=generator, dtype=torch.float64) * 0.1
        leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
        logits = plain.forward(leaves, torch.from_numpy(tokens)).logits[:, -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        gradient = torch.autograd.grad(loss, list(leaves.values()))
        expected = dict(zip(leaves, gradient, strict=True))
        rows = row_map(every.tokens, model.positions)
        examples = example_set(tokens, labels, which, 1, rows)
        for kind in ("float64", "margin"):
            stacked = TableStep(model, rows, [weights], OptimiserConfig(loss=kind))
            x = stacked.stack([examples])
            answers = {
                "PyTorch": (stacked.loss_and_gradient(x).item(), stacked.logits(x)[0].numpy(), stacked.gradients())
            }
            answers["PyTorch"][1][examples.order] = answers["PyTorch"][1].copy()
            if library("double") is not None:
                fused = FusedStep(model, rows, weights, OptimiserConfig(loss=kind), threads=2)
                answers["compiled"] = (fused.loss_and_gradient(examples)[0], fused.logits(examples), fused.gradients())
            for how, (own_loss, own_logits, gradients) in answers.items():
                where = f"exact step, {how}, {name}, {kind} loss"
                reference = logits.detach().numpy()
                far = float(np.abs(own_logits - reference).max() / np.abs(reference).max())
                worst = max(float((gradients[key] - true).norm() / true.norm()) for key, true in expected.items())
                yield Check(where, "loss", loss.item(), own_loss, 1e-10)
                yield Check(where, "logits, relative error", 0.0, far, 1e-10)
                yield Check(where, "worst gradient, relative error", 0.0, worst, 1e-10)


def milestone_times() -> Iterator[Check]:
    """A curve that crosses, falls back, holds: first < sustained < stable."""
    accuracy = [0.1, 0.99, 0.5, 0.99, 0.99, 0.995, 0.98, 1.0, 1.0]
    history = [
        {"step": 100 * i, "train_accuracy": 1.0 if i else 0.2, "test_accuracy": x} for i, x in enumerate(accuracy)
    ]
    found = milestones(history)
    for name, expected in (("memorised", 100), ("first", 100), ("sustained", 300), ("stable", 700)):
        yield Check("oscillating curve", name, expected, float(getattr(found, name)), 0)


def logarithms() -> Iterator[Check]:
    """log(xy) = log x + log y."""
    log, a = discrete_logarithms(P), np.arange(1, P)
    wrong = (log[np.outer(a, a) % P] != (log[a][:, None] + log[a]) % (P - 1)).sum()
    yield Check("discrete logarithm", "violations of log xy = log x + log y", 0, float(wrong), 0)


ORACLES: dict[str, Callable[[], Iterator[Check]]] = FOURIER_ORACLES | {
    oracle.__name__: oracle
    for oracle in (
        logarithms, leaders, exact_adder, exact_multiplier, neurons, transformer, loss_forms, step, milestone_times,
    )
} | LANGUAGE_ORACLES | SWEEP_ORACLES | GEOMETRY_ORACLES  # fmt: skip
"""Name -> generator of checks."""


def selftest(only: tuple[str, ...] = ()) -> list[Check]:
    """Run all oracles (or those named) and return every comparison.

    Args:
        only: Keys of ORACLES; all if empty.
    """
    return [check for name, oracle in ORACLES.items() if not only or name in only for check in oracle()]
