"""Sweeps: what is planned, what survives a killed worker or driver, and what running again does."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError, DiskError, EpicycleError, RunError
from epicycle.report.sweep import sweep_page
from epicycle.runs.directory import list_runs, open_run, run_id
from epicycle.sweep.batch import Stacked
from epicycle.sweep.grid import grid_of
from epicycle.sweep.jobs import Job, run_jobs
from epicycle.sweep.plan import cost, plan
from epicycle.sweep.pool import LocalPool
from epicycle.sweep.sweep import sweep
from epicycle.tasks.modular import modular_task
from epicycle.training.config import FrozenConfig, to_dict
from epicycle.training.loop import train_run


def _id(config):
    return run_id(config.name, to_dict(config))


def _curves(root):
    """What every run under a directory saw, without wall times."""
    return {
        run.id: [(line["step"], line["train_loss"], line["test_accuracy"]) for line in run.history()]
        for run in list_runs(root)
    }


def test_plan_keeps_the_order_with_sources_in_front_of_what_needs_them(tiny, tmp_path):
    source, other = tiny("a+b", steps=100), tiny("a*b", steps=100)
    after = dataclasses.replace(tiny("2a+b", steps=100), frozen=FrozenConfig(parts=("body",), source=_id(source)))
    planned = plan([after, source, other], tmp_path)
    assert [each.id for each in planned] == [_id(source), _id(after), _id(other)]
    assert [each.after for each in planned] == [None, _id(source), None]
    assert {each.status for each in planned} == {"missing"}
    rest = cost(planned)
    assert (rest.runs, rest.steps) == (3, 300)
    assert 0 < rest.core_seconds < 60
    paths = sweep([after, source, other], tmp_path, LocalPool(2), every_seconds=0.1)
    assert [path.name for path in paths] == [_id(after), _id(source), _id(other)]
    assert open_run(paths[0]).record()["source"]["id"] == _id(source)
    again = plan([after, source, other], tmp_path)
    assert {each.status for each in again} == {"finished"}
    assert cost(again) == (0, 0, 0.0)


def test_plan_refuses_what_collides_or_has_no_source(tiny, tmp_path):
    with pytest.raises(ConfigError, match="twice"):
        plan([tiny("a*b"), tiny("a * b")], tmp_path)
    with pytest.raises(ConfigError, match="neither"):
        plan([dataclasses.replace(tiny(), frozen=FrozenConfig(parts=("body",), source="nowhere-00000000"))], tmp_path)
    with pytest.raises(ConfigError, match="without runs"):
        plan([], tmp_path)
    assert not list(tmp_path.iterdir())


def _once_killed(before, marker):
    """Dies the first time, as if the system had killed it."""
    path = Path(marker)
    if not path.exists():
        path.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def _always_killed(before):
    os.kill(os.getpid(), signal.SIGKILL)


def _value(before, value):
    return value


def _full(before):
    raise DiskError("got no space left on the disk.")


def test_a_killed_worker_loses_nothing(tmp_path):
    warned = []
    jobs = [Job("a", _once_killed, (str(tmp_path / "marker"),)), Job("b", _value, (1,)), Job("c", _value, (2,), ("a",))]
    assert run_jobs(jobs, LocalPool(2), warn=warned.append, every_seconds=0.1) == {"a": "lived", "b": 1, "c": 2}
    assert len(warned) == 1 and "killed" in warned[0]
    with pytest.raises(RunError, match="3 times"):
        run_jobs([Job("x", _always_killed)], LocalPool(1), every_seconds=0.1)


def test_a_failed_job_stops_only_what_comes_after_it():
    done = []

    class Recording:
        """An engine in this process."""

        def __init__(self):
            self.jobs = []

        def free(self):
            return 1 - len(self.jobs)

        def begin(self, job, before):
            self.jobs.append((job, before))

        def finished(self, seconds):
            job, before = self.jobs.pop()
            try:
                result = job.work(before, *job.arguments)
            except Exception as error:
                return [(job, error)]
            done.append(job.name)
            return [(job, result)]

        def close(self, *, now=False):
            done.append("closed")

    jobs = [Job("full", _full), Job("after", _value, (1,), ("full",)), Job("other", _value, (2,))]
    with pytest.raises(DiskError, match="2 of 3 jobs could not be done; the first, full"):
        run_jobs(jobs, Recording())
    assert done == ["other", "closed"]
    done.clear()
    chain = [
        *jobs[:2],
        Job("last", _value, (3,), ("after",)),
        Job("very last", _value, (4,), ("last", "other")),
        jobs[2],
    ]
    with pytest.raises(DiskError, match="4 of 5 jobs could not be done"):
        run_jobs(chain, Recording())
    assert done == ["other", "closed"]


SCRIPT = """
import dataclasses, json, sys
from pathlib import Path
from epicycle.sweep.pool import LocalPool
from epicycle.sweep.sweep import sweep
from epicycle.training.config import from_dict
if __name__ == "__main__":
    configs = [from_dict(values) for values in json.loads(Path(sys.argv[1]).read_text())]
    sweep(configs, sys.argv[2], LocalPool(2), every_seconds=0.1)
