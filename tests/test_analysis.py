import dataclasses
import json

import numpy as np
import pytest
import torch

from epicycle.analysis.circuit import Circuit, Trajectory, analyse
from epicycle.analysis.grok import analyse_run, grok
from epicycle.analysis.matrix import MatrixSpectrum, from_similarities, load_array, matrix_spectrum, placed
from epicycle.analysis.progress import pair_grid
from epicycle.analysis.selftest import ORACLES, Check, selftest
from epicycle.cli.main import main
from epicycle.errors import ConfigError, DataError, RunError
from epicycle.models.oracles import relu_adder
from epicycle.numbers.residues import discrete_logarithms
from epicycle.runs.directory import list_runs
from epicycle.sweep.sweep import grok_all
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.training.config import furuta2024


@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_is_met(oracle):
    for check in selftest((oracle,)):
        assert check.passed, check


def test_a_check_can_fail():
    assert not Check("x", "y", 1.0, 1.1, 0.05).passed
    assert not Check("x", "y", 1.0, float("nan"), 0.05).passed


def test_an_oracle_with_a_wrong_measure_fails(monkeypatch):
    monkeypatch.setattr("epicycle.analysis.selftest_fourier.ffd", lambda norms, **_: 0.9)
    assert any(not check.passed for check in selftest(("planted_frequencies",)))


@pytest.fixture(scope="module")
def set_by_hand():
    task, config = modular_task(TaskConfig(modulus=29)), furuta2024(TaskConfig(modulus=29))
    weights = {k: 0.05 * v if k == "unembed.W_U" else v for k, v in relu_adder(29, (3, 8)).items()}
    return analyse(task, config, weights, 7, draws=99)


def test_results_save_and_load(set_by_hand, tmp_path):
    set_by_hand.save(tmp_path)
    again = Circuit.load(tmp_path)
    assert again.summary() == set_by_hand.summary()
    assert list(again.key_frequencies) == [3, 8]
    for key, array in set_by_hand.norms.items():
        np.testing.assert_array_equal(again.norms[key], array)
    assert json.loads((tmp_path / "result.json").read_text())["kind"] == "Circuit"
    with pytest.raises(DataError, match=r"got a Circuit in .*; expected a Trajectory"):
        Trajectory.load(tmp_path)
    with pytest.raises(DataError, match="which holds no result; expected a Circuit"):
        Circuit.load(tmp_path / "nothing")


def test_a_newer_schema_is_refused(set_by_hand, tmp_path):
    set_by_hand.save(tmp_path)
    stored = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(stored | {"schema": 99}))
    with pytest.raises(DataError, match=r"got schema 99 .* Upgrade epicycle"):
        Circuit.load(tmp_path)


def test_results_print_shapes_not_data(set_by_hand):
    text = repr(set_by_hand)
    assert text.startswith("Circuit(formula='a + b', modulus=29") and "norms=12 arrays" in text and len(text) < 1500
    assert "<script>" not in dataclasses.replace(set_by_hand, formula="<script>")._repr_html_()


def test_plots_draw_what_they_are_given(set_by_hand):
    ax = set_by_hand.plot()
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights[:14], set_by_hand.norms["additive/W_E/cosine"])
    np.testing.assert_allclose(heights[14:], -set_by_hand.norms["additive/W_E/sine"])
    assert ax.get_xlabel() == "frequency k (cycles per modulus)"


def test_three_operands_are_refused_with_advice():
    config = TaskConfig(formulas=("a+b+c",), modulus=5)
    with pytest.raises(DataError, match="with 3 operands; the circuit analysis is defined for two"):
        analyse(modular_task(config), furuta2024(config), {}, 0)


def test_pair_grid_follows_the_task():
    config = furuta2024(TaskConfig(formulas=("a/b",), modulus=7, operand_range="published"))
    task = modular_task(config.task)
    tokens, labels, train = pair_grid(task, config)
    assert tokens[8].tolist() == [1, 11, 1] and labels[3, 0] == -1 and labels[6, 2] == 3
    assert train.sum() == (task.operands[task.train[0]] < 7).all(1).sum()


