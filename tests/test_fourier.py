import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicycle.errors import ConfigError, DataError
from epicycle.fourier import bands, bases, nulls, planes
from epicycle.fourier.measures import fcr, ffd, gini
from epicycle.fourier.spectra import FourierNorms, fourier_norms, heat_map, spectrum_2d


@pytest.mark.parametrize("n", [2, 3, 5, 12, 13, 96, 97, 520])
@pytest.mark.parametrize("name", bases.BASES)
def test_every_basis_is_orthonormal(name, n):
    if name == "multiplicative" and n not in (5, 13, 97):
        pytest.skip("the multiplicative basis needs an odd prime")
    basis = bases.BASES[name](n)
    assert np.abs(basis.rows @ basis.rows.T - np.eye(n)).max() < 1e-12
    rows = [*basis.cosine, *basis.sine[basis.sine >= 0], basis.constant, *basis.other]
    assert sorted(rows) == list(range(n))


@given(st.integers(2, 60), st.integers(0, 2**31))
def test_norms_are_those_of_numpy_fft(n, seed):
    table = np.random.default_rng(seed).standard_normal((n, 3))
    norms, fft = fourier_norms(table, bases.additive(n)), np.fft.rfft(table, axis=0)
    factor = np.where(2 * norms.frequency == n, 1, 2) / n
    np.testing.assert_allclose(norms.cosine**2, factor * (fft.real[1:] ** 2).sum(1), rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(
        np.nan_to_num(norms.sine) ** 2, factor * (fft.imag[1:] ** 2).sum(1), rtol=1e-9, atol=1e-20
    )


@given(st.integers(1, 96), st.integers(0, 2**31))
def test_a_shift_changes_phases_only(shift, seed):
    table = np.random.default_rng(seed).standard_normal((97, 4))
    basis = bases.additive(97)
    np.testing.assert_allclose(
        fourier_norms(np.roll(table, shift, 0), basis).power, fourier_norms(table, basis).power, rtol=1e-9
    )


def test_multiplying_by_a_unit_permutes_the_frequencies():
    table = np.random.default_rng(0).standard_normal((97, 4))
    moved = fourier_norms(table[np.arange(97) * 5 % 97], bases.additive(97)).power
    np.testing.assert_allclose(np.sort(moved), np.sort(fourier_norms(table, bases.additive(97)).power), rtol=1e-9)


def test_relabelled_basis_finds_a_relabelled_wave():
    label = np.arange(97) ** 5 % 97  # a bijection, since gcd(5, 96) = 1
    wave = np.cos(2 * np.pi * 9 * label / 97)[:, None]
    norms = fourier_norms(wave, bases.relabelled(97, label))
    assert norms.frequency[norms.share.argmax()] == 9 and norms.share.max() > 1 - 1e-12
    with pytest.raises(ConfigError, match="not a bijection"):
        bases.relabelled(97, np.arange(97) ** 3 % 97)


def _norms(cosine, sine):
    k = np.arange(1, len(cosine) + 1)
    return FourierNorms(k, 1 / k, np.array(cosine, float), np.array(sine, float), 0.0, 0.0)


def test_ffd_by_hand():
    norms = _norms([4, 2, 2.1, 0], [1, 0.5, 0.6, 0])
    assert ffd(norms) == 4 / 8  # strict: 2 is not above half of 4, nor 0.5 above half of 1
    assert ffd(norms, joint=True) == 2 / 8
    assert ffd(norms, threshold=0.4) == 6 / 8
    assert np.isnan(ffd(_norms([0, 0], [0, 0])))


def test_fcr_by_hand():
    found = fcr(_norms([4, 1, 0], [2, 4, 0]))
    assert found.value == pytest.approx((0.5 + 0.25) / 2) and found.coverage == pytest.approx(2 / 3)


def test_gini_by_its_definition():
    x = np.random.default_rng(0).random(20)
    mean_difference = np.abs(x[:, None] - x).mean()
    assert gini(x) == pytest.approx(mean_difference / (2 * x.mean()))


def test_two_dimensional_spectrum_is_separable():
    basis, generator = bases.additive(13), np.random.default_rng(0)
    f, g = generator.standard_normal((2, 13))
    both = spectrum_2d(np.outer(f, g)[..., None], basis)[..., 0]
    np.testing.assert_allclose(both, np.outer(basis.rows @ f, basis.rows @ g), atol=1e-12)
    grid = generator.standard_normal((13, 13, 5))
    assert (heat_map(spectrum_2d(grid, basis)) ** 2).sum() == pytest.approx((grid**2).sum())


@pytest.mark.parametrize("plane", ["sum", "difference"])
def test_planes_are_unit_waves_of_the_sum_and_difference(plane):
    basis, a = bases.additive(13), np.arange(13)
    cosine, sine = planes.plane_directions(basis, 4, plane)
    angle = 2 * np.pi * 4 * (a[:, None] + (1 if plane == "sum" else -1) * a) / 13
    np.testing.assert_allclose(cosine, np.cos(angle) * 2**0.5 / 13, atol=1e-12)
    np.testing.assert_allclose(sine, np.sin(angle) * 2**0.5 / 13, atol=1e-12)


def test_answer_plane_is_the_sum_plane_for_addition():
    basis, a = bases.additive(13), np.arange(13)
    labels = (a[:, None] + a) % 13
    logits = np.random.default_rng(0).standard_normal((13, 13, 13))
    answer = planes.plane_power(logits, labels, basis, "answer").power
    total = planes.plane_power(logits, labels, basis, "sum").power
    np.testing.assert_allclose(answer, total, rtol=1e-9)


@pytest.mark.parametrize(
    ("answer", "p", "basis", "expected"),
    [
        (lambda a, b: a + b, 23, "additive", [(k,) for k in range(1, 12)]),
        # squares have even logarithms; 11 tells only whether the sum is 0
        (lambda a, b: (a + b) ** 2, 23, "multiplicative", [*((k, 11 - k) for k in range(1, 6)), (11,)]),
        (lambda a, b: (a * b) ** 2, 23, "multiplicative", [(k, 11 - k) for k in range(1, 6)]),  # which it never is here
        # sixth powers have logarithms that are multiples of 6 modulo 30
        (lambda a, b: (a + b) ** 6, 31, "multiplicative", [(1, 4, 6, 9, 11, 14), (2, 3, 7, 8, 12, 13), (5, 10, 15)]),
        # 1 and -1 and 0: odd frequencies tell the signs apart, even ones whether it is 0
        (lambda a, b: (a + b) ** 11, 23, "multiplicative", [(1, 3, 5, 7, 9, 11), (2, 4, 6, 8, 10)]),
        (lambda a, b: (a + b) ** 2, 23, "additive", [(k,) for k in range(1, 12)]),
        (lambda a, b: 0 * a * b, 23, "additive", []),
    ],
)
def test_frequencies_that_are_one_wave_of_the_answer(answer, p, basis, expected):
    a = np.arange(p).astype(object)
    labels = (answer(a[:, None], a) % p).astype(int)
    assert planes.same_waves(bases.BASES[basis](p), labels) == tuple(expected)


def test_a_single_wave_leads():
    """(a + b)^22 modulo 23 is 1, but where the sum is 0: every wave is the same one, and all there is."""
    p, basis = 23, bases.additive(23)
    labels = np.where(np.add.outer(np.arange(p), np.arange(p)) % p == 0, 0, 1)
    logits = np.eye(p)[labels] * 5
    found = planes.plane_power(logits, labels, basis, "answer")
    assert found.share == pytest.approx(1) and planes.leading_frequencies(found, basis).tolist() == [1]


@pytest.mark.parametrize("basis", ["additive", "multiplicative"])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_share_of_the_answer_plane_is_that_of_a_projection(basis, power):
    """Against numpy's least squares on all waves at once; (a + b)^2 takes 9 values of 17, so that its waves overlap."""
    p, chosen = 17, bases.BASES[basis](17)
    a = np.arange(p)
    labels = (a[:, None] + a) ** power % p
    logits = np.random.default_rng(power).standard_normal((p, p, p)) + 2 * np.eye(p)[labels]
    inside = np.outer(chosen.support, chosen.support)
    flat = logits[inside] - logits[inside].mean(0)
    wave = [planes.plane_directions(chosen, int(k), "answer", labels)[:, inside] for k in chosen.frequency]
    design = np.concatenate(wave).T
    design = design - design.mean(0)
    fitted = design @ np.linalg.lstsq(design, flat, rcond=1e-9)[0]
    found = planes.plane_power(logits, labels, chosen, "answer")
    assert found.share == pytest.approx((fitted**2).sum() / (flat**2).sum(), rel=1e-9) and found.share < 1


def test_control_sets_are_other_waves_than_the_keys():
    """Logits of (a + b)^2 modulo 23 that are one wave of the answer's logarithm: what it is also called is no control."""
    p, basis = 23, bases.multiplicative(23)
    a = np.arange(p)
    labels = (a[:, None] + a) ** 2 % p
    wave = basis.rows[[basis.cosine[1], basis.sine[1]]][:, labels].reshape(2, p, p)
    logits = 60 * np.einsum("fab,fc->abc", wave, basis.rows[[basis.cosine[1], basis.sine[1]]])
    keys = planes.leading_frequencies(planes.plane_power(logits, labels, basis, "answer"), basis)
    assert keys.tolist() == [2]  # not 9 besides
    found = planes.plane_losses(logits, labels, np.ones((p, p), bool), basis, keys, "answer", controls=60)
    assert found.rank == 2 and found.excluded > found.full + 0.3
    # the waves of the answer overlap a little, since 0 is the answer less often than a square is
    assert max(found.control) < found.full + 0.01
    np.testing.assert_allclose(found.excluded_each, found.excluded)
    other = planes.plane_losses(logits, labels, np.ones((p, p), bool), basis, np.array([9]), "answer", controls=60)
    assert (other.excluded, max(other.control)) == pytest.approx(
        (found.excluded, max(found.control))
    )  # by its other name


def test_a_long_zero_makes_no_frequency_stand_out_among_logarithms():
    """0 has no logarithm: how long its row is changes no p-value."""
    table = np.random.default_rng(3).standard_normal((23, 16))
    longer = table.copy()
    longer[0] *= 30
    for null in nulls.NULLS:
        one, other = (nulls.null_test(t, bases.multiplicative(23), null, 99) for t in (table, longer))
        np.testing.assert_array_equal(one.p_value, other.p_value)


def test_fcr_leaves_out_what_rounding_leaves_of_a_frequency():
    """A float32 table without frequency 2, against the same in float64."""
    basis = bases.additive(23)
    table = np.random.default_rng(0).standard_normal((23, 32))
    rows = basis.rows[[basis.cosine[1], basis.sine[1]]]
    exact = fcr(fourier_norms(table - rows.T @ (rows @ table), basis))
    rounded = fcr(fourier_norms((table.astype(np.float32) - (rows.T @ (rows @ table)).astype(np.float32)), basis))
    assert exact.coverage == rounded.coverage == pytest.approx(10 / 11)
    assert rounded.value == pytest.approx(exact.value, rel=1e-5)


def test_margin_cross_entropy_is_that_of_torch():
    import torch

    generator = np.random.default_rng(0)
    logits, labels = generator.standard_normal((50, 7)), generator.integers(0, 7, 50)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    assert planes.cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-12)


