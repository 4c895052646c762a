"""A run that differs from a finished one in its bound alone goes on where that one ended, and ends with the same bits."""

import dataclasses
import json
import shutil

import pytest
import torch

from epicycle.analysis.grok import grok
from epicycle.runs.directory import list_runs, open_run, run_id
from epicycle.sweep.batch import Stacked
from epicycle.sweep.plan import plan
from epicycle.sweep.pool import LocalPool
from epicycle.sweep.sweep import sweep
from epicycle.training.config import FrozenConfig, to_dict
from epicycle.training.loop import train_run, train_runs
from epicycle.training.twins import find_twin


def _same(first, second):
    def strip(run):
        return [{k: v for k, v in line.items() if k not in ("seconds", "measuring_seconds")} for line in run.history()]

    assert strip(first) == strip(second)
    assert first.checkpoint_steps() == second.checkpoint_steps()
    for step in first.checkpoint_steps():
        one, two = first.load_checkpoint(step), second.load_checkpoint(step)
        assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    one, two = first.record(), second.record()
    assert all(one[key] == two[key] for key in ("outcome", "steps", "final", "status", "config"))


def _files(run):
    return {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shorter", [200, 300, 330])  # on a checkpoint, between two, between two evaluations
def test_a_longer_run_goes_on_where_a_shorter_one_ended(tiny, tmp_path, shorter):
    whole = train_run(tiny(steps=500), tmp_path / "whole", device="cpu")
    said = []
    short = train_run(tiny(steps=shorter), tmp_path / "both", device="cpu", warn=said.append)
    before = _files(short)
    long = train_run(tiny(steps=500), tmp_path / "both", device="cpu", warn=said.append)
    _same(whole, long)
    step = shorter - shorter % 100
    assert said == [f"run {long.id} goes on from step {step} of {short.id}, which differs in what ends it alone"]
    assert long.record()["continues"] == {"id": short.id, "step": step}
    assert [each["step"] for each in long.record()["resumed"]] == [step]
    assert _files(short) == before
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == sorted([short.id, long.id])


def test_a_shorter_run_is_cut_from_a_longer_one(tiny, tmp_path):
    whole = train_run(tiny(steps=250), tmp_path / "whole", device="cpu")
    long = train_run(tiny(steps=500), tmp_path / "both", device="cpu")
    before = _files(long)
    short = train_run(tiny(steps=250), tmp_path / "both", device="cpu")
    assert [line["step"] for line in short.history()] == [line["step"] for line in whole.history()]
    assert short.history()[-1]["test_loss"] == whole.history()[-1]["test_loss"] and short.record()["continues"]
    assert short.record()["outcome"] == whole.record()["outcome"] and _files(long) == before


EASY = "a^10 + b^10"  # modulo 11 it is 2 wherever neither number is 0


def _holding(config, **changes):
    return dataclasses.replace(
        config, schedule=dataclasses.replace(config.schedule, hold_evaluations=2, grok_accuracy=0.5, **changes)
    )


def test_a_run_that_held_its_grok_is_not_trained_again(tiny, tmp_path):
    short = train_run(_holding(tiny(EASY, steps=300)), tmp_path, device="cpu")
    assert short.record()["steps"]["trained"] < 300
    [planned] = plan([_holding(tiny(EASY, steps=500))], tmp_path)
    assert (planned.status, planned.steps) == ("begun", 0)
    whole = train_run(_holding(tiny(EASY, steps=500)), tmp_path / "whole", device="cpu")
    _same(whole, train_run(_holding(tiny(EASY, steps=500)), tmp_path, device="cpu"))


def test_a_run_that_went_on_after_its_grok_is_cut_where_the_other_ends(tiny, tmp_path):
    """A twin without early stop went past the end: what comes after that end is left out."""
    whole = train_run(_holding(tiny(EASY, steps=300)), tmp_path / "whole", device="cpu")
    train_run(tiny(EASY, steps=300), tmp_path, device="cpu")
    cut = train_run(_holding(tiny(EASY, steps=300)), tmp_path, device="cpu")
    assert cut.record()["continues"]["step"] <= whole.record()["steps"]["trained"] < 300
    _same(whole, cut)


def test_one_damaged_checkpoint_leaves_the_others(tiny, tmp_path):
    whole = train_run(tiny(steps=500), tmp_path / "whole", device="cpu")
    short = train_run(tiny(steps=300), tmp_path, device="cpu")
    (short.path / "checkpoints" / "step-00000300.safetensors").write_bytes(b"")
    (short.path / "checkpoints" / "step-00000050.safetensors").write_bytes(b"")
    long = train_run(tiny(steps=500), tmp_path, device="cpu")
    assert long.record()["continues"]["step"] == 200 and not long.damage(500)
    assert long.history()[-1]["test_loss"] == whole.history()[-1]["test_loss"]
    assert 50 not in long.checkpoint_steps()


def test_a_run_of_an_older_version_is_gone_on_from(tiny, tmp_path):
    """Before there was a clock of measuring, lines had none."""
    whole = train_run(tiny(steps=400), tmp_path / "whole", device="cpu")
    old = train_run(tiny(steps=200), tmp_path, device="cpu")
    lines = [{k: v for k, v in line.items() if k != "measuring_seconds"} for line in old.history()]
    (old.path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for steps in (150, 200, 400):  # cut, the same, longer
        longer = dataclasses.replace(
            tiny(steps=steps), schedule=dataclasses.replace(tiny(steps=steps).schedule, hold_evaluations=9)
        )
        assert train_run(longer, tmp_path, device="cpu").record()["status"] == "finished"
    _same(whole, train_run(tiny(steps=400), tmp_path, device="cpu"))


def test_a_twin_that_was_not_measured_is_passed_over(tiny, tmp_path):
    train_run(tiny(steps=200), tmp_path, device="cpu")
    [found] = grok(tiny(steps=300), tmp_path, device="cpu")
    assert "continues" not in found.run.record() and "weights" in found.run.history()[0]["measures"]


def test_runs_that_are_trained_together_are_not_gone_on_from_one(tiny, tmp_path):
    """A stack goes on from a step that all have; a twin of one would be lost, and must not be recorded."""
    train_run(tiny(steps=200), tmp_path, device="cpu")
    both = train_runs([tiny(steps=300), tiny(steps=300, seed=1)], tmp_path, device="cpu")
    assert all("continues" not in run.record() and not run.record()["resumed"] for run in both)


def test_another_engine_is_said(tiny, tmp_path, monkeypatch):
    [short, _] = train_runs([tiny(steps=200), tiny(steps=200, seed=1)], tmp_path, device="cpu")
    assert short.record()["engine"] == "stacked"
    said = []
    train_run(tiny(steps=300), tmp_path, device="cpu", warn=said.append)
    assert len(said) == 2 and "began on the stacked step and goes on with the compiled, fused one" in said[1]


def test_a_directory_left_by_a_killed_process_is_no_run(tiny, tmp_path):
    run = train_run(tiny(steps=200), tmp_path, device="cpu")
    shutil.copytree(run.path, tmp_path / f".{run.id}.abc.part")
    assert [each.id for each in list_runs(tmp_path)] == [run.id]


def test_another_configuration_is_no_twin(tiny, tmp_path):
    train_run(tiny(steps=200), tmp_path, device="cpu")
    paths = [run.path for run in list_runs(tmp_path)]
    longer = tiny(steps=400)
    assert find_twin(longer, paths) is not None
    for other in (
        dataclasses.replace(longer, seed=1),
        dataclasses.replace(longer, optimiser=dataclasses.replace(longer.optimiser, weight_decay=0.5)),
        dataclasses.replace(longer, schedule=dataclasses.replace(longer.schedule, evaluate_every=25)),
        dataclasses.replace(longer, frozen=FrozenConfig(parts=("embedding",))),
        dataclasses.replace(longer, task=dataclasses.replace(longer.task, split_seed=1)),
        tiny("a*b", steps=400),
    ):  # fmt: skip
        assert find_twin(other, paths) is None
    assert find_twin(tiny(steps=40), paths) is None  # nothing but its beginning lies before


def test_a_run_that_was_broken_off_is_gone_on_from_unless_it_is_being_trained(cut_at, tiny, tmp_path):
    whole = train_run(tiny(steps=500), tmp_path / "whole", device="cpu")
    cut_at(250, tiny(steps=300), tmp_path)
    [short] = list_runs(tmp_path)
    assert short.record()["status"] == "training"
    with short.lock():
        busy = train_run(tiny(steps=400), tmp_path, device="cpu")
    assert "continues" not in busy.record()
    shutil.rmtree(busy.path)
    long = train_run(tiny(steps=500), tmp_path, device="cpu")
    assert long.record()["continues"]["step"] == 200
    _same(whole, long)


def test_a_damaged_twin_is_passed_over(tiny, tmp_path):
    whole = train_run(tiny(steps=400), tmp_path / "whole", device="cpu")
    short = train_run(tiny(steps=200), tmp_path, device="cpu")
    for file in (short.path / "checkpoints").iterdir():
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    long = train_run(tiny(steps=400), tmp_path, device="cpu")
    _same(whole, long)
    assert "continues" not in long.record()
    short.update(status="started")
    assert find_twin(tiny(steps=600), [short.path]) is None
    (short.path / "run.json").write_text("{")
    assert find_twin(tiny(steps=600), [short.path]) is None


def _transfer(tiny, steps, source):
    return dataclasses.replace(
        tiny("2a+b", steps=steps),
        frozen=FrozenConfig(parts=("embedding",), source=run_id(source.name, to_dict(source))),
    )


def test_transfers_are_twins_if_they_took_the_same_weights(tiny, tmp_path):
    """A source that held its grok is the same under every bound; one that went on to its bound is another."""
    held = {steps: _holding(tiny(EASY, steps=steps)) for steps in (200, 300)}
    train_run(held[200], tmp_path, device="cpu")
    train_run(_transfer(tiny, 200, held[200]), tmp_path, device="cpu")
    longer = _transfer(tiny, 400, held[300])
    [_, planned] = plan([held[300], longer], tmp_path)
    assert planned.steps == 400  # its source is not there yet, so nothing can be said
    train_run(held[300], tmp_path, device="cpu")
    [_, planned] = plan([held[300], longer], tmp_path)
    assert (planned.status, planned.steps) == ("begun", 200)
    assert train_run(longer, tmp_path, device="cpu").record()["continues"]["step"] == 200

    whole = {steps: tiny("a-b", steps=steps) for steps in (200, 300)}
    for steps in whole:
        train_run(whole[steps], tmp_path, device="cpu")
    train_run(_transfer(tiny, 200, whole[200]), tmp_path, device="cpu")
    longer = _transfer(tiny, 400, whole[300])
    [planned] = plan([longer], tmp_path)
    assert planned.steps == 400
    assert "continues" not in train_run(longer, tmp_path, device="cpu").record()


@pytest.mark.parametrize("engine", ["local", "stacked"])
def test_a_longer_sweep_does_the_rest_only(tiny, tmp_path, engine):
    short = [tiny(text, steps=200) for text in ("a+b", "a*b")] + [_holding(tiny(EASY, steps=200))]
    long = [tiny(text, steps=400) for text in ("a+b", "a*b", "2a+b")] + [_holding(tiny(EASY, steps=400))]
    make = lambda: LocalPool(1) if engine == "local" else Stacked("cpu")  # noqa: E731
    whole = sweep(long, tmp_path / "whole", make(), every_seconds=0.1)
    sweep(short, tmp_path / "both", make(), every_seconds=0.1)
    assert [each.steps for each in plan(long, tmp_path / "both")] == [200, 200, 400, 0]
    both = sweep(long, tmp_path / "both", make(), every_seconds=0.1)
    for one, other in zip(whole, both, strict=True):
        if engine == "local":
            _same(open_run(one), open_run(other))
        first, second = open_run(one).history(), open_run(other).history()
        assert [line["step"] for line in first] == [line["step"] for line in second]
        assert first[-1]["train_loss"] == pytest.approx(second[-1]["train_loss"], rel=1e-3)
    records = [json.loads((path / "run.json").read_text()) for path in both]
    assert ["continues" in record for record in records] == [True, True, False, True]
