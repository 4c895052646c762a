"""A whole study, as small as it can be: jobs in processes, pages, the ledger, and running it again."""

import dataclasses
import json
import re
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError, RunError
from epicycle.models.language import start_digest
from epicycle.report.zhou2024_figures import models_of
from epicycle.studies import (
    zhou2024,
    zhou2024_claims,
    zhou2024_controls,
    zhou2024_embeddings,
    zhou2024_measures,
    zhou2024_presets,
)
from epicycle.studies.zhou2024_claims import CLAIMS, ledger
from epicycle.sweep.jobs import Job, run_jobs
from epicycle.sweep.pool import LocalPool
from epicycle.training.language_config import ShapeConfig, StepConfig

ARMS = ("scratch", "frozen-embedding", zhou2024_presets.GENTLE)


def tiny(name):
    """Numbers 0..49, one layer of width 48, a few steps, three seeds."""
    return zhou2024_presets.Preset(
        name=name, largest=49, largest_operand=24, shape=ShapeConfig(num_layers=1, width=48, num_heads=4, context=32),
        pretraining=StepConfig(steps=40, batch=8, evaluate_every=20, learning_rate=3e-3),
        finetuning=StepConfig(steps=40, batch=16, evaluate_every=20, learning_rate=3e-3), arms=ARMS,
        with_sums=StepConfig(steps=30, batch=8, evaluate_every=15, learning_rate=3e-3), gently=StepConfig(steps=40, batch=16, evaluate_every=20),
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
    assert set(made.finetuned) == set(made.explanations) == {(arm, seed) for arm in ARMS for seed in range(3)}
    assert set(made.embeddings) == {0, 1, 2}
    for (arm, seed), run in made.finetuned.items():
        resolved = run.record()["config"]["resolved"]
        assert (resolved["arm"], resolved["seed"]) == ("pretrained" if arm == zhou2024_presets.GENTLE else arm, seed)
        assert [line["step"] for line in run.history()] == [0, 20, 40]
    assert len({run.id for run in made.pretrained.values()}) == 3


def test_the_gently_tuned_arm_starts_from_a_model_that_read_training_sums(made):
    for seed, base in made.readers.items():
        [solved] = base.record()["config"]["resolved"]["text"]["solved"]
        run = made.finetuned[zhou2024_presets.GENTLE, seed]
        assert run.record()["config"]["resolved"]["start"] == start_digest(base.path)
        assert (
            run.record()["config"]["resolved"]["prompts"] == solved
        )  # so that what is held out there is held out here
        assert made.explanations[zhou2024_presets.GENTLE, seed].facts["questions"]["trained_on"] == 0
        assert made.reader_embeddings[seed].facts["questions"]["trained_on"] == 0
        assert made.reader_embeddings[seed].facts["name"] == base.id
    assert set(made.readers) == {0, 1, 2}


def test_a_whole_study_has_every_variant_of_both_tuned_arms():
    chosen = zhou2024_presets.preset("full")
    jobs = {job.name: job for job in zhou2024.jobs_of(chosen, "runs")}
    for name, arm, seed in zhou2024_presets.variants_of(chosen):
        [on] = jobs[f"explain {zhou2024_presets.variant_job(name, arm, seed)}"].after
        base = {"pretrained": f"pretrain {seed}", zhou2024_presets.GENTLE: f"read sums {seed}"}[arm]
        if name in zhou2024_presets.OTHER_TASKS:
            assert jobs[on].after == (base,)
        else:
            assert on == (base if name == zhou2024_presets.PROMPTED else f"{arm} {seed}")
    sizes = {name: zhou2024_presets.variant_config(chosen, name).numbers for name in zhou2024_presets.VARIANTS}
    assert (
        sizes["as printed"],
        sizes["as printed, cut by row"],
        sizes[zhou2024_presets.HALF],
        sizes["cut at 26"],
        sizes["swapped"],
    ) == (191, 101, 100, 100, 200)
    without = dataclasses.replace(chosen, arms=("scratch",), extras=False)
    assert not any("sums" in job.name for job in zhou2024.jobs_of(without, "runs"))
    with pytest.raises(ConfigError, match="laptop or full"):
        zhou2024.reproduce("quick", arms=[zhou2024_presets.GENTLE])


def fake(name, **parts):
    """Stands for an explanation."""
    return SimpleNamespace(name=name, **parts)


def test_claims_on_another_arm_read_that_arm_and_its_own_base():
    """Every explanation has a name of its own; what a claim is given says where it looks."""
    seeds = (0, 1, 2)
    of = lambda name: {seed: fake(f"{name} {seed}") for seed in seeds}  # noqa: E731
    named = lambda names: {(arm, seed): fake(f"{arm} {seed}") for arm in names for seed in seeds}  # noqa: E731
    study = zhou2024.Study(
        None, None, seeds, {}, {}, of("plain text"), named(("pretrained", "scratch", "frozen-embedding", zhou2024_presets.GENTLE)),
        {("swapped", s): fake(f"swapped pretrained {s}") for s in seeds}, {("swapped", s): fake(f"swapped gentle {s}") for s in seeds},
        {}, of("text with sums"),
    )  # fmt: skip
    seen = []
    claim = zhou2024_claims._UNSORTED[0]._replace(id="P1", measure=lambda study: seen.append(study) or [])
    zhou2024_claims._on(claim, "gentle", zhou2024_presets.GENTLE, "words").measure(study)
    zhou2024_claims._on(claim, "frozen", "frozen-embedding", "words").measure(study)
    gentle, frozen = seen
    for seed in seeds:
        assert gentle.explanations["pretrained", seed].name == f"{zhou2024_presets.GENTLE} {seed}"
        assert frozen.explanations["pretrained", seed].name == f"frozen-embedding {seed}"
        assert (
            gentle.explanations["scratch", seed].name == frozen.explanations["scratch", seed].name == f"scratch {seed}"
        )
        assert gentle.variants["swapped", seed].name == f"swapped gentle {seed}"
        assert gentle.embeddings[seed].name == f"text with sums {seed}"
        assert frozen.embeddings[seed].name == f"plain text {seed}"
    assert frozen.variants == {}
    assert models_of(study)["tuned"].name == f"{zhou2024_presets.GENTLE} 0"
    assert models_of(study)["base"].name == "text with sums 0"  # never that of another model
    assert models_of(study._replace(reader_embeddings={}))["base"] is None
    without = study._replace(explanations=named(("pretrained", "scratch")))
    assert (models_of(without)["tuned"].name, models_of(without)["base"].name) == ("pretrained 0", "plain text 0")


def test_what_the_width_does_not_allow_is_read_over_half_of_the_numbers():
    keep = lambda parity: {"period": 2.0, "parity": parity, "control": [{"parity": 0.5}, {"parity": 0.6}]}  # noqa: E731
    refused = {"period": 2.0, "refused": "Refused: too wide."}
    tuned = fake("tuned", ablations=fake("", numbers=200, keeps=[refused]))
    half = fake("half", ablations=fake("", numbers=100, keeps=[keep(0.97)]))
    study = zhou2024.Study(None, None, (0,), {}, {}, {}, {("pretrained", 0): tuned}, {(zhou2024_presets.HALF, 0): half})
    [found] = zhou2024_measures.parity_alone(study)
    assert (found.value, found.holds, found.what) == (0.97, True, "answers below 100")
    [found] = zhou2024_measures.parity_alone(study._replace(variants={}))
    assert found.value is None and "too wide" in found.note
    wide = fake("tuned", ablations=fake("", numbers=200, keeps=[keep(0.55)]))
    [found] = zhou2024_measures.parity_alone(study._replace(explanations={("pretrained", 0): wide}))
    assert (found.value, found.holds, found.what) == (0.55, False, "")


def spectrum(*periods):
    """Of 100 numbers, with outliers at some periods."""
    frequency = np.arange(1, 51)
    large = np.isin(frequency, [round(100 / period) for period in periods])
    share = np.where(large, 0.1, 0.01 - 1e-4 * frequency)
    p = np.where(large, 0.001, 0.5)
    return fake("", spectrum=fake("", rows=100, frequency=frequency, period=100 / frequency, share=share, null="n", p_single={"n": p}, p_family={"n": p}))  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        ((2, 2.5, 5, 10), (2, 2.5, 5, 10), True),
        ((2.5, 5), (2.5, 5), True),  # 2 and 10 were none before: tuning has nothing to keep there
        ((2.5, 5), (2, 2.5, 5, 10), True),
        ((2, 2.5, 5, 10), (2.5, 5, 10), False),
        ((), (2, 5), None),
    ],
)
def test_tuning_keeps_an_outlier_that_was_there_before(before, after, holds):
    study = zhou2024.Study(None, None, (0,), {}, {}, {0: spectrum(*before)}, {("pretrained", 0): spectrum(*after)}, {})
    study = study._replace(preset=zhou2024_presets.preset("laptop"))
    [found] = zhou2024_embeddings.kept_by_tuning(study)
    assert found.holds is holds and "period 2.5: place" in found.note
    [none] = zhou2024_embeddings.kept_by_tuning(study._replace(embeddings={}))
    assert none.holds is None and "before tuning" in none.note


