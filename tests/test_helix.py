"""The helix against planted coefficients and the closed forms of chance."""

import numpy as np
import pytest

from epicycle.analysis.builders import answer_builders
from epicycle.analysis.helix import number_helix
from epicycle.analysis.prompt_pairs import find_operand
from epicycle.errors import ConfigError
from epicycle.fourier.helix import fit, held_out, helix_design, levels, nested, polynomial_design
from epicycle.models.language import language_model
from epicycle.models.language_oracle import (
    ATTENTION_LAYER,
    MLP_LAYER,
    NUM_LAYERS,
    NumberTokenizer,
    wave_writer,
    wave_writer_answer,
)
from epicycle.tasks.prompts import PromptConfig

N = np.arange(100)


def test_planted_coefficients_come_back():
    design = helix_design(N)
    planted = np.random.default_rng(0).standard_normal((8, 300))
    table = 7 + design.columns @ planted
    found = fit(table, design)
    assert np.abs(found.coefficients - planted).max() <= 1e-8
    assert np.abs(found.centre - 7).max() <= 1e-8 and found.explained == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(held_out(table, design), table, atol=1e-8)


def test_the_sine_of_period_2_cannot_be_identified():
    design = helix_design(N)
    assert design.unidentifiable == ("sin 2",)
    assert design.names == ("a", "cos 2", "cos 5", "sin 5", "cos 10", "sin 10", "cos 100", "sin 100")
    assert np.linalg.matrix_rank(design.columns) == 8
    assert np.corrcoef(N, np.sin(2 * np.pi * N / 100))[0, 1] == pytest.approx(-(6**0.5) / np.pi, abs=2e-2)
    assert helix_design(N, linear=False).names[0] == "cos 2"


def test_random_activations_explain_eight_of_ninety_nine():
    design = helix_design(N)
    found = [fit(np.random.default_rng(s).standard_normal((100, 400)), design, None) for s in range(20)]
    assert np.mean([f.explained for f in found]) == pytest.approx(8 / 99, abs=0.002)
    assert found[0].chance == 8 / 99
    cubic = [
        fit(np.random.default_rng(s).standard_normal((100, 400)), polynomial_design(N, 3), None) for s in range(20)
    ]
    assert np.mean([f.explained for f in cubic]) == pytest.approx(3 / 99, abs=0.002)
    white = np.random.default_rng(0).standard_normal((100, 400))
    left = ((held_out(white, design) - white) ** 2).sum() / ((white - white.mean(0)) ** 2).sum()
    assert left > 1  # held-out prediction of noise is worse than the mean


def test_periodic_parts_add_by_angle():
    """B(a + b) is bilinear in B(a) and B(b) for the waves: products of the operands' waves hold the sum's, the operands alone do not."""
    a, b = np.meshgrid(np.arange(20), np.arange(20), indexing="ij")
    waves = lambda x: np.stack([np.cos(2 * np.pi * x / 10), np.sin(2 * np.pi * x / 10)], -1).reshape(-1, 2)  # noqa: E731
    rows = waves(a + b) @ np.random.default_rng(0).standard_normal((2, 16))
    both = np.concatenate([waves(a), waves(b)], 1)
    products = (waves(a)[:, :, None] * waves(b)[:, None]).reshape(-1, 4)
    assert nested(both, products).shares(rows) == (pytest.approx(0, abs=0.02), pytest.approx(1.0, abs=0.02))
    assert nested(both, waves(a + b)).shares(rows) == (pytest.approx(0, abs=0.02), pytest.approx(1.0, abs=0.02))
    line = np.stack([(a + b).ravel()], 1).astype(float)
    first, added = nested(np.concatenate([levels(a.ravel()), levels(b.ravel())], 1), levels((a + b).ravel())).shares(
        line
    )
    assert first == pytest.approx(1.0, abs=1e-9) and added == pytest.approx(0, abs=1e-9)


def test_noise_shares_nothing():
    generator = np.random.default_rng(1)
    found = [
        nested(generator.standard_normal((200, 9)), generator.standard_normal((200, 20))).shares(
            generator.standard_normal((200, 30))
        )
        for _ in range(30)
    ]
    np.testing.assert_allclose(np.mean(found, 0), 0, atol=0.006)
    assert np.isnan(nested(np.eye(40), np.eye(40)).shares(generator.standard_normal((40, 3)))).all()