def test_end_to_end_mixture_and_read_back(tiny, tmp_path):
    [found] = grok(tiny(("a+b", "a*b"), steps=200), tmp_path, device="cpu")
    assert [c.formula for c in found.circuits] == ["a + b", "a*b"]
    assert set(found.run.history()[-1]["tasks"]) == {"a + b", "a*b"}
    assert analyse_run(found.run).circuits[1].summary() == found.circuits[1].summary()
    path = found.trajectories[0]
    assert path.steps[0] == 0 and path.steps[-1] == 200 and path.restricted.shape == path.steps.shape
    last = found.circuits[0].losses[path.basis]["answer"]
    for name in ("full", "full_train", "restricted", "memory", "excluded"):
        np.testing.assert_allclose(getattr(path, name)[-1], last[name], rtol=1e-12)
    assert found.run.history()[0]["measures"]["weights"]["additive"]["W_E"]["ffd"] > 0.8


def test_unfinished_run_is_not_analysed(tiny, tmp_path):
    from epicycle.runs.directory import create_run
    from epicycle.training.config import to_dict

    run = create_run(tmp_path, "x", to_dict(tiny()), {}, {})
    with pytest.raises(RunError, match="whose training has not ended"):
        analyse_run(run)


def test_pool_trains_what_one_process_trains(tiny, tmp_path):
    configs = [tiny(steps=100, seed=s) for s in range(2)]
    together = grok_all(configs, tmp_path / "pool", workers=2, every_seconds=0.1)
    for config, found in zip(configs, together, strict=True):
        [alone] = grok(config, tmp_path / "alone", device="cpu")
        first, second = (r.load_checkpoint(100) for r in (found.run, alone.run))
        assert all(torch.equal(first[k], second[k]) for k in first)
    assert len(list_runs(tmp_path / "pool")) == 2


def test_pool_names_a_damaged_checkpoint(tiny, tmp_path, capfd):
    [found] = grok(tiny(steps=100), tmp_path, device="cpu")
    last = found.run.path / "checkpoints" / "step-00000100.safetensors"
    last.write_bytes(last.read_bytes() + b"x")
    grok_all([tiny(steps=100)], tmp_path, every_seconds=0.1)
    assert f"{last.name} is corrupted" in capfd.readouterr().err


def test_pool_passes_on_a_sentence(tiny, tmp_path):
    from epicycle.runs.directory import create_run
    from epicycle.training.config import to_dict

    run = create_run(tmp_path, tiny().name, to_dict(tiny()), {}, {})
    with run.lock(), pytest.raises(RunError, match="another process is training"):
        grok_all([tiny()], tmp_path, every_seconds=0.1)


# any matrix

WAVE = np.cos(2 * np.pi * np.arange(60) / 5)[:, None] * np.array([1.0, -2.0])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_arrays_load_from_every_format(tmp_path, suffix):
    file = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(file, WAVE)
    elif suffix == ".npz":
        np.savez(file, x=WAVE)
    else:
        from safetensors.numpy import save_file

        save_file({"x": WAVE}, file)
    np.testing.assert_array_equal(load_array(file), WAVE)


