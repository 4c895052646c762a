"""A GPT-2 with hand-set weights: the analyses must find its waves where they were put, and ablations change exactly the right answers."""

import numpy as np
import pytest
import torch

from epicycle.analysis.ablation import AblationConfig, band_ablations, removing, run_edits
from epicycle.analysis.modules import _random_vectors, readings
from epicycle.analysis.residues import ResidueSums
from epicycle.fourier.projections import band_rows, period_rows, writers
from epicycle.models.language import language_model
from epicycle.models.language_oracle import (
    ATTENTION_LAYER,
    MLP_LAYER,
    NUM_LAYERS,
    NumberTokenizer,
    wave_writer,
    wave_writer_answer,
)

N = 100


@pytest.fixture(scope="module")
def oracle():
    lm = language_model(wave_writer(N), NumberTokenizer(N), "oracle")
    a, b = (x.ravel() for x in np.meshgrid(np.arange(0, N, 3), np.arange(N), indexing="ij"))
    return lm, a, b, np.stack([a, b], 1).tolist(), wave_writer_answer(a, b, N), lm.space.rows(N - 1)


def test_waves_are_found_in_the_right_module_and_layer(oracle):
    lm, _, _, tokens, answers, ids = oracle
    lens, spectra, _, _, final = readings(lm, tokens, answers, ids)
    assert (final.argmax(1) == answers).all()
    assert lens.exact[MLP_LAYER + 1] == lens.exact[-1] == 1.0
    assert lens.exact[MLP_LAYER] < 0.05  # before the MLP only the parity is there
    parity, slow = N // 2 - 1, N // 100 - 1
    for layer in range(NUM_LAYERS):
        for values, home, k in ((spectra.attention, ATTENTION_LAYER, parity), (spectra.mlp, MLP_LAYER, slow)):
            others = np.delete(values[layer], k)
            assert others.max() < 1e-5
            assert (values[layer, k] > 0.1) == (layer == home)
    # the amplitudes as set: 0.05 (-1)^n has coefficient 0.05 sqrt(N), a unit cosine sqrt(N / 2)
    np.testing.assert_allclose(spectra.attention[ATTENTION_LAYER, parity], 0.05 * N**0.5, rtol=1e-5)
    np.testing.assert_allclose(spectra.mlp[MLP_LAYER, slow], (N / 2) ** 0.5, rtol=1e-3)


def test_removing_a_wave_changes_exactly_the_right_answers(oracle):
    lm, a, b, tokens, answers, ids = oracle
    table = lm.number_readout(ids)[0].double().numpy()
    low, high = (writers(band_rows(N, name), table) for name in ("low", "high"))
    assert (len(low), len(high)) == (2, 1)
    edits = [removing(v, [kind], lm.device) for v in (low, high) for kind in ("attn", "mlp")]
    no_low_attention, no_low_mlp, no_high_attention, no_high_mlp = run_edits(lm, tokens, answers, ids, edits)
    assert (no_low_attention.answers == answers).all()
    assert (no_high_mlp.answers == answers).all()
    assert (no_high_attention.answers == b).all()  # without the parity the nearest number to b + 1/4 is b
    assert ((no_low_mlp.answers - a) % 2 == 0).all()  # without the slow wave only the parity is right
    assert no_low_mlp.accuracy < 0.1


def test_filtering_everywhere_agrees_where_only_the_answer_position_writes(oracle):
    lm, _, b, tokens, answers, ids = oracle
    high = writers(band_rows(N, "high"), lm.number_readout(ids)[0].double().numpy())
    [found] = run_edits(lm, tokens, answers, ids, [removing(high, ["attn"], lm.device)], positions="all")
    assert (found.answers == b).all()


def test_the_table_of_ablations_has_its_controls(oracle):
    lm, _, _, tokens, answers, ids = oracle
    found = band_ablations(lm, tokens[:1000], answers[:1000], ids, AblationConfig(controls=2))
    assert found.row("none", "none")["accuracy"] == 1.0
    assert found.row("attn", "high")["accuracy"] == 0.5
    assert min(found.row("attn", "high")["controls"]["width"]["accuracy"]) > 0.9
    assert (
        0.6 < found.row("attn", "high")["control_accuracy"] < 1.0
    )  # random directions inside the three that the logits see
    assert found.row("attn", "high")["errors"]["off_by_one"] > 0.9  # b for b + 1, and N - 1 for 0
    assert found.row_rank == 3
    for row in found.rows[1:]:
        assert set(row["controls"]) == {"width", "row space"}
        assert len(row["controls"]["width"]["accuracy"]) == 2


