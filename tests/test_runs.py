import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from epicycle._files import atomic, save_tensors, to_json, write_json
from epicycle.cli.main import main
from epicycle.errors import ConfigError, RunError
from epicycle.runs.directory import checkpoint_name, config_hash, create_run, list_runs, open_run, run_id
from epicycle.runs.provenance import _named
from epicycle.training.config import from_dict, to_dict
from epicycle.training.grokking import end_of, milestones, streak
from epicycle.training.loop import train_run


def _same(first, second):
    """Histories without wall times, and the bits of the last checkpoint."""

    def strip(run):
        return [{k: v for k, v in line.items() if k not in ("seconds", "measuring_seconds")} for line in run.history()]

    assert strip(first) == strip(second)
    last = first.checkpoint_steps()[-1]
    one, two = first.load_checkpoint(last), second.load_checkpoint(last)
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_configuration_round_trips_and_names_the_run(tiny):
    config = tiny("a*b")
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == tiny("a*b")
    assert config_hash(to_dict(tiny("a*b"))) == config_hash(to_dict(tiny("a * b"))) == config_hash(to_dict(tiny("ab")))
    assert config_hash(to_dict(tiny("a*b", seed=1))) != config_hash(to_dict(config))


def test_a_run_leaves_what_the_design_says(tiny, tmp_path):
    run = train_run(tiny(), tmp_path, device="cpu")
    record = run.record()
    assert record["status"] == "finished" and record["steps"]["trained"] == 300
    assert [line["step"] for line in run.history()] == [0, 50, 100, 150, 200, 250, 300]
    assert set(record["checkpoints"]) == {path.name for path in (run.path / "checkpoints").iterdir()}
    assert set(record["provenance"]) >= {"epicycle", "packages", "threads", "device", "dtype"}
    assert not list(run.path.rglob("*.part"))
    assert [r.id for r in list_runs(tmp_path)] == [run.id] and open_run(run.path) == run


def test_running_again_returns_at_once(tiny, tmp_path):
    first = train_run(tiny(), tmp_path, device="cpu")
    before = {path: path.stat().st_mtime_ns for path in first.path.rglob("*.safetensors")}
    assert train_run(tiny(), tmp_path, device="cpu").history() == first.history()
    assert before == {path: path.stat().st_mtime_ns for path in first.path.rglob("*.safetensors")}


@pytest.mark.parametrize("stop_at", [50, 150, 250])
def test_stopped_and_resumed_is_bit_identical(cut_at, tiny, tmp_path, stop_at):
    whole = train_run(tiny(), tmp_path / "whole", device="cpu")
    cut_at(stop_at, tiny(), tmp_path / "cut")
    _same(whole, train_run(tiny(), tmp_path / "cut", device="cpu"))


