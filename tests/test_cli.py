import json
import subprocess
import sys

import numpy as np
import pytest

from epicycle.cli.main import COMMANDS, main

FAST = ["--modulus", "11", "--train-fraction", "0.5", "--max-steps", "100", "--evaluate-every", "50", "--measure-every",
        "100", "--checkpoint-every", "100", "--threads", "1", "--device", "cpu"]  # fmt: skip
HEAVY = ("torch", "transformers", "matplotlib", "ray", "numpy", "rich", "jinja2")


def _modules_after(code):
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"], capture_output=True, text=True
    )
    return set(out.stdout.strip().split("\n")[-1].split())


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_loads_no_framework(command):
    code = f"from epicycle.cli.main import main\ntry: main({[*command, '--help']!r})\nexcept SystemExit: pass"
    loaded = _modules_after(code)
    assert "argparse" in loaded and not loaded & set(HEAVY)


def test_importing_the_package_loads_no_framework_and_this_can_fail():
    assert not _modules_after("import epicycle") & set(HEAVY)
    assert "numpy" in _modules_after("import epicycle; epicycle.ffd")


def test_every_public_name_resolves():
    import epicycle

    assert epicycle.__all__ == sorted(epicycle._WHERE)
    for name in epicycle.__all__:
        assert getattr(epicycle, name).__doc__