"""


def test_a_script_without_a_guard_is_told_so_once(tiny, tmp_path):
    guard = 'if __name__ == "__main__":\n'
    assert guard in SCRIPT
    (tmp_path / "script.py").write_text(SCRIPT.replace(guard, "if True:\n"))
    (tmp_path / "configs.json").write_text(json.dumps([to_dict(tiny(seed=seed)) for seed in (0, 1, 2)]))
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "configs.json"), str(tmp_path / "runs")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("Traceback") == 1
    assert "got a script that starts workers when it is imported" in ended.stderr.splitlines()[-1]
    assert not list_runs(tmp_path / "runs")


def _configs(tiny, count=4, steps=800):
    return [tiny(text, steps=steps, seed=seed) for text in ("a+b", "a*b") for seed in range(count // 2)]


def test_a_killed_driver_loses_nothing_and_does_nothing_twice(tiny, tmp_path):
    configs = _configs(tiny)
    undisturbed = tmp_path / "undisturbed"
    for config in configs:
        train_run(config, undisturbed, device="cpu")
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "configs.json").write_text(json.dumps([to_dict(config) for config in configs]))
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "configs.json"), str(tmp_path / "killed")]
    driver = subprocess.Popen(command)
    finished = lambda: [run for run in list_runs(tmp_path / "killed") if run.record()["status"] == "finished"]  # noqa: E731
    deadline = time.monotonic() + 120
    while not 1 <= len(finished()) < 4:
        assert time.monotonic() < deadline and driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    before = {run.id: (run.path / "history.jsonl").stat().st_mtime_ns for run in finished()}
    time.sleep(1.5)  # workers see that their driver is gone and end
    paths = sweep(configs, tmp_path / "killed", LocalPool(2), every_seconds=0.1)
    assert len(set(paths)) == 4
    assert _curves(tmp_path / "killed") == _curves(undisturbed)
    for name, stamp in before.items():
        assert (tmp_path / "killed" / name / "history.jsonl").stat().st_mtime_ns == stamp  # not touched again


def _threads(before):
    import numpy  # its BLAS reads the environment now

    return os.environ["OPENBLAS_NUM_THREADS"], numpy.__name__


def test_workers_have_one_blas_thread_and_the_driver_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert run_jobs([Job("a", _threads)], LocalPool(1), every_seconds=0.1)["a"][0] == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_a_grid_spells_formulas_as_the_tables_do(tiny, tmp_path):
    from epicycle.sweep.grid import grid_of

    source = tiny("a+b")
    frozen = dataclasses.replace(tiny("2a+b"), frozen=FrozenConfig(parts=("body",), source=_id(source)))
    grid = grid_of([source, frozen], tmp_path)
    assert [c.formulas for c in grid.conditions] == [("a + b",), ("2*a + b",)]
    assert grid.conditions[1].source == "a + b"
    assert grid.conditions[1].rival.formulas == ("2*a + b",) and not grid.conditions[1].rival.parts
    assert grid.finished(grid.conditions[0], 0) is None and grid.history(grid.conditions[0], 0) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a+b,"], "mixture of one"),
        (["a+b", "a + b"], "twice"),
        ([], "without runs"),
        (["a+b", "--freeze", "body"], "--freeze without a source"),
        (["a+b", "--sources", "a*b", "--freeze", "head"], "part 'head'"),
        (["a+b", "--train-fractions", "0.3,x"], "--train-fractions"),
        (["a+b", "--seeds", "0"], "--seeds 0"),
        (["a+b", "--train-fractions", "0.3,0.30"], "0.3 twice in --train-fractions"),
        (["a+b", "--moduli", "11,11"], "11 twice in --moduli"),
        (["a+b", "--sources", "a*b,ab", "--freeze", "body"], "a*b twice in --sources"),
        (["a+b", "--sources", "a*b", "--freeze", "body+embedding,embedding+body"], "body+embedding twice in --freeze"),
        (["a+x"], "variable 'x'"),
    ],
)
def test_bad_sweeps_are_one_sentence(tmp_path, capsys, words, said):
    assert main(["sweep", *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_split_and_weights_have_seeds_of_their_own(tmp_path, capsys):
    words = [
        "sweep",
        "a+b",
        "--moduli",
        "11",
        "--train-fractions",
        "0.5",
        "--seeds",
        "3",
        "--out",
        str(tmp_path),
        "--plan",
        "--json",
    ]
    assert main([*words, "--split-seed", "5"]) == 0
    fixed = {each["id"] for each in json.loads(capsys.readouterr().out)["runs"]}
    assert main(words) == 0
    moving = {each["id"] for each in json.loads(capsys.readouterr().out)["runs"]}
    assert len(fixed) == len(moving) == 3 and not fixed & moving
    assert main([*words, "--weight-seed", "5"]) == 0
    other = {each["id"] for each in json.loads(capsys.readouterr().out)["runs"]}
    assert len(other) == 3 and not other & (fixed | moving)
    assert main([*words, "--weight-seed", "5", "--split-seed", "5"]) == 2
    assert "one of the two to vary" in capsys.readouterr().err


def test_a_grid_of_splits_goes_by_them(tiny, tmp_path):
    configs = [tiny("a+b", seed=5) for _ in range(3)]
    configs = [dataclasses.replace(c, task=dataclasses.replace(c.task, split_seed=i)) for i, c in enumerate(configs)]
    grid = grid_of(configs, tmp_path)
    assert grid.seeds == (0, 1, 2) and len(grid.configs) == 3 and len(grid.conditions) == 1
    said = " ".join(sweep_page(grid, "").doubts)
    assert "All seeds share the weights that they begin with (seed 5): intervals are about splits alone." in said
    assert "share one split" not in said


def test_a_stack_leaves_the_same_runs_as_the_pool(tiny, tmp_path):
    """Runs of two shapes, one of them begun before: each stack goes on from where its runs are."""
    configs = [tiny(seed=0), tiny(seed=1), tiny("a*b", seed=0), tiny(("a + b", "a*b"))]
    sweep(configs, tmp_path / "pool", LocalPool(2))
    begun = tmp_path / "stack" / _id(configs[1])
    source = tmp_path / "pool" / _id(configs[1])
    shutil.copytree(source, begun)
    record = json.loads((begun / "run.json").read_text())
    record["status"] = "running"
    (begun / "run.json").write_text(json.dumps(record))
    for path in begun.glob("checkpoints/*"):
        if "300" in path.name or "200" in path.name:
            path.unlink()
    sweep(configs, tmp_path / "stack", Stacked("cpu"))
    a, b = (_curves(tmp_path / name) for name in ("pool", "stack"))
    assert a.keys() == b.keys()
    for name in a:
        assert [line[0] for line in a[name]] == [line[0] for line in b[name]]
        np.testing.assert_allclose([line[1] for line in a[name]], [line[1] for line in b[name]], rtol=2e-3)


def test_a_bad_run_does_not_take_its_stack_with_it(tiny, tmp_path):
    configs = [tiny(seed=seed) for seed in range(3)]
    (tmp_path / _id(configs[1])).mkdir()
    (tmp_path / _id(configs[1]) / "run.json").write_text("{")
    said = []
    with pytest.raises(RunError, match="1 of 3 jobs"):
        sweep(configs, tmp_path, Stacked("cpu"), warn=said.append)
    finished = [path.name for path in tmp_path.iterdir() if (path / "history.jsonl").is_file()]
    assert sorted(finished) == sorted(_id(c) for c in (configs[0], configs[2]))
    engine = Stacked("cpu", warn=said.append)
    bad = Job(
        "bad",
        None,
        (
            dataclasses.replace(tiny(seed=5), frozen=FrozenConfig(parts=("body",), source="nowhere")),
            str(tmp_path),
            None,
            None,
        ),
    )
    good = Job(
        "good",
        None,
        (
            dataclasses.replace(tiny(seed=4), frozen=FrozenConfig(parts=("body",), source="random")),
            str(tmp_path),
            None,
            None,
        ),
    )
    engine.begin(bad, {})
    engine.begin(good, {})
    outcomes = {}
    while len(outcomes) < 2:
        outcomes |= {job.name: outcome for job, outcome in engine.finished(0.1)}
    assert isinstance(outcomes["bad"], EpicycleError) and outcomes["good"].endswith(_id(good.arguments[0]))
    assert any("one by one" in text for text in said)


def test_the_page_names_frozen_parts_for_what_they_are(tmp_path, capsys):
    """PG-E is a grokked run's embedding: random weights, and two parts together, have no published name."""
    words = ["sweep", "a*b", "--moduli", "11", "--train-fractions", "0.5", "--seeds", "1", "--max-steps", "100", "--out", str(tmp_path)]  # fmt: skip
    given = [
        "--loss",
        "margin",
        "--sources",
        "a+b,random",
        "--freeze",
        "embedding,embedding+body",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    assert main([*words, *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kept = [(tuple(each["condition"]["parts"]), each["condition"]["source"]) for each in found["runs"]]
    assert len(kept) == 6 and kept.count(((), None)) == 2
    assert set(kept) == {
        ((), None),
        *((parts, source) for parts in (("embedding",), ("embedding", "body")) for source in (None, "a + b")),
    }
    page = Path(found["report"]).read_text()
    assert "Set otherwise than in the recipe: loss margin." in page
    assert "PG-E and random weights: embedding frozen" in page and "PG-T" not in page
    assert "embedding and body frozen, p = 11" in page and "random weights" in page
    assert "With 1 seed no sign test can give less than 1." in page


def _parsed(words):
    from epicycle.cli.main import _parser
    from epicycle.cli.sweep import configs

    return configs(_parser().parse_args(["sweep", *words]))


def test_settings_of_mixtures_leave_single_formulas_alone(tmp_path):
    words = [
        "a+b",
        "a+b,a*b",
        "--sources",
        "a+b",
        "--freeze",
        "body",
        "--split-per",
        "formula",
        "--zeros",
        "excluded",
        "--out",
        str(tmp_path),
    ]
    found = _parsed(words)
    assert {(len(c.task.formulas), c.task.split_per) for c in found} == {(1, "tuple"), (2, "formula")}
    assert {c.task.zeros for c in found} == {"excluded"}
    grid_of(found, tmp_path)
    with pytest.raises(ConfigError, match="expected a mixture"):
        _parsed(["a+b", "--split-per", "formula"])
    mixed = dataclasses.replace(found[0], seed=7, optimiser=dataclasses.replace(found[0].optimiser, loss="margin"))
    with pytest.raises(ConfigError, match="loss"):
        grid_of([found[0], mixed], tmp_path)


def test_runs_with_other_numbers_of_questions_are_no_stack(tiny, tmp_path):
    """A split by unordered pairs has a few more or fewer: those runs are trained apart."""
    configs = [tiny("a/b", steps=50, seed=seed) for seed in range(6)]
    configs = [
        dataclasses.replace(c, task=dataclasses.replace(c.task, split_by="unordered", split_seed=c.seed))
        for c in configs
    ]
    counts = {modular_task(c.task).num_examples("train") for c in configs}
    assert len(counts) > 1
    paths = sweep(configs, tmp_path, Stacked("cpu"), every_seconds=0.1)
    assert len({open_run(path).id for path in paths}) == 6


def test_running_trainings_say_how_far_they_are(tiny, tmp_path):
    """From the first minute on, and not only when one is done; of a run that goes on, of what is left of it."""
    config = tiny("a + b", steps=300)
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, evaluate_every=1))
    seen = []
    sweep([config], tmp_path, LocalPool(1), progress=seen.append, every_seconds=0.01)
    shares = [share for now in seen for share in now.shares if share is not None]
    assert shares == sorted(shares) and any(0 < share < 1 for share in shares)
    assert any(now.seconds_left for now in seen)
    longer = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, max_steps=600))
    seen.clear()
    sweep([longer], tmp_path, LocalPool(1), progress=seen.append, every_seconds=0.01)
    assert min(share for now in seen for share in now.shares if share is not None) < 0.4
    said = []
    stack = Stacked("cpu", progress=lambda runs, step, last, lines, speed: said.append((len(runs), step)))
    sweep([tiny("a - b", steps=20, seed=seed) for seed in range(2)], tmp_path, stack)
    assert said[0][0] == 2 and said[-1][1] == 20


