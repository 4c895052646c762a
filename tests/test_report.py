import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from epicycle.analysis.decomposition import kept_decomposition
from epicycle.analysis.grok import analyse_run, grok
from epicycle.cli.main import main
from epicycle.fourier.measures import ffd
from epicycle.report.grok import _besides, _named, _nulls, finding, grok_page, leaked, write_report
from epicycle.report.page import Page, Section, Tile, embedded_json, number, render, table


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    from epicycle.tasks.modular import TaskConfig
    from epicycle.training.config import ScheduleConfig, furuta2024

    schedule = ScheduleConfig(
        max_steps=200, evaluate_every=50, measure_every=100, checkpoint_every=100, hold_evaluations=0
    )
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for name, formulas, modulus in (
        ("sum", ("a+b",), 11),
        ("mixture", ("a+b", "a*b"), 11),
        ("even", ("a-b",), 12),
        ("three", ("a+b+c",), 5),
    ):
        config = furuta2024(TaskConfig(formulas=formulas, modulus=modulus, train_fraction=0.5), schedule)
        [found[name]] = grok(dataclasses.replace(config), root, device="cpu")
        write_report(found[name])
    return found


def test_page_is_self_contained(runs):
    for found in runs.values():
        text = (found.run.path / "report.html").read_text()
        assert len(text) < 2 * 2**20
        assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", text.replace('xlink:href="#', 'href="#'))
        assert "default-src 'none'" in text and "@import" not in text
        json.loads((found.run.path / "report.json").read_text())


def test_page_says_what_was_found_and_what_would_make_it_wrong(runs):
    text = (runs["sum"].run.path / "report.html").read_text()
    for needle in ("did not learn a + b modulo 11", "What would make this wrong", "commonest answer", "White noise",
                   "epicycle grok &#39;a + b&#39; --modulus 11", "arXiv:2402.16726", "Read with care"):  # fmt: skip
        assert needle in text, needle
    assert text.count("<svg") >= 5


def test_mixture_has_sections_for_each_formula_and_three_operands_none(runs):
    titles = [s.title for s in grok_page(runs["mixture"]).sections]
    assert "a*b: Are the frequencies used?" in titles and "a + b: Are the frequencies used?" in titles
    assert [s.anchor for s in grok_page(runs["three"]).sections] == ["training", "provenance"]
    assert (
        "is not analysed: planes of the answer are defined for two operands, and it has 3"
        in grok_page(runs["three"]).finding[-1]
    )


def test_the_command_in_the_report_makes_the_same_run(runs):
    import shlex

    from epicycle.cli.grok import configs
    from epicycle.cli.main import _parser
    from epicycle.report.sections import command
    from epicycle.runs.directory import config_hash
    from epicycle.training.config import to_dict

    for found in runs.values():
        options = _parser().parse_args(shlex.split(command(found))[1:])
        [config] = configs(options)
        assert config_hash(to_dict(config)) == found.run.record()["config"]["sha256"]


def test_same_run_same_bytes(runs):
    first = render(grok_page(runs["sum"]))
    assert render(grok_page(analyse_run(runs["sum"].run))) == first


def test_text_is_escaped():
    evil = "<script>alert(1)</script>"
    page = Page(
        evil,
        evil,
        (evil,),
        (Tile(evil, evil, evil),),
        (evil,),
        (Section("x", evil, evil, table([evil], [[evil]], evil), (evil,)),),
        {},
    )
    assert evil not in render(page) and "&lt;script&gt;" in render(page)
    assert "</script>" not in embedded_json({"a": evil})


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234567, "1,234,567"), (0.12345, "0.1235"), (1.5e-8, "1.50e-08"), (None, "not defined"),
     (float("nan"), "not defined"), (4.5747, "4.575"), (2561.4, "2,561"), (9999.7, "10,000"), (28150.0, "28,150")],
)  # fmt: skip
def test_numbers_as_people_read_them(value, text):
    assert number(value) == text


def test_browser_shows_it_without_error_or_request(runs, tmp_path, browse):
    log = tmp_path / "net.json"
    done = browse(runs["sum"].run.path / "report.html", "--dump-dom", f"--log-net-log={log}")
    assert "CONSOLE" not in done.stderr
    assert 'aria-label="numbers at frequency' in done.stdout or "data-circles" in done.stdout
    assert re.search(r"<output>step 200, test accuracy 0\.\d+</output>", done.stdout), "the slider did not start"
    urls = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text()))
    assert not {u for u in urls if "epicycle" in u or "report" in u}
    hosts = {u.split("/")[2] for u in urls}
    assert all(re.search(r"google|gstatic|chromium", host) for host in hosts), hosts  # the browser's own start-up