def test_bands_cut_by_period():
    for n in (100, 97, 521, 1000):
        basis = bases.additive(n)
        low, high = bands.band(basis, "low"), bands.band(basis, "high")
        assert (n / high.frequency <= 10.4 + 1e-9).all() and (n / low.frequency > 10.4).all()
        assert len(low.frequency) + len(high.frequency) == n // 2


def test_nulls_keep_what_they_say_they_keep():
    generator = np.random.default_rng(0)
    table = np.arange(35.0)[:, None]
    decades = nulls.permuted_within_decades(table, generator)
    assert (decades // 10 == table // 10).all() and (decades != table).any()
    assert sorted(nulls.permuted(table, generator)[:, 0]) == list(range(35))
    assert np.abs(nulls.detrended(np.outer(np.arange(20.0), [1, -2]) + 5)).max() < 1e-12
    np.testing.assert_allclose(nulls.ramp(table, generator), table, atol=1e-12)


def test_frequency_control():
    counts = 1 / (1 + np.arange(50.0)) + (np.arange(50) % 10 == 0)
    table = nulls.frequency_table(counts, 8)
    assert np.ptp(nulls.without_frequency(table, counts), axis=0).max() < 1e-12


def test_null_test_ignores_rotations_of_the_channels():
    generator = np.random.default_rng(0)
    table = generator.standard_normal((20, 30))
    rotation = np.linalg.qr(generator.standard_normal((30, 30)))[0]
    first, second = (nulls.null_test(t, bases.additive(20), "permuted", 49) for t in (table, table @ rotation))
    np.testing.assert_array_equal(first.p_value, second.p_value)


def test_tables_that_are_refused():
    with pytest.raises(DataError, match=r"got a table of 5 rows for a basis over 7 numbers.*Transpose"):
        fourier_norms(np.ones((5, 2)), bases.additive(7))
    with pytest.raises(DataError, match=r"with 1 values that are NaN or infinite; a spectrum needs finite numbers"):
        fourier_norms(np.array([[1.0], [np.nan], [0.0]]), bases.additive(3))
    with pytest.raises(ConfigError, match="needs at least 2"):
        bases.additive(1)


def test_spikes_of_token_frequency_are_no_news_to_its_null():
    generator = np.random.default_rng(0)
    counts = 1000.0 / (1 + np.arange(100)) * (1 + 4 * (np.arange(100) % 10 == 0)) * (1 + (np.arange(100) % 5 == 0))
    table = nulls.frequency_table(counts, 8) * 3 + 0.3 * generator.standard_normal((100, 8))
    basis = bases.additive(100)
    raw = nulls.null_test(table - table.mean(0), basis, "within decades", 199)
    known = nulls.null_test(table - table.mean(0), basis, "token frequency", 199, draw=nulls.token_frequency(counts))
    assert raw.p_family[19] <= 0.01 < 0.5 < known.p_family[19]
    with pytest.raises(DataError, match="got token frequencies between 3 and 3; expected finite counts"):
        nulls.token_frequency(np.full(5, 3.0))


@pytest.mark.parametrize("draws", [19, 99])
def test_family_wise_level_holds_with_few_draws(draws):
    """On pure noise some frequency is called beyond the null at 5 % in about 5 % of tables; 300 tables, exact binomial bounds."""
    basis, generator = bases.additive(60), np.random.default_rng(0)
    hits = sum(
        nulls.null_test(generator.standard_normal((60, 1)), basis, "permuted", draws, seed=i).p_family.min() <= 0.05
        for i in range(300)
    )
    assert 5 <= hits <= 27  # 99.9 % of a binomial with 300 and 0.05


def test_decades_are_those_of_the_numbers():
    table = np.arange(25.0)[:, None] + 3  # numbers 3..27
    drawn = nulls.permuted_within_decades(table, np.random.default_rng(0), numbers=np.arange(3, 28))[:, 0]
    assert (
        set(drawn[:7]) == set(range(3, 10))
        and set(drawn[7:17]) == set(range(10, 20))
        and set(drawn[17:]) == set(range(20, 28))
    )


def test_memory_leaks_into_the_restricted_loss_and_its_floor_shows_it():
    """A table of the trained answers and noise elsewhere: the waves of the answer carry the trained rows over, and no rule is there."""
    p, generator = 23, np.random.default_rng(0)
    labels = np.add.outer(np.arange(p), np.arange(p)) % p
    train = generator.random((p, p)) < 0.6
    told = np.where(train, labels, generator.integers(0, p, (p, p)))
    table = 20.0 * np.eye(p)[told]
    keys = np.array([2, 3, 8, 9])
    found = planes.plane_losses(table, labels, train, bases.additive(p), keys, "answer", controls=0)
    assert found.full > 5 and found.restricted < np.log(p) / 2  # looks like a rule
    assert found.memory == pytest.approx(found.restricted, rel=0.25)  # and is none
    a, b, c = np.ogrid[:p, :p, :p]
    clock = 5.0 * sum(np.cos(2 * np.pi * k * (a + b - c) / p) for k in keys)
    known = planes.plane_losses(clock, labels, train, bases.additive(p), keys, "answer", controls=0)
    assert known.restricted < known.memory / 10
    assert (
        planes.plane_losses(clock, labels, np.ones_like(train), bases.additive(p), keys, "answer", controls=0).memory
        is None
    )