def test_sources_may_be_mixtures_and_runs_that_are_there(tmp_path, capsys):
    """A mixture that grew up, and any finished run, lend their parts; what does not fit is refused before anything is trained."""
    common = ["--moduli", "11", "--train-fractions", "0.5", "--max-steps", "50", "--seeds", "2", "--threads", "1", "--device", "cpu", "--json",
              "--engine", "stacked", "--out", str(tmp_path)]  # fmt: skip
    assert main(["sweep", "2a+b", *common, "--sources", "a+b and a*b", "--freeze", "body"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    mixtures = [run.id for run in list_runs(tmp_path) if "_and_" in run.id]
    assert len(runs) == 6 and len(mixtures) == 2
    assert {each["condition"]["source"] for each in runs} == {None, "a + b and a*b"}
    lender = mixtures[0]
    assert main(["sweep", "2a+b", *common, "--source-runs", lender, "--freeze", "body"]) == 0
    found = json.loads(capsys.readouterr().out)
    runs = found["runs"]
    assert f"take weights from one run, {lender}" in Path(found["report"]).read_text()
    lent = [open_run(tmp_path / each["id"]) for each in runs if each["condition"]["parts"]]
    assert [run.record()["source"]["id"] for run in lent] == [lender] * 2
    name = "blocks.0.mlp.W_in"
    assert all((run.weights()[name] == open_run(tmp_path / lender).weights()[name]).all() for run in lent)
    # two runs of one formula lend to every seed: each is a source of its own, and some questions are known to it
    lenders = [_id(config) for config in _parsed(["a+b", *common])]
    assert main(["sweep", "a+b", *common]) == 0
    assert main(["sweep", "a+b", *common, "--source-runs", ",".join(lenders), "--freeze", "embedding"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = {(each["seed"], each["condition"]["source"]) for each in found["runs"] if each["condition"]["parts"]}
    assert kept == {(0, "a + b"), (0, lenders[1]), (1, "a + b"), (1, lenders[0])}
    page = Path(found["report"]).read_text()
    assert "test questions were trained on by its source" in page
    assert "take weights from one run" not in page and "All seeds share" not in page
    begun = open_run(tmp_path / lender)
    begun.update(status="training")
    before = len(list(tmp_path.iterdir()))
    refused = [(["2a-b", "--source-runs", lender, "--freeze", "body"], "whose training has not ended"),
               (["a+b,a^2+b,a^3+b", "--sources", "a+b", "--freeze", "embedding"], "with shape (128, 16); expected (128, 17)"),
               (["a+b", "--source-runs", lenders[0], "--freeze", "body", "--moduli", "13"], "modulus 11"),
               (["a+b", "--source-runs", "nowhere", "--freeze", "body"], "nowhere"),
               (["2a+b", "--sources", "a+b", "--source-runs", lenders[1], "--freeze", "body"], "which is seed 1 of a+b in --sources"),
               (["a+b", "--sources", "a+b and a + b", "--freeze", "body"], "same formula twice")]  # fmt: skip
    for words, said in refused:
        assert main(["sweep", *common, *words]) == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error, error
    assert len(list(tmp_path.iterdir())) == before
