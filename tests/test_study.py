"""A whole study, as small as it can be: jobs in processes, pages, the ledger, and running it again."""

import json
import re
import time

import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError, RunError
from epicycle.studies import zhou2024
from epicycle.studies.zhou2024_claims import CLAIMS, ledger
from epicycle.sweep.jobs import Job, run_jobs
from epicycle.sweep.pool import LocalPool
from epicycle.training.language_config import ShapeConfig, StepConfig


def tiny(name):
    """Numbers 0..49, one layer of width 48, a few steps, three seeds."""
    return zhou2024.Preset(
        name=name, largest=49, largest_operand=24, shape=ShapeConfig(num_layers=1, width=48, num_heads=4, context=32),
        pretraining=StepConfig(steps=40, batch=8, evaluate_every=20, learning_rate=3e-3),
        finetuning=StepConfig(steps=40, batch=16, evaluate_every=20, learning_rate=3e-3), arms=("scratch", "frozen-embedding"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zhou2024, "preset", tiny)
        root = tmp_path_factory.mktemp("study")
        study = zhou2024.reproduce("quick", root, workers=2)
        began = time.perf_counter()
        again = zhou2024.reproduce("quick", root, workers=2)
        assert again.run == study.run
        assert time.perf_counter() - began < 30
    return study


def test_every_arm_and_seed_is_trained_and_explained(made):
    assert (
        set(made.finetuned)
        == set(made.explanations)
        == {(arm, seed) for arm in ("scratch", "frozen-embedding") for seed in range(3)}
    )
    assert set(made.embeddings) == {0, 1, 2}
    for (arm, seed), run in made.finetuned.items():
        resolved = run.record()["config"]["resolved"]
        assert (resolved["arm"], resolved["seed"]) == (arm, seed)
        assert [line["step"] for line in run.history()] == [0, 20, 40]
    assert len({run.id for run in made.pretrained.values()}) == 3


def test_verdicts_say_what_they_lack(made):
    entries = {entry.claim.id: entry for entry in ledger(made)}
    assert len(entries) == len(CLAIMS)
    assert entries["P1"].verdict == "not run"  # no pre-trained arm was run
    rescue = entries["P14"]
    for reading in rescue.readings:  # graded again from the files of the runs alone
        frozen, scratch = (made.explanations[arm, reading.seed].ablations for arm in ("frozen-embedding", "scratch"))
        right = [float((a.differences["none none"] == 0).mean()) for a in (frozen, scratch)]
        assert reading.value <= right[0]  # over the whole vocabulary never more than over the numbers
        assert reading.holds == (reading.value >= 0.99 and reading.control < 0.95)
    held = sum(r.holds for r in rescue.readings)
    assert len(rescue.readings) == 3
    assert rescue.verdict == {0: "refuted", 3: "confirmed"}.get(held, "undetermined")
    assert entries["P15a"].verdict == entries["C11"].verdict == "not run"
    for entry in entries.values():
        values = entry.as_json()
        assert isinstance(values["published"], str)
        assert values["measured"] is None or isinstance(values["measured"], float)
    without = made._replace(
        explanations={key: value for key, value in made.explanations.items() if key[0] != "scratch"}
    )
    assert {e.claim.id: e for e in ledger(without)}["P14"].verdict == "undetermined"  # nothing to compare with


def test_pages_are_whole_and_quiet_in_a_browser(made, browse):
    from epicycle.report.explain import write_explanation
    from epicycle.report.zhou2024 import write_study

    pages = [write_study(made, ledger(made)), write_explanation(made.explanations["frozen-embedding", 0])]
    for path in pages:
        text = path.read_text()
        assert len(text) < 2 * 2**20
        assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", text.replace('xlink:href="#', 'href="#'))
        json.loads(path.with_suffix(".json").read_text())
        done = browse(path, "--dump-dom")
        assert "CONSOLE" not in done.stderr
        assert "What would make this wrong" in done.stdout
        assert done.stdout.count("<svg") >= 4


def test_reports_are_rendered_again(made, capsys):
    assert main(["report", str(made.run.path)]) == 0
    assert main(["cite", str(made.run.path), "--json"]) == 0
    assert "zhou2024" in json.loads(capsys.readouterr().out)["references"]
    assert main(["report", str(made.pretrained[0].path)]) == 2


def _double(before, value):
    return 2 * value + sum(before.values())


def _fail(before):
    raise RunError("got a fault; expected none. Mend it.")


def test_jobs_follow_their_order_and_fail_with_their_sentence():
    jobs = [Job("b", _double, (1,), ("a",)), Job("a", _double, (5,)), Job("c", _double, (0,), ("a", "b"))]
    seen = []
    found = run_jobs(jobs, LocalPool(2), progress=seen.append, every_seconds=0.1)
    assert found == {"a": 10, "b": 12, "c": 22}
    assert seen[-1].finished == 3
    assert seen[-1].seconds_left == 0
    with pytest.raises(RunError, match="Mend it"):
        run_jobs([Job("x", _fail), Job("y", _double, (1,), ("x",))], LocalPool(1))


def test_presets_are_what_their_names_say():
    for name in ("demo", "quick", "laptop"):
        assert zhou2024.preset(name).name == name
    assert zhou2024.preset("laptop").seeds == (0, 1, 2)
    with pytest.raises(ConfigError, match="quick or laptop"):
        zhou2024.preset("desk")
    with pytest.raises(ConfigError, match="arm"):
        zhou2024.reproduce("quick", arms=("thawed",))
    assert main(["reproduce", "zhou2024", "--only", "P99"]) == 2
    with pytest.raises(ConfigError, match="seed"):
        zhou2024.reproduce("quick", seeds=(-1,))
    assert main(["reproduce", "zhou2024", "--seeds", "0"]) == 2
