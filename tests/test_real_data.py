"""Arrays that nobody here trained: number vectors and published grokked models. Skipped where the folder is absent."""

import os
from pathlib import Path

import numpy as np
import pytest

from epicycle.analysis.geometry import number_geometry
from epicycle.analysis.matrix import from_similarities, load_array, matrix_spectrum, placed

DATA = Path(os.environ.get("EPICYCLE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no folder of real arrays; name one in EPICYCLE_TEST_DATA")


def _p(found, period):
    i = int(np.argmin(np.abs(found.period - period)))
    return found.p_single["within decades"][i]


def test_word2vec_numbers_have_periods_2_5_and_5_beyond_their_trend():
    found = matrix_spectrum(load_array(DATA / "bnc_word2vec_numbers_0_99.npz", "vectors"), null="within decades")
    assert _p(found, 2.5) <= 0.002 and _p(found, 5) <= 0.002
    assert 0.005 < _p(found, 2) < 0.05 and 0.04 < _p(found, 10) < 0.13 and _p(found, 100 / 30) > 0.4
    assert {20, 40} <= set(found.key_frequencies)
    # without keeping the trend period 5 is lost among the slow frequencies
    plain = matrix_spectrum(load_array(DATA / "bnc_word2vec_numbers_0_99.npz", "vectors"))
    assert not {20, 40} <= set(plain.key_frequencies)


@pytest.mark.parametrize(("model", "keys"), [("p99zdpze5l", {3, 15, 17}), ("l8k1hzciux", {13, 16, 21})])
def test_published_models_have_their_published_key_frequencies(model, keys):
    table = load_array(DATA / "pizza_modelA_modelB_p59.npz", f"{model}/embed.W_E")
    found = matrix_spectrum(table, axis=1, rows=(0, 59))
    assert set(found.frequency[np.argsort(-found.share)[: len(keys)]]) == keys
    assert keys <= set(found.key_frequencies) and found.p_family["permuted"][min(keys) - 1] <= 0.01


@pytest.mark.parametrize("model", ["f5dh675z97", "hpv2jgskwe"])
def test_flat_spectra_stay_flat(model):
    table = load_array(DATA / "pizza_modadd_p59_embeddings.npz", f"{model}/W_E")
    found = matrix_spectrum(table, axis=0 if table.shape[0] == 59 else 1)
    sparse = load_array(DATA / "pizza_modelA_modelB_p59.npz", "p99zdpze5l/embed.W_E")
    assert found.measures["gini"] < 0.5 < matrix_spectrum(sparse, axis=1, rows=(0, 59)).measures["gini"]


def _glove():
    file = DATA / "glove6B_50d_numbers.npz"
    return placed(load_array(file, "vectors"), load_array(file, "numbers"))


def _sources():
    """Number vectors of 0..99 (10..99 of the picture, whose first rows are not usable) from three trainings, and the first number."""
    glove, filled = _glove()
    assert {37, 54, 62} <= set(filled)
    picture = load_array(DATA / "glove_cc300_number_cosine_png.npz", "index")
    yield "word2vec", load_array(DATA / "bnc_word2vec_numbers_0_99.npz", "vectors"), 0, None
    yield "GloVe 50d", glove[:100], 0, filled[filled < 100]
    yield "GloVe 300d, from a picture of cosines", from_similarities(picture[10:100, 10:100]), 10, None


@pytest.mark.parametrize("detrend", [False, True])
def test_every_source_has_periods_2_5_and_5_and_none_has_3_33(detrend):
    for name, table, first, gaps in _sources():
        found = matrix_spectrum(table, null="within decades", detrend=detrend, first=first, gaps=gaps)
        assert _p(found, 2.5) <= 0.002 and _p(found, 5) <= 0.002, name
        assert _p(found, 10 / 3) > 0.4, name


def test_power_in_word_vectors_is_separable_only_in_part():
    """Spikes at 5 and 10 in all sources; the last digit can be read well from none of them."""
    for name, table, first, _ in _sources():
        if first:
            continue
        g = number_geometry(table, controls=19)
        assert g.at(10)["phi_share"] > g.at(10)["phi_chance"], name
        assert g.at(10)["linear"] < 0.6 and abs(g.at(7)["linear"]) < 0.3, name