def test_killed_process_resumes_bit_identical(tiny, tmp_path):
    arguments = ["grok", "a+b", "--modulus", "11", "--train-fraction", "0.5", "--max-steps", "1500", "--evaluate-every",
                 "50", "--measure-every", "100", "--checkpoint-every", "100", "--hold-evaluations", "0", "--threads", "1",
                 "--device", "cpu"]  # fmt: skip
    command = [sys.executable, "-m", "epicycle", *arguments, "--out"]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    process = subprocess.Popen([*command, str(tmp_path / "cut")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list((tmp_path / "cut").glob("*/checkpoints/step-000005*.safetensors"))
        if found:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert found, "the run never reached step 500"
    subprocess.run([*command, str(tmp_path / "cut")], check=True, capture_output=True)
    [whole], [cut] = list_runs(tmp_path / "whole"), list_runs(tmp_path / "cut")
    assert cut.record()["resumed"]
    _same(whole, cut)


def test_interrupt_says_that_nothing_is_lost(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "epicycle", "grok", "a+b", "--out", str(tmp_path), "--threads", "1", "--device", "cpu"],
        stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    # a shell lets the jobs in its background ignore SIGINT, this test and what it starts among them
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("*/history.jsonl")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "nothing is lost: run the same command again to go on" in text
    assert "Traceback" not in text


def test_corrupted_checkpoint_is_named_and_the_last_good_one_used(cut_at, tiny, tmp_path):
    whole = train_run(tiny(), tmp_path / "whole", device="cpu")
    cut_at(250, tiny(), tmp_path / "cut")
    [run] = list_runs(tmp_path / "cut")
    newest = run.path / "checkpoints" / checkpoint_name(run.checkpoint_steps()[-1])
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.raises(RunError, match=rf"{newest.name} is corrupted .its SHA-256 differs"):
        run.load_checkpoint(run.checkpoint_steps()[-1])
    said = []
    resumed = train_run(tiny(), tmp_path / "cut", device="cpu", warn=said.append)
    assert newest.name in said[0] and "corrupted" in said[0] and "going on from step" in said[0]
    _same(whole, resumed)


def test_torn_history_line_is_dropped(cut_at, tiny, tmp_path):
    whole = train_run(tiny(), tmp_path / "whole", device="cpu")
    cut_at(250, tiny(), tmp_path / "cut")
    [run] = list_runs(tmp_path / "cut")
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"step": 300, "train_lo')
    _same(whole, train_run(tiny(), tmp_path / "cut", device="cpu"))


def test_directory_of_another_configuration_is_refused(tiny, tmp_path):
    config = to_dict(tiny())
    run = create_run(tmp_path, "x", config, config, {})
    record = run.record()
    record["config"]["resolved"]["seed"] = 9
    write_json(run.path / "run.json", record)
    with pytest.raises(
        RunError, match=r"belongs to another configuration; expected that of this command. Move it away"
    ):
        create_run(tmp_path, "x", config, config, {})
    with pytest.raises(RunError, match="configuration was changed after it was written"):
        open_run(run.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "which has no run.json; expected a run directory"), ("{", "cannot be read as JSON"),
     ("[]", "lacks the fields of a run record"),
     ('{"config": {"resolved": 1, "sha256": 1}, "checkpoints": {}, "format": 99}', "format 99; this epicycle reads up to 1. Upgrade epicycle")],
)  # fmt: skip
def test_what_is_no_run_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=message):
        open_run(tmp_path)


def test_two_processes_cannot_train_one_run(tiny, tmp_path):
    run = create_run(tmp_path, tiny().name, to_dict(tiny()), {}, {})
    with run.lock(), pytest.raises(RunError, match=r"which another process is training; expected it to be free. Wait"):
        train_run(tiny(), tmp_path, device="cpu")