def test_bfloat16_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(5, 3, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(load_array(tmp_path / "x.safetensors"), np.ones((5, 3)))


def test_files_that_are_refused(tmp_path):
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    np.save(tmp_path / "bomb.npy", np.array([Bomb()], object), allow_pickle=True)
    np.savez(tmp_path / "bomb.npz", x=np.array([Bomb()], object))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "model.pt").write_text("hello")
    np.savez(tmp_path / "two.npz", x=WAVE, y=WAVE)
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    for name, key, message in (
        ("bomb.npy", None, "holds pickled Python objects; epicycle never loads those, since they can run code"),
        ("bomb.npz", None, "holds pickled Python objects; epicycle never loads those, since they can run code"),
        ("text.npy", None, "which is not a readable .npy file; expected an array|pickled"),
        ("text.npz", None, "which is not a readable .npz file; expected an array|pickled"),
        ("text.safetensors", None, "which is not a readable .safetensors file; expected an array"),
        ("model.pt", None, "whose name ends in .pt; expected one of .npy, .npz, .safetensors"),
        ("nothing.npy", None, "which is not a file; expected a .npy, .npz or .safetensors file"),
        ("two.npz", None, "with 2 arrays and no key; expected the name of one. Add --key with one of: x, y"),
        ("two.npz", "z", "got key 'z' for two.npz; expected one of its arrays. Use one of: x, y"),
        ("words.npy", None, "expected real numbers. Convert it to float"),
    ):
        with pytest.raises(DataError, match=message):
            load_array(tmp_path / name, key)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.full((5, 2), np.nan), {}, "with 10 values that are NaN or infinite; expected finite numbers"),
        (np.ones((1, 5)), {}, "got a table of 1 row; a spectrum with a null needs at least 4 numbers"),
        (np.ones((9, 5)), {}, "whose rows are all equal; a spectrum needs some variance"),
        (WAVE, {"axis": 2}, "got axis 2 for an array of shape .60, 2.; expected an axis that exists"),
        (WAVE, {"rows": (0, 99)}, "got rows 0:99 of 60; expected a range inside 0:60"),
    ],
)
def test_tables_that_are_refused(array, options, message):
    with pytest.raises(DataError, match=message):
        matrix_spectrum(array, **options)


def test_settings_that_are_refused():
    with pytest.raises(ConfigError, match="got null 'none'; expected one of permuted"):
        matrix_spectrum(WAVE, null="none")
    with pytest.raises(ConfigError, match="needs a prime modulus"):
        matrix_spectrum(WAVE, basis="multiplicative")
    with pytest.raises(ConfigError, match="got 5 draws"):
        matrix_spectrum(WAVE, draws=5)


def test_spectrum_of_a_wave_and_of_its_transpose(tmp_path):
    noisy = WAVE + 0.1 * np.random.default_rng(0).standard_normal(WAVE.shape)
    found = matrix_spectrum(noisy, draws=99)
    assert found.key_frequencies == (12,) and found.as_json()["periods"][0]["period"] == 5
    np.testing.assert_array_equal(matrix_spectrum(noisy.T, axis=1, draws=99).share, found.share)
    found.save(tmp_path)
    assert MatrixSpectrum.load(tmp_path).summary() == found.summary()


def test_auto_basis_finds_characters():
    from epicycle.fourier.bases import multiplicative

    basis = multiplicative(53)
    rows = basis.rows[[basis.cosine[3], basis.sine[3]]].T
    table = rows + 0.001 * np.random.default_rng(0).standard_normal(rows.shape)
    found = matrix_spectrum(table, basis="auto", draws=99)
    assert (found.basis, found.key_frequencies) == ("multiplicative", (4,))


def test_rows_are_placed_by_their_numbers_and_gaps_are_filled():
    numbers = np.array([n for n in range(3, 60) if n not in (17, 40)] + [400])
    order = np.random.default_rng(0).permutation(len(numbers))
    rows = np.stack([numbers, numbers**2.0], 1)[order]
    table, filled = placed(rows, numbers[order])
    assert filled.tolist() == [17, 40] and len(table) == 57
    np.testing.assert_allclose(table[:, 0], np.arange(3, 60))
    assert table[14, 1] == (16**2 + 18**2) / 2
    with pytest.raises(DataError, match="whole number per row"):
        placed(rows, numbers[:-1])
    with pytest.raises(DataError, match="missing"):
        placed(rows[:19], np.arange(19) * 3)


def test_a_table_comes_back_from_its_cosines():
    rows = np.random.default_rng(0).standard_normal((40, 7))
    back = from_similarities(5 * rows @ rows.T + 3)
    centred = rows - rows.mean(0)
    np.testing.assert_allclose(back @ back.T, 5 * centred @ centred.T, atol=1e-9)
    expected, found = matrix_spectrum(rows, draws=19), matrix_spectrum(back, draws=19)
    np.testing.assert_allclose(found.share, expected.share, atol=1e-12)
    with pytest.raises(DataError, match="square"):
        from_similarities(rows)