def test_a_console_error_would_be_seen(tmp_path, browse):
    (tmp_path / "bad.html").write_text("<script>throw new Error('seen')</script>")
    assert "CONSOLE" in browse(tmp_path / "bad.html", "--dump-dom").stderr


@pytest.mark.parametrize(
    ("full", "restricted", "excluded", "control", "expected"),
    [
        (3e-7, 5e-8, 6.0, 1e-7, "made of"),
        (2e-5, 2e-5, 2.7, 1e-5, "made of"),  # excluded below guessing, yet far above its controls
        (0.3, 1.2, 19.0, 2e-6, "leaned on"),  # other frequencies are needed too
        (6.6, 1.7, 0.03, 1e-4, "not shown"),  # hardly worse without them
        (0.002, 0.7, 0.004, 0.003, "not shown"),  # no worse than the controls
    ],
)
def test_verdict_follows_the_losses(full, restricted, excluded, control, expected):
    from types import SimpleNamespace

    from epicycle.report.grok import verdict

    losses = {"full": full, "full_train": 1e-7, "restricted": restricted, "excluded": excluded, "control": (control,),
              "subspace": (1e-7,)}  # fmt: skip
    circuit = SimpleNamespace(
        key_frequencies=(3,), modulus=31, basis="additive", losses={"additive": {"answer": losses}}
    )
    assert verdict(circuit) == expected
    assert verdict(SimpleNamespace(key_frequencies=())) == "none"


def _with(found, last, **changes):
    """The same run with other numbers in its record and at the end of its history."""

    class Other:
        def __init__(self, run):
            self.path, self.id = run.path, run.id
            self._record = run.record() | changes
            self._history = [*run.history()[:-1], run.history()[-1] | last]

        def record(self):
            return self._record

        def history(self):
            return self._history

    return found._replace(run=Other(found.run))


def test_nothing_is_said_of_how_a_memoriser_answers(runs):
    """Half of the questions that memory, symmetry and the commonest answer miss have to be answered."""
    from epicycle.analysis.grok import config_of
    from epicycle.report.grok import has_learned
    from epicycle.tasks.modular import modular_task

    found = runs["sum"]
    task = modular_task(config_of(found.run).task)
    half = (1 + task.baseline_accuracy()) / 2
    assert not has_learned(_with(found, {"test_accuracy": half - 0.01}), task, 0)
    assert has_learned(_with(found, {"test_accuracy": half + 0.01}), task, 0)
    led = found._replace(circuits=(dataclasses.replace(found.circuits[0], key_frequencies=(2,)),))
    poor, good = (finding(_with(led, {"test_accuracy": value}))[-1] for value in (0.1, 1.0))
    assert "too few test questions" in poor and "too few" not in good
    mixture = runs["mixture"]
    task = modular_task(config_of(mixture.run).task)
    tasks = {"tasks": {"a + b": {"test_accuracy": 1.0}, "a*b": {"test_accuracy": 0.2}}}
    assert [has_learned(_with(mixture, tasks), task, i) for i in (0, 1)] == [True, False]
    own = [(1 + task.baseline_accuracy(i)) / 2 for i in (0, 1)]
    assert own[0] != pytest.approx(own[1])
    between = {
        "tasks": {text: {"test_accuracy": sum(own) / 2} for text in ("a + b", "a*b")}
    }  # what the mean would decide for both
    assert [has_learned(_with(mixture, between), task, i) for i in (0, 1)] == [own[i] <= sum(own) / 2 for i in (0, 1)]


def test_a_run_that_fell_back_is_not_called_learned(runs):

    found = runs["sum"]
    steps = {"memorised": 50, "first": 100, "sustained": 100, "stable": None, "trained": 200}
    history = found.run.history()
    fell = _with(found, {"test_accuracy": 0.9}, outcome="grokked", steps=steps)
    fell.run._history = [line | {"test_accuracy": 1.0 if line["step"] in (50, 100, 150) else 0.9} for line in history]
    said = finding(fell)[0]
    assert "fell back" in said and "step 150" in said and "by rule" not in said
    assert any("fell back" in tile.note for tile in grok_page(fell).tiles)


def test_what_looking_up_gives_stands_beside_what_was_learned(runs, monkeypatch):
    from epicycle.tasks.modular import Task

    steps = {"memorised": 50, "first": 100, "sustained": 150, "stable": 100, "trained": 200}
    found = _with(runs["sum"], {}, outcome="grokked", steps=steps)
    for share, words in ((0.2, " by rule: "), (0.995, ", which looking up could give as well: ")):
        monkeypatch.setattr(Task, "lookup_accuracy", lambda self, index=None, share=share: share)
        said = finding(found)[0]
        assert f"learned a + b modulo 11{words}" in said and f"looked up: {share:.1%})" in said
        assert "It grokked at step 100, and stayed so for three evaluations in a row from step 150." in said