def rows(**lost):
    """Ablation rows of a model that answers everything, by what a removal costs among the numbers."""
    cost = {"attn low": 0.0, "mlp low": 0.0, "attn high": 0.0, "mlp high": 0.0, "none none": 0.0} | lost
    table = {tuple(key.split()): {"accuracy": 0.0, "number_accuracy": 1 - value} for key, value in cost.items()}
    return fake("", ablations=fake("", row=lambda modules, band: table[modules, band]))


def test_a_division_over_half_of_the_numbers_is_compared_with_one_over_the_same_half():
    whole, half = rows(**{"attn low": 0.9}), rows(**{"mlp low": 0.8})
    same, turned = rows(**{"mlp low": 0.5}), rows(**{"attn low": 0.8})
    study = zhou2024.Study(None, None, (0,), {}, {}, {}, {("pretrained", 0): whole},
                           {(zhou2024_presets.HALF, 0): half, ("cut at 15", 0): same, ("cut at 26", 0): turned})  # fmt: skip
    grade = partial(zhou2024_controls.same_division, study, usually=zhou2024_presets.HALF, over="number_accuracy")
    [found] = grade(("cut at 15",))
    assert found.holds and found.control == pytest.approx(0.8) and found.value == pytest.approx(0.5)
    [found] = grade(("cut at 15", "cut at 26"))
    assert found.holds is False and found.what == "cut at 26"


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
    seen.clear()
    again = [
        Job("kept", _double, (1,), cost=0.0),
        Job("new", _double, (1,), ("kept",), cost=5e6),
        Job("next", _double, (1,), ("new",), cost=5e6),
    ]
    run_jobs(again, LocalPool(1), progress=seen.append, every_seconds=0.1)
    early = [now.seconds_left for now in seen if now.finished <= 1]
    assert early and set(early) == {None}  # what was there already tells nothing of the rest
    assert all(
        now.seconds_left is None or now.seconds_left < 60 for now in seen
    )  # half of the work is done after some seconds
    with pytest.raises(RunError, match="Mend it"):
        run_jobs([Job("x", _fail), Job("y", _double, (1,), ("x",))], LocalPool(1))


