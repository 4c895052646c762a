"""Training of the language track: what is frozen stays, a killed run ends bit-identical, two processes equal one."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from epicycle.analysis.explain import trained_share
from epicycle.errors import ConfigError, DataError
from epicycle.models.language import load_language_model
from epicycle.models.planted import planted_numbers
from epicycle.runs.directory import open_run
from epicycle.tasks.number_text import NumberTextConfig
from epicycle.tasks.prompts import PromptConfig, prompt_task
from epicycle.training.arm_names import ARMS
from epicycle.training.corpus import corpus_digest, corpus_tokens, size_of, text_files
from epicycle.training.finetune import Examples, finetune, scores, start_digest
from epicycle.training.language_config import (
    FinetuneConfig,
    PretrainConfig,
    ShapeConfig,
    StepConfig,
    from_dict,
    to_dict,
)
from epicycle.training.pretrain import pretrain

SHAPE = ShapeConfig(num_layers=2, width=32, num_heads=4, context=32)
STEP = StepConfig(steps=40, batch=8, evaluate_every=10, learning_rate=3e-3)
BASE = PretrainConfig(text=NumberTextConfig(largest=49), shape=SHAPE, step=STEP)
PROMPTS = PromptConfig(largest_operand=24)


def tuned(base, arm, **changes):
    step = {"steps": 30, "batch": 16, "evaluate_every": 10, "learning_rate": 3e-3} | changes.pop("step", {})
    return FinetuneConfig(arm=arm, start=start_digest(base), prompts=PROMPTS, step=StepConfig(**step), **changes)


def weights(run):
    return load_language_model(run.path).model.state_dict()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pretrain(BASE, tmp_path_factory.mktemp("base")).path


def test_a_text_with_solved_sums_is_known_to_hold_the_training_questions(tmp_path):
    text = NumberTextConfig(largest=49, solved=(PROMPTS,))
    config = dataclasses.replace(BASE, text=text, step=StepConfig(steps=4, batch=4, evaluate_every=4))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert not {"solved", "solved_share"} & set(to_dict(BASE)["text"])  # ids of runs without them stay what they were
    base = pretrain(config, tmp_path).path
    tuned_run = finetune(tuned(base, "pretrained", step={"steps": 2, "evaluate_every": 2}), base, tmp_path).path
    other = dataclasses.replace(PROMPTS, split_seed=1)
    for run in (base, tuned_run):
        task = prompt_task(PROMPTS)
        assert trained_share(run, task, task.split["train"]) == 1
        assert trained_share(run, task, task.split["test"]) == 0
        elsewhere = prompt_task(other)
        assert 0.6 < trained_share(run, elsewhere, elsewhere.split["test"]) < 1
    with pytest.raises(ConfigError, match="solved questions and a corpus"):
        dataclasses.replace(config, corpus="0" * 64)


def test_pretraining_leaves_a_model_that_anyone_can_open(base):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base / "model")
    assert model.config.n_layer == 2
    assert len(tokenizer.encode("17, 18.")) == 4
    record = open_run(base).record()
    assert record["status"] == "finished"
    assert sum(record["number_counts"]) > 1000
    losses = [line["validation_loss"] for line in open_run(base).history()]
    assert losses[-1] < losses[0] - 0.4


def test_same_configuration_returns_at_once_and_configurations_survive_json(base, tmp_path):
    began = time.perf_counter()
    assert pretrain(BASE, base.parent).path == base
    assert time.perf_counter() - began < 2
    config = tuned(base, "scratch")
    for each in (BASE, config):
        assert from_dict(json.loads(json.dumps(to_dict(each)))) == each


@pytest.mark.parametrize("arm", ARMS)
def test_frozen_parts_stay_and_others_move(base, arm, tmp_path):
    run = finetune(tuned(base, arm), base, tmp_path)
    before, after = load_language_model(base), load_language_model(run.path)
    same_input = torch.equal(after.embedding, before.embedding)
    same_output = torch.equal(after.unembedding, before.unembedding)
    assert (same_input, same_output) == {
        "frozen-embedding": (True, True), "frozen-input": (True, False), "frozen-output": (False, True)}.get(arm, (False, False))  # fmt: skip
    assert after.is_tied == (arm not in ("frozen-input", "frozen-output"))
    block = "transformer.h.0.mlp.c_fc.weight"
    assert not torch.equal(after.model.state_dict()[block], before.model.state_dict()[block])
    if arm in ("planted-embedding", "random-embedding"):
        again = load_language_model(finetune(tuned(base, arm, step={"steps": 10}), base, tmp_path).path)
        assert torch.equal(again.embedding, after.embedding)  # the same rows after 10 steps and after 30
        torch.testing.assert_close(
            after.embedding.norm(dim=1).mean(), before.embedding.norm(dim=1).mean(), rtol=0.2, atol=0
        )
    assert run.history()[-1]["train_loss"] < run.history()[1]["train_loss"] + 0.5


def test_planted_rows_hold_the_periods_they_name_and_single_out_every_number():
    table = planted_numbers(200, 64, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(table - table.mean(0), axis=0)) ** 2
    power = spectrum.sum(1)
    assert set(np.argsort(-power)[:5]) == {1, 2, 20, 40, 100}
    centred = table / np.linalg.norm(table, axis=1, keepdims=True)
    assert (np.argmax(centred @ centred.T, axis=1) == np.arange(200)).all()


def test_scores_equal_a_plain_forward_pass(base):
    lm = load_language_model(base)
    task = prompt_task(PROMPTS)
    examples = Examples(lm, task, "validation", "answer")
    found = scores(lm.model, examples, "cpu", size=7)
    losses, right = [], 0
    for text, answer in zip(task.prompts("validation"), task.rows("validation").answer, strict=True):
        with torch.inference_mode():
            logits = lm.model(torch.tensor([lm.tokenizer.encode(text)])).logits[0, -1]
        token = lm.tokenizer.convert_tokens_to_ids(str(answer))
        losses.append(float(-torch.log_softmax(logits, 0)[token]))
        right += int(logits.argmax()) == token
    assert found["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["validation_accuracy"] == right / len(losses)


def test_sequence_loss_asks_for_every_token(base):
    lm = load_language_model(base)
    examples = Examples(lm, prompt_task(PROMPTS), "train", "sequence")
    row, targets = examples.tokens[0], examples.targets[0]
    asked = targets != -100
    assert (targets[asked] == row[1 : int(asked.sum()) + 1]).all()
    assert int(asked.sum()) == int(examples.last[0]) + 1


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_killed_and_resumed_is_bit_identical(tmp_path, dropout):
    shape = ShapeConfig(num_layers=1, width=32, num_heads=2, context=32, dropout=dropout)
    config = PretrainConfig(
        text=NumberTextConfig(largest=49), shape=shape, step=StepConfig(steps=240, batch=8, evaluate_every=20)
    )
    whole = pretrain(config, tmp_path / "whole")
    code = (
        "import sys, json; from epicycle.training.pretrain import pretrain; from epicycle.training.language_config import from_dict;"
        "pretrain(from_dict(json.loads(sys.argv[1])), sys.argv[2])"
    )
    child = subprocess.Popen([sys.executable, "-c", code, json.dumps(to_dict(config)), str(tmp_path / "cut")])
    cut = tmp_path / "cut" / whole.id
    deadline = time.monotonic() + 120
    while (
        not (cut / "checkpoints" / "step-00000100.safetensors").exists()
        and child.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert open_run(cut).record()["status"] == "training"
    resumed = pretrain(config, tmp_path / "cut")
    one, other = weights(whole), weights(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    strip = lambda run: [{k: v for k, v in line.items() if k != "seconds"} for line in run.history()]  # noqa: E731
    assert strip(whole) == strip(resumed)


def test_a_run_cut_right_after_its_first_evaluation_repeats_no_line(tmp_path):
    config = PretrainConfig(
        text=NumberTextConfig(largest=49), shape=SHAPE, step=StepConfig(steps=20, batch=4, evaluate_every=10)
    )
    whole = pretrain(config, tmp_path / "whole")

    class Cut(Exception):
        pass

    def stop(report):
        raise Cut

    with pytest.raises(Cut):
        pretrain(config, tmp_path / "cut", progress=stop)
    resumed = pretrain(config, tmp_path / "cut")
    assert [line["step"] for line in resumed.history()] == [line["step"] for line in whole.history()] == [0, 10, 20]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))


def test_damaged_checkpoint_is_named_and_passed_over(base, tmp_path):
    config = tuned(base, "pretrained")
    whole = finetune(config, base, tmp_path / "whole")
    other = finetune(config, base, tmp_path / "other")
    record = other.record()
    other.update(status="training")
    (other.path / "model" / "model.safetensors").unlink()
    last = sorted(record["checkpoints"])[-1]
    file = other.path / "checkpoints" / last
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    said = []
    again = finetune(config, base, tmp_path / "other", warn=said.append)
    assert last in said[0]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(again).values(), strict=True))


@pytest.mark.parametrize("arm", [pytest.param("pretrained", marks=pytest.mark.slow), "frozen-embedding"])
def test_two_processes_give_the_result_of_one(base, arm, tmp_path):
    pytest.importorskip("accelerate")
    config = tuned(base, arm, step={"batch": 15})
    one = finetune(config, base, tmp_path / "one")
    script = tmp_path / "go.py"
    script.write_text(
        "import sys, json\nfrom epicycle.training.finetune import finetune\nfrom epicycle.training.language_config import from_dict\n"
        "finetune(from_dict(json.loads(sys.argv[1])), sys.argv[2], sys.argv[3])\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:  # the usual port may still be held by the launch before
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    subprocess.run([sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", port, "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
                    "--dynamo_backend", "no", str(script), json.dumps(to_dict(config)), str(base), str(tmp_path / "two")],
                   check=True, env=environment, timeout=180, capture_output=True)  # fmt: skip
    two = open_run(tmp_path / "two" / one.id)
    assert two.record()["provenance"]["processes"] == 2
    for a, b in zip(one.history(), two.history(), strict=True):
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-4)
        assert a["train_loss"] is None or a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
    first, second = weights(one), weights(two)
    assert all(torch.allclose(first[name], second[name], atol=2e-3) for name in first)


def test_corpus_of_files(tmp_path):
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    text = "".join(f"In {n % 50} of 20 cases there were {n % 7} pages.\n\nSee pages 41-45.\n" for n in range(300))
    (folder / "a.txt").write_text("Once only, at the very beginning.\n\n" + text)
    (folder / "inner" / "b.md").write_text("# Ünïcode\n\nChapter 12 has 49 verses.\n")
    (folder / "c.bin").write_bytes(b"\x00\x01" * 50)
    (folder / ".hidden").write_text("no")
    files = text_files([folder])
    assert [file.name for file in files] == ["a.txt", "b.md"]
    digest = corpus_digest(files)
    config = PretrainConfig(
        text=NumberTextConfig(largest=49),
        corpus=digest,
        shape=SHAPE,
        step=StepConfig(steps=3, batch=2, evaluate_every=3),
    )
    run = pretrain(config, tmp_path / "runs", corpus=[folder])
    lm = load_language_model(run.path)
    assert lm.space.count == 50
    tokens = corpus_tokens(lm.tokenizer, config.text, files, 500)
    whole = size_of(lm.tokenizer, files, 10**6)
    again = corpus_tokens(
        lm.tokenizer, config.text, files, 3 * whole, skip=500
    )  # the beginning is passed over in every pass
    later = corpus_tokens(lm.tokenizer, config.text, files, whole)[500:]
    assert (tokens[:100] != later[:100]).any()
    assert (again[: 2 * len(later)] == np.concatenate([later, later])).all()
    (folder / "a.txt").write_text("Too short: 12.")
    short = text_files([folder])
    with pytest.raises(DataError, match="held out"):
        pretrain(dataclasses.replace(config, corpus=corpus_digest(short)), tmp_path / "none", corpus=[folder])
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="corpus"):
        pretrain(BASE, tmp_path / "runs", corpus=[folder])
    with pytest.raises(DataError, match="none of which"):
        text_files([folder / "c.bin"])
    with pytest.raises(DataError, match="does not exist"):
        text_files([tmp_path / "nowhere"])


def test_wrong_starts_are_refused_before_anything_is_written(base, tmp_path):
    with pytest.raises(DataError, match="SHA-256"):
        finetune(FinetuneConfig(arm="scratch", start="0" * 64, prompts=PROMPTS), base, tmp_path)
    large = FinetuneConfig(arm="scratch", start=start_digest(base), prompts=PromptConfig(largest_operand=40))
    with pytest.raises(DataError, match=r"cover 0\.\.49"):
        finetune(large, base, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": 0.0}, {"betas": (1.0, 0.9)}, {"schedule": "cosine"}, {"precision": "float16"}],
)
def test_bad_settings_are_one_sentence(wrong):
    with pytest.raises(ConfigError, match=r"expected|must"):
        StepConfig(**wrong)
    with pytest.raises(ConfigError, match="expected"):
        FinetuneConfig(arm="thawed")
    with pytest.raises(ConfigError, match="expected"):
        ShapeConfig(width=30, num_heads=4)


def test_commands_train_and_refuse_in_one_sentence(tmp_path, capsys):
    from epicycle.cli.main import main

    small = [
        "--largest",
        "49",
        "--num-layers",
        "1",
        "--width",
        "32",
        "--num-heads",
        "4",
        "--context",
        "32",
        "--steps",
        "20",
        "--threads",
        "1",
    ]
    out = ["--out", str(tmp_path / "runs")]
    assert main(["pretrain", *small, "--without", "parity,money", "--json", *out]) == 0
    made = json.loads(capsys.readouterr().out)
    assert len(open_run(made["directory"]).record()["config"]["resolved"]["text"]["kinds"]) == 11
    assert (
        main(
            [
                "finetune",
                made["directory"],
                "--arm",
                "planted-embedding",
                "--epochs",
                "1",
                "--threads",
                "1",
                "--json",
                *out,
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["final"]["epoch"] == 1
    assert (
        main(
            [
                "finetune",
                made["directory"],
                "--operation",
                "multiply",
                "--epochs",
                "1",
                "--threads",
                "1",
                "--json",
                *out,
            ]
        )
        == 0
    )
    tuned = open_run(json.loads(capsys.readouterr().out)["directory"])
    assert tuned.record()["config"]["resolved"]["prompts"]["cap"] == 49
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "x").write_bytes(b"\0\1\2")
    for arguments, said in (
        (["pretrain", *small, "--corpus", str(tmp_path / "binary")], "none of which is UTF-8 text"),
        (["pretrain", *small, "--corpus", str(tmp_path / "binary"), "--law", "uniform"], "one kind of text"),
        (["pretrain", *small, "--without", "sums"], "sums"),
        (["pretrain", *small, "--seed", "-1"], "seed"),
        (["finetune", made["directory"], "--largest-operand", "40"], "cover 0..49"),
        (["finetune", str(tmp_path / "binary")], "no config.json"),
        (["finetune", made["directory"], "--epochs", "0"], "at least 1"),
        (["finetune", made["directory"], "--evaluate-every", "0"], "evaluation every 0"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "none")]) == 2, arguments
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main(["pretrain", "--list-kinds", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["kinds"]) == 14