def _refused(capsys, *arguments):
    code = main(list(arguments))
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a+x"], "got the variable 'x'; expected a, b or c. Rename it.\n  a+x\n    ^"),
        (["(a+b"], "got no closing parenthesis for this one; expected ')'. Close it.\n  (a+b\n  ^"),
        (["a+b", "--modulus", "1"], "got modulus 1; expected an integer of at least 2. Try 97."),
        (["a+b", "--modulus", "-7"], "got modulus -7; expected an integer of at least 2. Try 97."),
        (["a/(2b)", "--modulus", "4"], "whose denominator never has an inverse; expected at least one pair"),
        (["a+b", "--train-fraction", "0"], "got train fraction 0.0; expected a number above 0 and below 1"),
        (["a+b", "--train-fraction", "1"], "got train fraction 1.0; expected a number above 0 and below 1"),
        (["a+b", "--seeds", "0"], "got --seeds 0; expected 1 to 10,000. Try 3."),
        (["a+b", "--threads", "0"], "got --threads 0; expected 1 to 64."),
        (["a+b", "--width", "100"], "both must be multiples of 16. Round them up."),
        (
            ["a+b", "--measure-every", "150"],
            "got measure_every 150 with evaluate_every 100; expected a multiple. Try 200.",
        ),
        (["a+b", "--learning-rate", "inf"], "expected finite numbers. Mend the one that is not."),
        (["a+b", "--seed", "99999999999999999999"], "expected an integer from 0 to 2^63 - 1. Try 0."),
        (["a+b", "--split-seed", "-1"], "got --split-seed -1; expected 0 or a larger number. Try 0."),
        (["a+b", "--seed", "-1"], "got --seed -1; expected 0 or a larger number. Try 0."),
        (["a+b", "--seeds", "99999999999"], "got --seeds 99999999999; expected 1 to 10,000. Try 3."),
        (["a+b", "--num-heads", "64"], "got 64 heads; expected at most 32. Choose fewer."),
        (["-a+x"], "got the variable 'x'; expected a, b or c. Rename it.\n  -a+x\n     ^"),
        (["a+b", "--max-steps", "0"], "got max_steps 0; expected at least 1."),
    ],
)
def test_bad_input_of_grok(capsys, tmp_path, arguments, message):
    assert message in _refused(capsys, "grok", *arguments, "--out", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_cuda_without_a_device(capsys, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    text = _refused(capsys, "grok", "a+b", "--device", "cuda", "--out", str(tmp_path))
    assert "PyTorch finds no CUDA device; expected one. Use --device cpu." in text


def test_bad_input_of_spectrum(capsys, tmp_path):
    np.save(tmp_path / "nan.npy", np.array([[1.0], [np.nan], [2], [3], [4]]))
    np.save(tmp_path / "one.npy", np.ones((1, 3)))
    (tmp_path / "text.npy").write_text("x")
    for name, message in (("nan.npy", "1 values that are NaN or infinite"), ("one.npy", "got a table of 1 row;"),
                          ("text.npy", "got text.npy, which "), ("none.npy", "which is not a file")):  # fmt: skip
        assert message in _refused(capsys, "spectrum", str(tmp_path / name))
    assert "expected two numbers with a colon" in _refused(capsys, "spectrum", str(tmp_path / "one.npy"), "--rows", "x")


def test_bad_run_directories(capsys, tmp_path):
    assert "which has no run.json; expected a run directory" in _refused(capsys, "report", str(tmp_path))
    assert "no run.json" in _refused(capsys, "report", "nothing", "--out", str(tmp_path))


def test_an_unknown_option_is_one_line(capsys):
    """It names the command, and what was perhaps meant."""
    for words, near in (
        (["grok", "a+b", "--modulo", "7"], "--modulus"),
        (["sweep", "a+b", "--modulus", "7"], "--moduli"),
    ):
        said = _refused(capsys, *words)
        assert f"epicycle {words[0]}: got '{words[2]} 7'; expected an option of this command, perhaps {near}." in said
    assert "epicycle: got '--foo'" in _refused(capsys, "--foo")
    assert "epicycle runs: got '--json'; expected it after runs." in _refused(capsys, "--json", "runs")


def test_grok_json_contract(capsys, tmp_path):
    assert main(["grok", "a-b", *FAST, "--seeds", "2", "--out", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert set(found) == {"runs", "report"} and len(found["runs"]) == 2
    assert "0 of 2 seeds grokked (95 % interval 0% to 66%); none within" in said.err
    for i, run in enumerate(found["runs"]):
        assert {"id", "directory", "seed", "outcome", "steps", "final", "measures", "key_frequencies", "seconds",
                "steps_per_second"} <= set(run)  # fmt: skip
        assert run["seed"] == i and {"memorised", "first", "sustained"} <= set(run["steps"])
        assert set(run["final"]) == {"train_loss", "test_loss", "train_accuracy", "test_accuracy"}
        assert set(run["measures"]) == {"W_E", "W_L"}
        assert set(run["measures"]["W_E"]) == {"ffd", "ffd_joint", "fcr", "gini"}
    assert "report: " in said.err and "run: " in said.err
    assert main(["runs", "--out", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert main(["report", found["runs"][0]["directory"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"].endswith("report.html")
    assert main(["runs", "--out", str(tmp_path)]) == 0 and "a-b-p11-seed0" in capsys.readouterr().out


def test_nanda_recipe_trains(capsys, tmp_path):
    assert main(["grok", "a+b", *FAST, "--recipe", "nanda2023", "--out", str(tmp_path), "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert run["final"]["train_accuracy"] > 0.3


def test_without_a_compiler_training_works_and_says_so(tmp_path, capsys):
    import os

    done = subprocess.run([sys.executable, "-m", "epicycle", "grok", "a+b", *FAST, "--out", str(tmp_path), "--json"],
                          capture_output=True, text=True, env=os.environ | {"EPICYCLE_NO_COMPILER": "1"})  # fmt: skip
    assert done.returncode == 0 and "times slower" in done.stderr
    assert main(["grok", "a+b", *FAST, "--out", str(tmp_path / "fast"), "--json"]) == 0
    slow_run, fast_run = (json.loads(said)["runs"][0]["final"] for said in (done.stdout, capsys.readouterr().out))
    assert slow_run["train_loss"] == pytest.approx(fast_run["train_loss"], rel=1e-3)


def test_spectrum_json_contract_and_plot(capsys, tmp_path):
    np.save(
        tmp_path / "w.npy",
        np.cos(2 * np.pi * np.arange(50) / 5)[:, None] + 0.1 * np.random.default_rng(0).standard_normal((50, 4)),
    )
    arguments = ["spectrum", str(tmp_path / "w.npy"), "--draws", "99", "--plot", str(tmp_path / "w.svg")]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"rows", "basis", "periods", "ffd", "ffd_joint", "fcr", "gini", "key_frequencies", "nulls"} <= set(found)
    assert found["periods"][0]["period"] == 5 and found["key_frequencies"] == [10]
    assert set(found["nulls"]) == {"permuted", "within decades", "ramp", "white noise"}
    first = (tmp_path / "w.svg").read_text()
    assert main(arguments) == 0 and "beyond the null" in capsys.readouterr().out
    assert (tmp_path / "w.svg").read_text() == first, "the same data must give the same bytes"


def test_selftest_doctor_cite(capsys, monkeypatch):
    from epicycle.analysis import selftest

    monkeypatch.setattr(selftest, "ORACLES", {"parity": selftest.ORACLES["parity"]})
    assert main(["selftest", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["oracles"]
    assert {"oracle", "measure", "expected", "measured", "error", "tolerance", "passed"} == set(rows[0])
    monkeypatch.setattr(selftest, "ORACLES", {"bad": lambda: [selftest.Check("x", "y", 1.0, 2.0, 0.1)]})
    assert main(["selftest"]) == 1 and "FAILED" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["packages"]["torch"]
    assert main(["doctor"]) == 0 and "threads" in capsys.readouterr().out
    assert main(["cite"]) == 0 and "2402.16726" in capsys.readouterr().out


def test_formulas_may_begin_with_a_minus(capsys, tmp_path):
    assert main(["grok", "-a*b", *FAST, "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["runs"][0]["circuits"][0]["formula"] == "-(a*b)" or "-a*b" in found["runs"][0]["circuits"][0]["formula"]
    )


def test_mixtures_report_every_formula(capsys, tmp_path):
    assert main(["grok", "a+b", "a*b", *FAST, "--num-heads", "32", "--out", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    circuits = json.loads(said.out)["runs"][0]["circuits"]
    assert [c["formula"] for c in circuits] == ["a + b", "a*b"]
    assert all(f"for {c['formula']}" in said.err or f"to {c['formula']}" in said.err for c in circuits)


def test_spectrum_refuses_what_has_no_spectrum(capsys, tmp_path):
    np.save(tmp_path / "line.npy", np.arange(50.0)[:, None])
    np.save(tmp_path / "empty.npy", np.ones((0, 4)))
    np.save(tmp_path / "huge.npy", np.random.default_rng(0).standard_normal((50, 3)) * 1e200)
    assert "that are a straight line to rounding" in _refused(
        capsys, "spectrum", str(tmp_path / "line.npy"), "--detrend"
    )
    assert "got an empty array of shape (0, 4)" in _refused(capsys, "spectrum", str(tmp_path / "empty.npy"))
    assert "holds one array without a name" in _refused(capsys, "spectrum", str(tmp_path / "huge.npy"), "--key", "x")
    assert main(["spectrum", str(tmp_path / "huge.npy"), "--json", "--draws", "99"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ffd"] > 0.3 and len(found["key_frequencies"]) < 5