def test_what_running_jobs_have_done_is_in_the_forecast():
    """Two jobs of cost 1 and 3; the first is seen, a quarter further at every look, the other cannot be seen."""

    class OneByOne:
        def __init__(self):
            self.at, self.looks = None, 0

        def free(self):
            return int(self.at is None)

        def begin(self, job, before):
            self.at, self.looks = job, 0

        def finished(self, seconds):
            self.looks += 1
            job, self.at = self.at, None if self.looks == 4 else self.at
            return [(job, self.looks)] if self.looks == 4 else []

        def close(self, *, now=False):
            pass

    engine, seen = OneByOne(), []
    jobs = [Job("seen", _double, cost=1.0), Job("unseen", _double, cost=3.0)]
    run_jobs(jobs, engine, progress=seen.append, look=lambda job: engine.looks / 4 if job.name == "seen" else None)
    assert [now.shares for now in seen] == [(0.25,), (0.5,), (0.75,), (), (None,), (None,), (None,), ()]
    assert [now.ended for now in seen] == [0, 0, 0, 1, 1, 1, 1, 4]
    assert [(now.done, now.unseen) for now in seen] == [
        (0.25, 0), (0.5, 0), (0.75, 0), (1, 0), (1, 3), (1, 3), (1, 3), (4, 0)
    ]  # fmt: skip
    for now in seen[:4]:
        assert now.seconds_left == pytest.approx(now.working * (4 - now.done) / now.done)
    assert [now.seconds_left for now in seen[4:]] == [None, None, None, 0.0]