@pytest.mark.parametrize("periods", [(2.0, 100.0), (1.5,)])
def test_bad_periods(periods):
    with pytest.raises(ConfigError, match="expected"):
        helix_design(np.arange(50), periods)


@pytest.fixture(scope="module")
def oracle():
    return language_model(wave_writer(100), NumberTokenizer(100), "oracle")


CONFIG = PromptConfig(largest_operand=49, form="bare")


def test_hand_built_modules_are_seen_for_what_they_are(oracle):
    """Attention brings the parity of a, the MLP turns b: functions of one operand each, nothing of the answer beyond."""
    found = answer_builders(
        oracle, CONFIG, oracle.space.rows(99), periods=(2.0, 5.0, 10.0), pairs=40, answer=wave_writer_answer
    )
    assert found.prompts > 1000
    assert found.operands["attention"][ATTENTION_LAYER] == pytest.approx(1.0, abs=1e-4)
    assert found.operands["mlp"][MLP_LAYER] == pytest.approx(1.0, abs=1e-4)
    for share in (found.sum, found.helix_sum):
        assert abs(share["attention"][ATTENTION_LAYER]) < 1e-3 and abs(share["mlp"][MLP_LAYER]) < 0.01
    assert found.helix_operands["attention"][ATTENTION_LAYER] == pytest.approx(1.0, abs=1e-4)
    silent = [i for i in range(NUM_LAYERS) if i != ATTENTION_LAYER]
    np.testing.assert_allclose(found.direct["attention"][silent], 0, atol=1e-5)
    np.testing.assert_allclose(found.total["attention"][silent], 0, atol=1e-5)
    # the logits are linear in what both modules write: their effects are everything, and direct is total
    both = found.direct["attention"][ATTENTION_LAYER] + found.direct["mlp"][MLP_LAYER]
    assert both == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(found.direct["mlp"][MLP_LAYER], found.total["mlp"][MLP_LAYER], atol=0.01)
    np.testing.assert_allclose(found.total["heads"][:, 0], found.total["attention"], atol=1e-5)
    # each module writes for the readout alone: nothing goes from one to another
    assert np.isfinite(found.paths).sum() == NUM_LAYERS * (2 * NUM_LAYERS - 1)
    np.testing.assert_allclose(found.paths[np.isfinite(found.paths)], 0, atol=0.01)
    np.testing.assert_allclose(found.direct["heads"][:, 0], found.direct["attention"], atol=1e-5)


def test_the_first_operand_of_the_hand_built_model(oracle):
    """Its row is parity, cosine and sine of period 100: circles of 2 and 100 describe it whole; only its parity is ever read."""
    where = find_operand(oracle, CONFIG, 0)
    assert (where.position, where.length) == (0, 2) and len(where.usable) == 50
    plain = number_helix(oracle, CONFIG, oracle.space.rows(99), periods=(2.0, 50.0), pairs=40)
    assert np.isnan(plain.effect["full"]).all() and not plain.is_right_only  # it does not add: nothing to regain
    found = number_helix(
        oracle, CONFIG, oracle.space.rows(99), periods=(2.0, 50.0), pairs=40, answer=wave_writer_answer
    )
    assert found.is_right_only
    assert found.unidentifiable == ("sin 2",) and found.columns == 4
    assert found.effect["full"][0] == pytest.approx(1.0, abs=1e-5)
    assert found.effect["helix"][0] == pytest.approx(1.0, abs=0.05)  # parity is in it, whatever the slow wave
    assert found.effect["polynomial"][0] < 0.7 and found.effect["shuffled helix"][0] < 0.7
    np.testing.assert_allclose(
        found.effect["full"][ATTENTION_LAYER + 1 :], 0, atol=1e-5
    )  # after the attention nobody reads it
    assert found.explained["helix"][0] > 0.9 > 0.3 > found.explained["shuffled helix"][0]


def test_a_helix_longer_than_the_range_is_refused(oracle):
    with pytest.raises(ConfigError, match="period 100 for a helix over 50 numbers"):
        number_helix(oracle, CONFIG, oracle.space.rows(99), periods=(10.0, 100.0))