def test_full_disk_is_a_sentence_and_leaves_nothing_half_written(tiny, tmp_path, monkeypatch):
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(runs, step, *_):
        if step == 150:
            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(
        RunError, match=r"got no space left on the disk while writing .*; what was finished before is kept"
    ):
        train_run(tiny(), tmp_path / "cut", device="cpu", progress=fill)
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.setattr(os, "fsync", real)
    _same(train_run(tiny(), tmp_path / "whole", device="cpu"), train_run(tiny(), tmp_path / "cut", device="cpu"))


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path):
    target = tmp_path / "file.json"
    write_json(target, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic(target) as scratch:
        scratch.write_text("half")
        raise ZeroDivisionError
    assert json.loads(target.read_text()) == {"a": 1} and [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_json_has_no_nan():
    assert (
        to_json({"a": [float("nan"), np.float64(2)], "b": np.array([1.0, np.inf])})
        == '{"a": [null, 2.0], "b": [1.0, null]}'
    )


def test_saved_tensors_have_the_hash_that_is_returned(tmp_path):
    import hashlib

    digest = save_tensors(tmp_path / "x.safetensors", {"w": torch.arange(6.0).reshape(2, 3).T})
    assert hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest() == digest


def _history(accuracies, train=1.0):
    return [{"step": 10 * i, "train_accuracy": train, "test_accuracy": a} for i, a in enumerate(accuracies)]


def test_milestones_of_known_curves():
    found = milestones(_history([0.1, 0.99, 0.5, 0.99, 0.99, 0.995, 0.98, 1.0, 1.0]))
    assert (found.first, found.sustained, found.stable, found.outcome) == (10, 30, 70, "grokked")
    assert milestones(_history([0.1, 0.2])).outcome == "memorised"
    assert milestones(_history([0.1, 0.2], train=0.3)).outcome == "not learned"
    brief = milestones(_history([0.1, 1.0, 0.2]))
    assert (brief.outcome, brief.first, brief.sustained, brief.stable) == ("grokked briefly", 10, None, None)
    assert streak(_history([0.1, 1, 1]), 0.99) == 2 and streak(_history([1, 1, 0]), 0.99) == 0


def test_where_training_ends():
    from epicycle.training.config import ScheduleConfig

    def schedule(**more):
        every = {"evaluate_every": 10, "measure_every": 10, "checkpoint_every": 10}
        return ScheduleConfig(**{"max_steps": 1000} | every | more)

    curve = _history([0.1, 1, 1, 0.5, 1, 1, 1, 1])
    assert end_of(curve, schedule(hold_evaluations=2)) == 20
    assert end_of(curve, schedule(hold_evaluations=3)) == 60
    assert end_of(curve, schedule(hold_evaluations=2, min_steps=30)) == 50  # held at 20, but not at 30
    assert end_of(curve, schedule(hold_evaluations=2, min_steps=60)) == 60
    assert end_of(curve, schedule(hold_evaluations=9)) is None is end_of(curve, schedule(hold_evaluations=0))
    assert end_of(curve, schedule(hold_evaluations=9, max_steps=40)) == 40
    assert end_of([*curve[:3], curve[3] | {"train_loss": None}], schedule(hold_evaluations=9)) == 30
    assert end_of([curve[0] | {"train_loss": float("nan")}], schedule()) == 0


def test_a_mixture_has_grokked_once_its_last_task_has():
    def line(step, *accuracies):
        tasks = {name: {"test_accuracy": each} for name, each in zip("xyz", accuracies, strict=True)}
        return {"step": step, "train_accuracy": 1.0, "test_accuracy": sum(accuracies) / 3, "tasks": tasks}

    lines = [line(0, 1, 1, 0.98), line(10, 1, 1, 0.99)]  # the mean is above 0.99 at once
    assert milestones(lines).first == 10 and streak(lines, 0.99) == 1


def test_min_steps_go_on_after_the_grok_and_old_ids_stay(tiny, tmp_path):
    import dataclasses

    config = tiny("a^10 + b^10", steps=600)  # 2 wherever neither number is 0
    early = dataclasses.replace(
        config, schedule=dataclasses.replace(config.schedule, hold_evaluations=2, grok_accuracy=0.5)
    )
    late = dataclasses.replace(
        config, schedule=dataclasses.replace(config.schedule, hold_evaluations=2, grok_accuracy=0.5, min_steps=500)
    )
    assert "min_steps" not in to_dict(early)["schedule"] and from_dict(to_dict(late)).schedule == late.schedule
    one, two = train_run(early, tmp_path, device="cpu"), train_run(late, tmp_path / "other", device="cpu")
    assert one.record()["steps"]["trained"] < 500 == two.record()["steps"]["trained"]
    _same(two, train_run(late, tmp_path, device="cpu"))  # goes on from the other
    for wrong in (-50, 510, 700):
        with pytest.raises(ConfigError, match="min_steps"):
            dataclasses.replace(config.schedule, min_steps=wrong)


def test_stops_once_test_accuracy_has_held(tmp_path):
    from epicycle.tasks.modular import TaskConfig
    from epicycle.training.config import ScheduleConfig, furuta2024

    schedule = ScheduleConfig(max_steps=5000, evaluate_every=50, measure_every=1000, hold_evaluations=3)
    config = furuta2024(TaskConfig(formulas=("a+0b",), modulus=11, train_fraction=0.5), schedule)
    run = train_run(config, tmp_path, device="cpu")
    history = run.history()
    assert run.record()["outcome"] == "grokked" and run.record()["steps"]["trained"] < 5000
    assert all(line["test_accuracy"] >= 0.99 for line in history[-3:]) and history[-4]["test_accuracy"] < 0.99


@pytest.mark.parametrize("hold", [0, 3])
def test_killed_between_the_last_checkpoint_and_the_end(tmp_path, hold):
    from epicycle.tasks.modular import TaskConfig
    from epicycle.training.config import ScheduleConfig, furuta2024

    schedule = ScheduleConfig(max_steps=600, evaluate_every=50, measure_every=1000, hold_evaluations=hold)
    config = furuta2024(TaskConfig(formulas=("a+0b",), modulus=11, train_fraction=0.5), schedule)
    whole = train_run(config, tmp_path / "whole", device="cpu")
    cut = train_run(config, tmp_path / "cut", device="cpu")
    late = ("outcome", "steps", "final", "seconds", "measuring_seconds")
    write_json(cut.path / "run.json", {k: v for k, v in cut.record().items() if k not in late} | {"status": "training"})
    again = train_run(config, tmp_path / "cut", device="cpu")
    assert again.record()["steps"] == whole.record()["steps"]
    _same(whole, again)


@pytest.mark.parametrize("harm", ["checkpoint", "history"])
def test_a_damaged_finished_run_is_mended_by_the_same_command(tiny, tmp_path, harm):
    whole = train_run(tiny(), tmp_path / "whole", device="cpu")
    run = train_run(tiny(), tmp_path / "harmed", device="cpu")
    if harm == "checkpoint":
        with (run.path / "checkpoints" / checkpoint_name(300)).open("ab") as file:
            file.write(b"x")
    else:
        (run.path / "history.jsonl").write_bytes(b"\xff\xfe")
    _same(whole, train_run(tiny(), tmp_path / "harmed", device="cpu"))


def test_a_run_that_diverges_ends_and_says_so(tiny, tmp_path):
    import dataclasses

    from epicycle.analysis.grok import analyse_run
    from epicycle.report.grok import finding

    config = tiny(steps=1000)
    config = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, learning_rate=1e30))
    run = train_run(config, tmp_path, device="cpu")
    assert run.record()["outcome"] == "diverged" and run.record()["steps"]["trained"] < 1000
    assert "diverged at step" in finding(analyse_run(run))[0]