def test_residues_and_phases_of_the_hand_built_model(oracle):
    lm, a, b, tokens, answers, ids = oracle
    _, _, residues, phases, _ = readings(lm, tokens, answers, ids)
    even = residues.share("attention", 2)
    assert even[ATTENTION_LAYER] == pytest.approx(1.0, abs=1e-4) and residues.share("attention", 10)[
        ATTENTION_LAYER
    ] == pytest.approx(1.0, abs=1e-4)
    assert (
        residues.control("attention")[ATTENTION_LAYER] < 0.05
        and residues.attention_shuffled[ATTENTION_LAYER].max() < 0.2
    )
    assert residues.mlp_smooth[MLP_LAYER] > 0.9 and residues.attention_smooth[ATTENTION_LAYER] < 0.05
    assert residues.share("mlp", 2)[MLP_LAYER] < 0.05
    even_wave, slow = phases.at(2), phases.at(100)
    assert phases.hit[even_wave] == 1.0 and phases.error[even_wave] == pytest.approx(0, abs=1e-6)
    # the slow wave peaks a quarter of a number above b, and the answer is b or b + 1: at 0.25 or 0.75 from it
    same = (a + b) % 2 == 0
    assert phases.hit[slow] == pytest.approx(same.mean(), abs=1e-9)
    assert phases.error[slow] == pytest.approx(0.5, abs=0.26)
    assert (phases.hit_chance[even_wave], phases.chance[slow]) == (0.5, 25.0)


def test_share_explained_is_that_of_least_squares(oracle):
    """Against numpy.linalg.lstsq on a made-up module's logits."""
    generator = np.random.default_rng(0)
    n = np.arange(60)
    logits = generator.standard_normal((2, 1, 3, 60)) + 2 * (n % 5 == 2) + 0.1 * n
    sums = ResidueSums(60, 1, torch.device("cpu"))
    sums.add(torch.as_tensor(logits, dtype=torch.float32))
    found = sums.result({"isotropic": torch.randn(400, 60, generator=torch.Generator().manual_seed(0))})
    assert abs(found.anyhow(5)) < 0.02
    smooth = np.vander(n / 60, 4)
    for m in (2, 5, 7):
        classes = np.concatenate([smooth, np.eye(m)[n % m][:, 1:]], 1)
        shares = []
        for x in logits[0, 0]:
            rest = [np.sum((x - d @ np.linalg.lstsq(d, x)[0]) ** 2) for d in (smooth, classes)]
            shares.append(1 - (rest[1] / (60 - classes.shape[1])) / (rest[0] / (60 - 4)))
        assert found.share("attention", m)[0] == pytest.approx(np.mean(shares), abs=1e-4)


def test_harmonics_of_a_whole_period():
    for period, rank in ((2, 1), (3, 2), (7, 6), (10, 9), (11, 10)):
        waves = period_rows(200, period)
        assert len(waves) == rank == np.linalg.matrix_rank(waves)
        classes = np.eye(period)[np.arange(200) % period]
        centred = classes - classes.mean(0)
        assert np.linalg.matrix_rank(np.concatenate([waves, np.ones((1, 200)), centred.T])) == period


def test_removing_a_period_breaks_what_it_carries(oracle):
    """Parity is the only residue in the model: with period 2 or 10 it goes, and errors become odd."""
    lm, _, _, tokens, answers, ids = oracle
    found = band_ablations(lm, tokens[::5], answers[::5], ids, AblationConfig(controls=1))
    rows = {row["period"]: row for row in found.periods}
    assert list(rows) == [10, 5, 2, 3, 7, 9, 11]
    assert rows[2]["accuracy"] < 0.6 and rows[2]["rank"] == 1 and rows[2]["errors"]["off_by_one"] == 1.0
    assert rows[10]["accuracy"] < 0.6 and rows[5]["accuracy"] == 1.0  # no wave of period 5: nothing to take
    assert all(row["controls"] for row in rows.values())


def test_a_periodic_unembedding_makes_any_vector_periodic(oracle):
    """Rows of period 10: logits of random vectors are functions of n mod 10, whoever wrote them; white rows: of nothing."""
    for rows, expected in ((np.stack([np.cos(2 * np.pi * np.arange(60) / 10), np.sin(2 * np.pi * np.arange(60) / 10)], 1), 1.0),
                           (np.random.default_rng(0).standard_normal((60, 200)), 0.0)):  # fmt: skip
        table = torch.as_tensor(rows, dtype=torch.float32)
        anyhow = {kind: x @ table.T for kind, x in _random_vectors(table).items()}
        sums = ResidueSums(60, 1, torch.device("cpu"))
        sums.add(torch.randn(2, 1, 3, 60))
        found = sums.result(anyhow)
        assert found.anyhow(10) == pytest.approx(expected, abs=0.05)