def test_what_the_source_was_trained_on_is_said(tiny, tmp_path):
    """Frozen weights of a run on the same formula with another split: its training pairs are among the test pairs here."""
    from epicycle.training.config import FrozenConfig

    [source] = grok(tiny("a+b", steps=100), tmp_path, device="cpu")
    frozen = FrozenConfig(parts=("embedding",), source=source.run.id)
    doubts, runs = {}, {}
    for split, formula in ((0, "a+b"), (1, "a+b"), (1, "a*b")):
        config = tiny(formula, steps=100)
        config = dataclasses.replace(config, frozen=frozen, task=dataclasses.replace(config.task, split_seed=split))
        [found] = grok(config, tmp_path, device="cpu")
        doubts[split, formula] = " ".join(grok_page(found).doubts)
        runs[split, formula] = found
    assert "were trained on by the run that the frozen weights come from" in doubts[1, "a+b"]
    assert "frozen weights come from" not in doubts[0, "a+b"] + doubts[1, "a*b"]
    # the source moves away: what it was trained on is on record, but was not in records of before
    shutil.rmtree(source.run.path)
    share = leaked(runs[1, "a+b"].run)
    assert share > 0 and " ".join(grok_page(runs[1, "a+b"]).doubts) == doubts[1, "a+b"]
    facts = runs[1, "a+b"].run.record()["source"]
    runs[1, "a+b"].run.update(source={name: value for name, value in facts.items() if name != "task"})
    assert leaked(runs[1, "a+b"].run) is None
    # of a checkpoint of another project only the formula is known
    for place, expected in (((1, "a+b"), None), ((1, "a*b"), 0.0)):
        runs[place].run.update(source=facts | {"outcome": "imported"})
        assert leaked(runs[place].run) == expected
    assert "the run that the frozen weights come from is not known" in " ".join(grok_page(runs[1, "a+b"]).doubts)


def test_a_history_that_lost_lines_is_not_read(tiny, tmp_path):
    from epicycle.errors import RunError

    [found] = grok(tiny("a+b", steps=200), tmp_path, device="cpu")
    file = found.run.path / "history.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="of its 5 evaluations"):
        analyse_run(found.run)
    [again] = grok(tiny("a+b", steps=200), tmp_path, device="cpu")
    assert [line["step"] for line in again.run.history()] == [0, 50, 100, 150, 200]


def test_frequencies_of_the_weights_that_do_not_lead_the_logits_are_named():
    from types import SimpleNamespace

    p_values = {f"additive/{site}/family": np.ones(10) for site in ("W_E", "W_L")}
    circuit = SimpleNamespace(
        basis="additive",
        period=21,
        key_frequencies=(2, 3),
        operand_frequencies=(2, 3),
        multipliers={"additive": [1, 20]},
        same_waves={"additive": [[5, 6]]},
        p_values=p_values,
    )
    for values in p_values.values():
        values[[1, 2]] = 0.001
    assert _besides(circuit) == ""
    p_values["additive/W_E/family"][6] = 0.001
    assert _besides(circuit) == ""  # in one table alone
    p_values["additive/W_L/family"][6] = 0.001
    assert _besides(circuit).startswith(" k = 7 stands out in both")
    circuit.same_waves["additive"] = [[3, 7]]  # what its answers cannot tell from a key is no other
    assert _besides(circuit) == "" and _named(circuit, 3) == "3 (where its answers fall the same as 7)"
    p_values["additive/W_L/family"][2] = 1.0  # the network uses it by that name
    assert "2 in W_E and 2 in W_L stand out" in _nulls(circuit)
    assert _named(circuit, 2) == "2"
    assert _nulls(circuit).startswith("Of these, 2 in W_E and 2 in W_L stand out")


