"""Oracles of geometry, probes, helices and digits: closed forms of tables that were made to have them.

To add an oracle: a generator of `Check`s and one entry in GEOMETRY_ORACLES.
"""

from collections.abc import Callable, Iterator

import numpy as np

from epicycle.analysis.checks import Check
from epicycle.analysis.digits import digit_probes
from epicycle.analysis.probes import probe
from epicycle.fourier.geometry import harmonic_power, scatter, unreadable
from epicycle.fourier.helix import fit, helix_design, levels, nested

N = np.arange(100)


def scatter_identities() -> Iterator[Check]:
    """Tr S_B = Phi_T / N, and the Fisher ratio between its bounds."""
    table = np.random.default_rng(0).standard_normal((120, 20))
    for period in (2, 5, 10):
        found = scatter(table, period)
        yield Check(
            "scatter of residues",
            f"Tr S_B - Phi_{period} / N",
            0,
            found.between_trace - found.phi / found.numbers,
            1e-10,
        )
        inside = found.fisher_low <= found.fisher * (1 + 1e-9) and found.fisher <= found.fisher_high * (1 + 1e-9)
        yield Check("scatter of residues", f"Fisher ratio of {period} between its bounds", 1, float(inside), 0)
    power = (np.abs(np.fft.fft(table, axis=0)) ** 2).sum(1) / 120
    yield Check(
        "scatter of residues",
        "Phi_10 against numpy's transform",
        float(power[12::12].sum()),
        harmonic_power(table, 10),
        1e-9,
    )


def power_without_separability() -> Iterator[Check]:
    """A table with all the power one likes at period 10 and no linear read-out; and a circle, which is read without error."""
    table = unreadable(200, 10, 100.0)
    yield Check(
        "power without separability",
        "Phi_10 / closed form",
        1,
        harmonic_power(table, 10) / (200 * 100.0**2 * 99 / 12),
        1e-9,
    )
    read = probe(table, np.arange(200) % 10, 10, controls=9)
    yield Check("power without separability", "kappa of the linear probe", 0, read.linear, 0.02)
    circle = np.stack([np.cos(2 * np.pi * N / 10), np.sin(2 * np.pi * N / 10)], 1)
    read = probe(circle, N % 10, 10, controls=9)
    yield Check("circle of period 10", "kappa of the linear probe", 1, read.linear, 1e-12)
    yield Check("circle of period 10", "kappa of the circular probe", 1, read.circular, 1e-12)


def planted_helix() -> Iterator[Check]:
    """Coefficients come back; the sine of period 2 does not exist; chance is rank / (N - 1)."""
    design = helix_design(N)
    planted = np.random.default_rng(0).standard_normal((8, 300))
    found = fit(design.columns @ planted, design)
    yield Check(
        "planted helix", "largest error of a coefficient", 0, float(np.abs(found.coefficients - planted).max()), 1e-8
    )
    yield Check("planted helix", "columns of T = 2, 5, 10, 100 and a line", 8, float(len(design.names)), 0)
    yield Check("planted helix", "sin 2 named as unidentifiable", 1, float(design.unidentifiable == ("sin 2",)), 0)
    explained = [fit(np.random.default_rng(s).standard_normal((100, 300)), design, None).explained for s in range(10)]
    yield Check("planted helix", "R^2 of white rows", 8 / 99, float(np.mean(explained)), 0.004)


def angle_addition() -> Iterator[Check]:
    """Waves of a + b are no sum of waves of a and of b, and all of it is in their products."""
    a, b = (x.ravel() for x in np.meshgrid(np.arange(20), np.arange(20), indexing="ij"))
    rows = np.stack([np.cos(2 * np.pi * (a + b) / 10), np.sin(2 * np.pi * (a + b) / 10)], 1)
    first, added = nested(np.concatenate([levels(a), levels(b)], 1), levels(a + b)).shares(rows)
    chance = 1 - 399 / (
        399 - 38
    )  # over all pairs not even by chance: R^2 is 0, its adjustment for 38 free columns of 399 is not
    yield Check("angle addition", "operands explain, adjusted", chance, first, 1e-9)
    yield Check("angle addition", "operands and sum together", 1, first + added, 1e-9)


def planted_digit() -> Iterator[Check]:
    """A circle of the tens digit is read in base 10 at place 1, and at no other place."""
    n = np.arange(200)
    generator = np.random.default_rng(0)
    tens = np.stack(
        [np.cos(2 * np.pi * (n // 10 % 10) / 10), np.sin(2 * np.pi * (n // 10 % 10) / 10)], 1
    ) @ generator.standard_normal((2, 12))
    found = digit_probes([tens], ["tens"])
    yield Check("planted digit", "kappa of the tens", 1, float(found.at(10, 1)[0]), 1e-12)
    yield Check("planted digit", "kappa of the units", 0, float(found.at(10, 0)[0]), 0.15)


GEOMETRY_ORACLES: dict[str, Callable[[], Iterator[Check]]] = {
    "scatter of residues": scatter_identities, "power without separability": power_without_separability, "planted helix": planted_helix,
    "angle addition": angle_addition, "planted digit": planted_digit,
}  # fmt: skip
"""Name -> its checks."""