def test_resuming_with_other_threads_is_said_and_recorded(cut_at, tiny, tmp_path):
    cut_at(250, tiny(), tmp_path)
    said = []
    run = train_run(tiny(), tmp_path, device="cpu", threads=2, warn=said.append)
    assert "its end is not bit-identical to an undisturbed one" in said[0]
    [resumed] = run.record()["resumed"]
    assert resumed["provenance"]["threads"] == 2 and run.record()["provenance"]["threads"] == 1


def test_ids_of_runs_from_before_a_setting_was_added():
    """Literal ids from November 2026, when attention rate, scores, classes, zeros, task tokens and splits per formula were not there."""
    from epicycle.studies.furuta2024 import PRESETS, config, scratch

    known = {"quick": "a+b-p97-seed0-8d6b14a6", "full": "a2+ab+b2-p97-seed0-4d213fc9"}
    for name, formula, least in (("quick", "a + b", 5_000), ("full", "a^2 + a*b + b^2", 10_000)):
        preset = PRESETS[name]._replace(min_steps=least)
        found = config(scratch(formula), 0, preset)
        usual = {"evaluate_every": 100, "hold_evaluations": preset.hold_evaluations}  # then of all formulas
        found = dataclasses.replace(found, schedule=dataclasses.replace(found.schedule, **usual))
        assert run_id(found.name, to_dict(found)) == known[name]


def test_processors_of_one_name_and_two_generations_are_told_apart():
    """Virtual machines call both of these AMD EPYC."""
    zen4 = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    zen5 = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    assert _named(zen4 + "\n" + zen4.replace("17", "3")) == "AMD EPYC, family 25, model 17"
    assert _named(zen5) == "AMD EPYC, family 26, model 2"
    assert _named("CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n").endswith("implementer 0x41, part 0xd4f")


def test_resuming_on_another_processor_is_said(cut_at, tiny, tmp_path, monkeypatch):
    """Of the step in PyTorch; the compiled one has the same bits on all (`test_bits`)."""
    monkeypatch.setattr("epicycle.training.engine.library", lambda precision: None)
    cut_at(250, tiny(), tmp_path)
    [begun] = list_runs(tmp_path)
    begun.update(provenance=begun.record()["provenance"] | {"processor": "Analytical Engine"})
    said = []
    run = train_run(tiny(), tmp_path, device="cpu", warn=said.append)
    assert "began on processor Analytical Engine and goes on with" in said[0]
    assert run.record()["provenance"]["processor"] == "Analytical Engine"