def test_a_linear_formula_asks_other_frequencies_of_its_operands():
    """2a + 3b modulo 23: keys 1 and 4 need 2, 3, 8 and 11; the embedding holds these and 9, with 7 in the read-out; 7 would need 9 and 2."""
    from types import SimpleNamespace

    p_values = {f"additive/{site}/family": np.ones(11) for site in ("W_E", "W_L")}
    p_values["additive/W_E/family"][[1, 2, 7, 10, 8]] = p_values["additive/W_L/family"][[0, 3]] = 0.001
    circuit = SimpleNamespace(
        basis="additive",
        period=23,
        key_frequencies=(1, 4),
        operand_frequencies=(2, 3, 8, 11),
        multipliers={"additive": [2, 3]},
        same_waves={"additive": []},
        p_values=p_values,
    )
    assert _nulls(circuit).startswith("Of these, 2 in W_L stand out") and _nulls(circuit).endswith(
        "4 of the 4 that they need of the operands: 2, 3, 8, 11."
    )
    assert _besides(circuit) == ""
    p_values["additive/W_L/family"][6] = 0.001
    assert _besides(circuit).startswith(" k = 7 stands out in both")


def test_parts_of_the_logits_on_request_and_ffd_at_other_thresholds(tiny, tmp_path, capsys):
    [found] = grok(tiny("a+b"), tmp_path, device="cpu")
    circuit = found.circuits[0]
    for basis in ("additive", "multiplicative"):
        for site in ("W_E", "W_L"):
            own = circuit.norms_of(basis, site)
            assert ffd(own) == pytest.approx(circuit.measures[basis][site]["ffd"], abs=1e-6)
            assert ffd(own, 0.1) >= ffd(own, 0.9)
    assert "parts" not in {section.anchor for section in grok_page(found).sections}
    assert main(["report", found.run.id, "--out", str(tmp_path), "--parts"]) == 0
    section = next(s for s in grok_page(found).sections if s.anchor == "parts")
    whole = kept_decomposition(found).losses["key + non-key + residual"]
    assert number(whole) in section.body and "Table A.4" not in section.body  # that is of p = 97
    assert whole == pytest.approx(circuit.losses["additive"]["answer"]["full"], rel=1e-5)


def test_every_setting_of_the_command_line_is_trained_shown_and_repeated(tmp_path, capsys):
    """A mixture with nothing as usual: its accuracy by the plain forward, its page, its command, its row in the table."""
    import shlex

    import torch

    from epicycle.cli.grok import configs
    from epicycle.cli.main import _parser
    from epicycle.models.plain import forward
    from epicycle.report.sections import command
    from epicycle.runs.directory import list_runs, run_id
    from epicycle.runs.query import row
    from epicycle.tasks.modular import modular_task
    from epicycle.training.config import SETTINGS, to_dict

    given = {
        "split_by": "unordered", "operand_range": "published", "zeros": "excluded", "task_tokens": "published", "split_per": "formula",
        "width": 32, "num_heads": 2, "mlp_width": 48, "init": "furuta2024-paper", "scores": "unscaled",
        "loss": "stablemax", "classes": "numbers", "learning_rate": 0.002, "weight_decay": 0.5,
    }  # fmt: skip
    assert sorted(given) == sorted(name for names in SETTINGS.values() for name in names)
    options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["grok", "a*b + a", "a^2 + b", "--modulus", "11", "--train-fraction", "0.6", "--max-steps", "300", "--out", str(tmp_path), "--threads", "1"]  # fmt: skip
    assert main([*words, *options]) == 0
    [run] = list_runs(tmp_path)
    found = analyse_run(run)
    config = configs(_parser().parse_args(shlex.split(command(found))[1:]))[0]
    assert run_id(config.name, to_dict(config)) == run.id
    assert {name: row(run)[name] for name in given} == given
    page = (run.path / "report.html").read_text()
    for value in ("unordered", "furuta2024-paper", "unscaled", "stablemax", "formula"):
        assert f">{value}<" in page, value
    led = [dataclasses.replace(each, key_frequencies=(2,)) for each in found.circuits]
    said = " ".join(finding(found._replace(circuits=tuple(led))))
    assert "the training loss by the usual softmax (it was trained with StableMax) goes from" in said
    task = modular_task(config.task)
    for part in ("train", "test"):
        tokens, labels, which = task.examples(part)
        logits = forward(run.weights(), torch.from_numpy(tokens), config.model.attention).logits[:, -1, :11]
        right = logits.argmax(1).numpy() == labels
        accuracy = sum(right[which == i].mean() for i in (0, 1)) / 2
        assert run.record()["final"][f"{part}_accuracy"] == pytest.approx(accuracy, abs=1e-12)
        s = torch.where(logits < 0, 1 / (1 - logits.double()), logits.double() + 1)
        loss = -(s / s.sum(1, keepdim=True)).log()[torch.arange(len(labels)), torch.from_numpy(labels)].numpy()
        assert run.record()["final"][f"{part}_loss"] == pytest.approx(
            sum(loss[which == i].mean() for i in (0, 1)), rel=1e-5
        )
    capsys.readouterr()