def test_presets_are_what_their_names_say():
    for name in ("demo", "quick", "laptop", "full"):
        assert zhou2024_presets.preset(name).name == name
    assert not zhou2024_presets.preset("laptop").extras and zhou2024_presets.preset("full").extras
    assert zhou2024_presets.preset("laptop").seeds == (0, 1, 2)
    with pytest.raises(ConfigError, match="quick, laptop or full"):
        zhou2024_presets.preset("desk")
    with pytest.raises(ConfigError, match="arm"):
        zhou2024.reproduce("quick", arms=("thawed",))
    assert main(["reproduce", "zhou2024", "--only", "P99"]) == 2
    with pytest.raises(ConfigError, match="seed"):
        zhou2024.reproduce("quick", seeds=(-1,))
    assert main(["reproduce", "zhou2024", "--seeds", "0"]) == 2


def test_given_models_are_graded_on_parts_of_their_questions(made, tmp_path, capsys):
    tuned, base = made.finetuned["frozen-embedding", 0].path, made.pretrained[0].path
    command = [
        "reproduce",
        "zhou2024",
        "--model",
        str(tuned),
        "--limit",
        "30",
        "--out",
        str(tmp_path),
        "--threads",
        "1",
        "--json",
    ]
    assert main([*command, "--base", str(base), "--figures"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    claims = {each["id"]: each for each in found["claims"]}
    assert claims["P1"]["seeds"] == 3 and claims["P1"]["verdict"] == "refuted"
    assert claims["P11a"]["seeds"] == 1  # a table has no parts
    assert {claims[name]["verdict"] for name in ("P14", "P16", "C3", "C9a", "K1", "P18")} == {"not run"}
    gallery = json.loads((tmp_path / found["gallery"].split("/")[-2] / "figures.json").read_text())["figures"]
    assert len(gallery) == 44 and len({each["file"] for each in gallery}) == 43
    drawn = [each for each in gallery if each["files"]]
    assert {each["needs"] for each in drawn} == {"tuned", "base"}
    folder = tmp_path / found["gallery"].split("/")[-2] / "figures"
    assert all((folder / name).stat().st_size > 500 for each in drawn for name in each["files"])
    assert "not drawn, needs" in (folder.parent / "figures.html").read_text()
    assert main(command) == 0  # without the base: nothing is said of an embedding before tuning
    claims = {each["id"]: each for each in json.loads(capsys.readouterr().out)["claims"]}
    assert claims["P11a"]["verdict"] == claims["F1"]["verdict"] == "not run"
    [study] = [path for path in tmp_path.glob("zhou2024-model-*") if not (path / "figures").is_dir()]
    assert main(["report", str(study)]) == 0
    assert "--limit 30" in (study / "report.html").read_text()  # the command that made it


@pytest.mark.parametrize(("words", "said"), [
    (["--base", "x"], "without --model"), (["--model", "nowhere-at-all/x y"], "expected"), (["--model", ".", "--arms", "scratch"], "nothing is trained"),
])  # fmt: skip
def test_bad_models_are_one_sentence(tmp_path, capsys, words, said):
    assert main(["reproduce", "zhou2024", *words, "--out", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not (tmp_path / "r").exists()
