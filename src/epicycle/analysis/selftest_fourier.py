"""Oracles of spectra, characters, bands and nulls: signals whose transform is known in closed form.

To add an oracle: a generator of `Check`s and one entry in FOURIER_ORACLES.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from epicycle.analysis.checks import Check
from epicycle.fourier import bands, bases, nulls
from epicycle.fourier.measures import fcr, fcr_of_noise, ffd, gini, inverse_participation_ratio, phase_bias
from epicycle.fourier.spectra import fourier_norms
from epicycle.models import oracles

P, WIDTH = 97, 128


def _rows(basis: bases.Basis, keys: tuple[int, ...], cosine: bool = True, sine: bool = True) -> np.ndarray:
    chosen = np.isin(basis.frequency, keys)
    found = [basis.cosine[chosen]] * cosine + [basis.sine[chosen]] * sine
    return basis.rows[np.concatenate(found)]


def parseval() -> Iterator[Check]:
    """Squared norms add up, for odd and even lengths; the power is that of numpy's FFT."""
    generator = np.random.default_rng(0)
    for n in (2, 12, 59, 96, 97, 521):
        table = generator.standard_normal((n, 7))
        norms = fourier_norms(table, bases.additive(n))
        total = norms.power.sum() + norms.constant**2
        yield Check(f"Parseval, n = {n}", "squared norm", 1.0, total / (table**2).sum(), 1e-12)
        fft = (np.abs(np.fft.rfft(table, axis=0)) ** 2).sum(1)[1:] / n
        fft[: len(fft) - (n % 2 == 0)] *= 2
        yield Check(
            f"numpy.fft, n = {n}", "largest error of power", 0.0, float(np.abs(norms.power / fft - 1).max()), 1e-10
        )
    table = generator.standard_normal((P, 7))
    norms = fourier_norms(table, bases.multiplicative(P))
    total = norms.power.sum() + norms.constant**2 + norms.other**2
    yield Check("Parseval, multiplicative, p = 97", "squared norm", 1.0, total / (table**2).sum(), 1e-12)


def planted_frequencies() -> Iterator[Check]:
    """K equal frequencies: FFD K/48, Gini 1 - K/48, IPR 1/K, FCR 1 where defined."""
    basis = bases.additive(P)
    for keys in ((33,), (5, 17, 40), (3, 11, 25, 36, 47)):
        name, k = f"{len(keys)} planted frequencies", len(keys)
        norms = fourier_norms(oracles.planted(_rows(basis, keys), WIDTH), basis)
        yield Check(name, "FFD", k / 48, ffd(norms), 1e-12)
        yield Check(name, "FFD, joint", k / 48, ffd(norms, joint=True), 1e-12)
        yield Check(name, "Gini of power", 1 - k / 48, gini(norms.power), 1e-9)
        yield Check(name, "IPR", 1 / k, inverse_participation_ratio(norms), 1e-9)
        yield Check(name, "FCR where defined", 1.0, fcr(norms).value, 1e-9)
        yield Check(name, "coverage of FCR", k / 48, fcr(norms).coverage, 1e-12)
        noisy = fourier_norms(oracles.planted(_rows(basis, keys), WIDTH, noise=1e-6), basis)
        yield Check(f"{name}, tiny noise", "FFD", k / 48, ffd(noisy), 1e-12)
        floor = fcr_of_noise(WIDTH)
        yield Check(f"{name}, tiny noise", "FCR", (k + (48 - k) * floor) / 48, fcr(noisy).value, 0.02)
    literal = bases.half_domain(P)
    norms = fourier_norms(oracles.planted(_rows(basis, (33,)), WIDTH), literal)
    yield Check("1 planted frequency, literal_eq5", "FFD", 0.0625, ffd(norms), 1e-12)


