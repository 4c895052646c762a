"""A GPT-2 with hand-set weights: the analyses must find its waves where they were put, and ablations change exactly the right answers."""

import numpy as np
import pytest

from epicycle.analysis.ablation import AblationConfig, band_ablations, removing, run_edits
from epicycle.analysis.modules import readings
from epicycle.fourier.projections import band_rows, writers
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
    lens, spectra, final = readings(lm, tokens, answers, ids)
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
    found = band_ablations(lm, tokens, answers, ids, AblationConfig(controls=2))
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