def test_spectrum_of_rows_with_numbers_and_of_similarities(tmp_path, capsys):
    numbers = np.array([n for n in range(10, 90) if n != 33])
    rows = np.cos(2 * np.pi * numbers / 5)[:, None] + 0.1 * np.random.default_rng(0).standard_normal((len(numbers), 3))
    whole = np.cos(2 * np.pi * np.arange(10, 90) / 5)[:, None] * np.ones((1, 3))
    np.savez(tmp_path / "t.npz", rows=rows, numbers=numbers, alike=whole @ whole.T)
    assert (
        main(
            [
                "spectrum",
                str(tmp_path / "t.npz"),
                "--key",
                "rows",
                "--numbers",
                "numbers",
                "--null",
                "within decades",
                "--draws",
                "99",
                "--json",
            ]
        )
        == 0
    )
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["rows"] == 80 and found["periods"][0]["period"] == 5 and "33" in captured.err
    assert (
        main(
            [
                "spectrum",
                str(tmp_path / "t.npz"),
                "--key",
                "alike",
                "--similarities",
                "--rows",
                "0:60",
                "--draws",
                "99",
                "--json",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 60 and found["periods"][0]["period"] == 5
    assert main(["spectrum", str(tmp_path / "t.npz"), "--key", "rows", "--numbers", "numbers", "--similarities"]) == 2
    assert main(["spectrum", str(tmp_path / "t.npz"), "--key", "rows", "--similarities"]) == 2


def test_filled_gaps_make_no_periods():
    """White rows with every tenth number missing: without gaps in the nulls the filling itself would look like a period."""
    false, naive = 0, 0
    for seed in range(5):
        numbers = np.array([n for n in range(200) if n % 10 != 3])
        rows = np.random.default_rng(seed).standard_normal((len(numbers), 256))
        table, filled = placed(rows, numbers)
        found = matrix_spectrum(table, gaps=filled, draws=99, seed=seed)
        false += sum(found.p_family[null].min() <= 0.05 for null in ("permuted", "within decades", "ramp"))
        if seed == 0:  # as it was: filled rows permuted like the others
            naive = len(matrix_spectrum(table, draws=99).key_frequencies)
    assert naive > 0
    assert false <= 3  # of 15 at the 5 % level: exceeded in 0.5 % of cases


def test_what_was_never_asked_is_not_measured(tmp_path, capsys):
    """Without zeros the row of 0 only decays: it would be a spike in additive waves, and logarithms leave it out."""
    words = [
        "grok",
        "a*b",
        "--modulus",
        "11",
        "--zeros",
        "excluded",
        "--train-fraction",
        "0.6",
        "--max-steps",
        "400",
        "--out",
        str(tmp_path),
        "--threads",
        "1",
    ]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["basis"] == "multiplicative"
    [run] = list_runs(tmp_path)
    weights = run.history()[-1]["measures"]["weights"]
    assert "additive" not in weights
    table = run.weights()["embed.W_E"][:, :11].T.double().numpy()
    log = discrete_logarithms(11)
    in_order = np.empty((10, table.shape[1]))
    in_order[log[1:]] = table[1:]
    waves = np.abs(np.fft.rfft(in_order, axis=0)[1:]) ** 2
    norms = np.sqrt(waves.sum(1))
    both = analyse_run(run).circuits[0].norms
    found = np.hypot(both["multiplicative/W_E/cosine"], both["multiplicative/W_E/sine"])
    np.testing.assert_allclose(
        found / found[0], norms / norms[0] * np.where(np.arange(1, 6) == 5, 0.5**0.5, 1), rtol=1e-6
    )
    page = (run.path / "report.html").read_text()
    assert "The number 0 is never asked about" in page
    assert main(["report", run.id, "--parts", "--out", str(tmp_path)]) == 0  # products have parts among the others
    page = (run.path / "report.html").read_text()
    assert "multiplicative basis, plane of the answer. Over all pairs without a zero" in page