def white_noise() -> Iterator[Check]:
    """Floors of FFD and FCR; the expectation of FCR by quadrature."""
    basis, generator = bases.additive(P), np.random.default_rng(1)
    for width, draws in ((1, 400), (8, 100), (128, 40), (512, 10)):
        found = [fourier_norms(generator.standard_normal((P, width)), basis) for _ in range(draws)]
        spread = 4 * 0.3 / math.sqrt(width * 48 * draws)
        yield Check(f"white noise, width {width}", "FCR", fcr_of_noise(width), float(np.mean([fcr(n).value for n in found])),
                    spread)  # fmt: skip
        if width >= 128:
            yield Check(f"white noise, width {width}", "FFD", 1.0, float(np.mean([ffd(n) for n in found])), 1e-12)
    products = [
        fourier_norms(generator.standard_normal((P, 128)) @ generator.standard_normal((128, 512)), basis)
        for _ in range(20)
    ]
    yield Check(
        "product of white factors, 512 through 128",
        "FCR",
        fcr_of_noise(512, 128),
        float(np.mean([fcr(n).value for n in products])),
        0.006,
    )
    yield Check(
        "white noise, width 1",
        "FCR in closed form, 2 ln 2 / pi",
        2 * math.log(2) / math.pi,
        fcr_of_noise(1),
        1e-6,
    )
    yield Check("white noise, width 128", "FCR as commonly quoted", 0.934, fcr_of_noise(128), 1e-3)
    tables = [generator.standard_normal((P, WIDTH)) for _ in range(20)]
    yield Check("white noise, width 128", "Gini of power, 1/sqrt(pi d)", 0.049,
                float(np.mean([gini(fourier_norms(t, basis).power) for t in tables])), 0.003)  # fmt: skip


def characters() -> Iterator[Check]:
    """Multiplicative characters are dense and one-phased in the additive basis (Gauss sums), sparse in their own."""
    additive, own = bases.additive(P), bases.multiplicative(P)
    even = oracles.planted(_rows(own, (2, 4, 10, 20)), WIDTH, noise=0.0)
    noisy = even + 0.01 * np.sqrt(2 / 96) * np.random.default_rng(3).standard_normal(even.shape)
    norms = fourier_norms(noisy, additive)
    yield Check("even characters 2, 4, 10, 20", "additive FFD, published", 1.0, ffd(norms), 0.1)
    yield Check("even characters 2, 4, 10, 20", "additive FFD, joint", 0.5, ffd(norms, joint=True), 1e-12)
    yield Check("even characters 2, 4, 10, 20", "additive FCR", 0.04, fcr(norms).value, 0.01)
    yield Check("even characters 2, 4, 10, 20", "cosine bias is positive", 1.0, float(phase_bias(norms) > 0), 0)
    yield Check("even characters, no noise", "additive FCR", 0.0, fcr(fourier_norms(even, additive)).value, 1e-12)
    yield Check(
        "even characters, no noise", "multiplicative FFD, 8 of 95", 8 / 95, ffd(fourier_norms(even, own)), 1e-12
    )
    found = fourier_norms(even, own)
    top = set(found.frequency[np.argsort(-found.power)[:4]].tolist())
    yield Check("even characters, no noise", "top four are 2, 4, 10, 20", 1.0, float(top == {2, 4, 10, 20}), 0)
    mixed = oracles.planted(_rows(own, (2, 4, 6, 1)), WIDTH)
    yield Check(
        "characters 1, 2, 4, 6", "additive FCR, 1/sqrt(3)", 3**-0.5, fcr(fourier_norms(mixed, additive)).value, 0.01
    )
    for k in (1, 2, 7):
        character = _rows(own, (k,))[0] * math.sqrt(96 / 2)
        # |DFT| of a character is sqrt(p) at every frequency but 0
        spread = np.abs(np.fft.fft(character + 1j * _rows(own, (k,))[1] * math.sqrt(96 / 2)))[1:]
        yield Check(f"character {k}", "|Gauss sum|^2 / p, largest", 1.0, float(spread.max() ** 2 / P), 1e-10)
    other = bases.multiplicative(P, root=next(g for g in range(6, P) if _generates(g)))
    table = np.random.default_rng(5).standard_normal((P, 16))
    yield Check(
        "another primitive root",
        "FFD unchanged",
        ffd(fourier_norms(table, own)),
        ffd(fourier_norms(table, other)),
        1e-10,
    )
    yield Check("another primitive root", "Gini unchanged", gini(fourier_norms(table, own).power),
                gini(fourier_norms(table, other).power), 1e-10)  # fmt: skip


def _generates(g: int) -> bool:
    return len({pow(g, e, P) for e in range(P - 1)}) == P - 1


def parity() -> Iterator[Check]:
    """Functions of a^2 are even: no sine, FCR 0. Odd functions: no cosine."""
    basis, generator = bases.additive(P), np.random.default_rng(2)
    a = np.arange(P)
    even = generator.standard_normal((P, 16))[a * a % P]
    yield Check("function of a^2", "FCR", 0.0, fcr(fourier_norms(even, basis)).value, 1e-12)
    yield Check("function of a^2", "cosine bias is positive", 1.0, float(phase_bias(fourier_norms(even, basis)) > 0), 0)
    free = generator.standard_normal((P, 16))
    odd = free - free[-a % P]
    yield Check("odd function", "FCR", 0.0, fcr(fourier_norms(odd, basis)).value, 1e-12)
    yield Check("odd function", "cosine bias is negative", 1.0, float(phase_bias(fourier_norms(odd, basis)) < 0), 0)


def band_cuts() -> Iterator[Check]:
    """Low, high and constant make the whole; a band removes exactly its tones."""
    n = 520
    basis = bases.additive(n)
    low, high = bands.band(basis, "low"), bands.band(basis, "high")
    yield Check("bands at n = 520", "lowest frequency of the high band", 50, float(high.frequency.min()), 0)
    table = np.random.default_rng(4).standard_normal((n, 5))
    whole = bands.keep(table, basis, low.frequency) + bands.keep(table, basis, high.frequency) + table.mean(0)
    yield Check("bands at n = 520", "low + high + constant", 0.0, float(np.abs(whole - table).max()), 1e-12)
    tone = np.cos(2 * np.pi * np.arange(n) / 5)[:, None]
    yield Check(
        "tone of period 5",
        "left without the high band",
        0.0,
        float(np.abs(bands.remove(tone, basis, high.frequency)).max()),
        1e-12,
    )
    yield Check(
        "tone of period 5",
        "left without the low band",
        1.0,
        float(np.abs(bands.remove(tone, basis, low.frequency)).max()),
        1e-12,
    )
    printed = bases.zhou2024()
    yield Check("basis of Zhou et al. as printed", "norm of row 520", 1.4156, float(np.linalg.norm(printed[520])), 1e-4)
    yield Check("basis of Zhou et al. as printed", "rank", 520, float(np.linalg.matrix_rank(printed)), 0)
    yield Check(
        "basis of Zhou et al. as printed",
        "max |F'F - 1|",
        1.0019,
        float(np.abs(printed.T @ printed - np.eye(521)).max()),
        1e-4,
    )


def null_levels() -> Iterator[Check]:
    """A null rejects as often as it says, and a ramp is not taken for a peak once it is removed."""
    basis, generator = bases.additive(40), np.random.default_rng(6)
    tables = [generator.standard_normal((40, 6)) for _ in range(300)]
    tests = [nulls.null_test(t, basis, "permuted", 99, seed) for seed, t in enumerate(tables)]
    single = float(np.mean([t.p_value[7] <= 0.05 for t in tests]))
    family = float(np.mean([t.p_family.min() <= 0.05 for t in tests]))
    yield Check("permuted null on noise", "rejection at 5 %, one frequency", 0.05, single, 0.04)
    yield Check("permuted null on noise", "rejection at 5 %, family-wise", 0.05, family, 0.04)
    ramp = np.outer(np.arange(100.0), np.ones(8)) + 0.1 * generator.standard_normal((100, 8))
    found = nulls.null_test(nulls.detrended(ramp), bases.additive(100), "permuted", 199)
    yield Check(
        "ramp, detrended",
        "family-wise p above 0.01 at periods 2, 5, 10",
        1.0,
        float(found.p_family[[49, 19, 9]].min() > 0.01),
        0,
    )
    tone = np.cos(2 * np.pi * np.arange(100) / 5)[:, None] * np.ones(8) + generator.standard_normal((100, 8))
    found = nulls.null_test(tone, bases.additive(100), "within decades", 199)
    yield Check("tone of period 5 in noise", "family-wise p within decades", 1 / 200, float(found.p_family[19]), 1e-12)


FOURIER_ORACLES: dict[str, Callable[[], Iterator[Check]]] = {
    oracle.__name__: oracle
    for oracle in (parseval, planted_frequencies, white_noise, characters, parity, band_cuts, null_levels)
}
"""Name -> generator of checks."""
