"""Explain and reproduce as a user meets them: JSON contract, pages, refusals, and measures against plain computations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score

from epicycle.analysis.ablation import AblationConfig, band_ablations
from epicycle.analysis.answers import error_types
from epicycle.analysis.embedding import adjusted_mutual_information, at_period, embedding_spectrum, number_map
from epicycle.analysis.explain import ExplainConfig, explain, open_explanation
from epicycle.analysis.explanation_json import as_json
from epicycle.analysis.modules import constant_guess, readings, top_waves
from epicycle.cli.main import main
from epicycle.errors import ConfigError
from epicycle.fourier.bases import additive, zhou2024
from epicycle.fourier.projections import (
    Removal,
    band_rank,
    band_rows,
    folded,
    largest_count,
    printed_rows,
    random_directions,
    row_space,
    writers,
)
from epicycle.models.language import load_language_model
from epicycle.models.stream import encode
from epicycle.report.explain import explain_page
from epicycle.report.page import render
from epicycle.studies.ledger import Claim, Reading, grade
from epicycle.tasks.number_text import NumberTextConfig
from epicycle.tasks.prompts import PromptConfig, prompt_task
from epicycle.training.language_config import PretrainConfig, ShapeConfig, StepConfig
from epicycle.training.pretrain import pretrain

PROMPTS = PromptConfig(largest_operand=24)
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    shape = ShapeConfig(num_layers=2, width=48, num_heads=4, context=32)
    config = PretrainConfig(
        text=NumberTextConfig(largest=49),
        shape=shape,
        step=StepConfig(steps=60, batch=8, evaluate_every=60, learning_rate=3e-3),
    )
    return pretrain(config, tmp_path_factory.mktemp("models")).path


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    config = ExplainConfig(prompts=PROMPTS, draws=99, ablation=AblationConfig(controls=1))
    return explain(model, config, tmp_path_factory.mktemp("runs"))


# projections: algebra of the printed and of the orthonormal basis


@pytest.mark.parametrize(
    ("reading", "low", "high"), [("component", 98, 421), ("shared", 98, 419), ("double", 99, 420), ("row", 49, 470)]
)
@pytest.mark.parametrize("width", [768, 1600])
def test_ranks_of_the_printed_bands(reading, low, high, width):
    table = RANDOM.standard_normal((521, width))
    ranks = [len(writers(zhou2024(521)[printed_rows(name, reading=reading)], table)) for name in ("low", "high")]
    assert ranks == [low, high]
    assert [
        len(writers(band_rows(521, name, convention="as-printed", reading=reading), table)) for name in ("low", "high")
    ] == ranks


def test_the_printed_basis_has_the_faults_it_is_said_to_have():
    rows = zhou2024(521)
    assert np.linalg.matrix_rank(rows) == 520
    assert np.linalg.norm(rows[519]) == 0
    assert np.linalg.norm(rows[520]) == pytest.approx(1.4156, abs=1e-4)
    assert np.abs(rows.T @ rows - np.eye(521)).max() == pytest.approx(1.0019, abs=1e-4)


@pytest.mark.parametrize("convention", ["orthonormal", "as-printed"])
@pytest.mark.parametrize("n", [100, 199, 521])
def test_bands_and_constant_are_everything(convention, n):
    if convention == "as-printed" and n == 100:
        n = 101  # the printed basis needs an even period
    low, high = (band_rows(n, name, convention=convention) for name in ("low", "high"))
    assert len(low) + len(high) == n - 1
    if convention == "orthonormal":
        both = np.concatenate([low, high])
        np.testing.assert_allclose(both @ both.T, np.eye(n - 1), atol=1e-12)
        assert (band_rank(n, "low"), band_rank(n, "high")) == (len(low), len(high))
        np.testing.assert_allclose(both.sum(1), 0, atol=1e-10)
    length = n if convention == "orthonormal" else n - 1
    for rows, is_high in ((low, False), (high, True)):
        rows = rows[np.linalg.norm(rows, axis=1) > 1e-9]  # the printed basis has a row that is zero
        cycles = np.abs(np.fft.rfft(rows[:, :length], axis=1)).argmax(1)
        assert ((length / cycles <= 10.4) == is_high).all()


def test_leaving_out_is_a_projection_that_leaves_no_wave():
    table = RANDOM.standard_normal((200, 256))
    for name in ("low", "high"):
        waves = band_rows(200, name)
        v = writers(waves, table)
        np.testing.assert_allclose(v @ v.T, np.eye(len(v)), atol=1e-10)
        x = RANDOM.standard_normal((5, 256))
        y = x - (x @ v.T) @ v
        np.testing.assert_allclose(y - (y @ v.T) @ v, y, atol=1e-10)
        np.testing.assert_allclose(waves @ table @ y.T, 0, atol=1e-9)
        other = band_rows(200, "high" if name == "low" else "low")
        assert np.abs(other @ table @ y.T).max() > 1
    assert len(writers(np.zeros((0, 200)), table)) == 0


def test_the_nearest_point_is_the_nearest():
    """Against the closed form with a pseudo-inverse, which shares no code."""
    table, x = RANDOM.standard_normal((60, 40)), RANDOM.standard_normal(40)
    a = band_rows(60, "low") @ table
    expected = x - np.linalg.pinv(a) @ (a @ x)
    v = writers(band_rows(60, "low"), table)
    np.testing.assert_allclose(x - v.T @ (v @ x), expected, atol=1e-10)


def test_folding_the_norm_equals_the_logits_behind_it():
    norm = torch.nn.LayerNorm(16, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(torch.as_tensor(RANDOM.standard_normal(16)))
        norm.bias.zero_()
    table, x = RANDOM.standard_normal((30, 16)), RANDOM.standard_normal((4, 16))
    logits = norm(torch.as_tensor(x)).detach().numpy() @ table.T
    scale = np.sqrt(x.var(1) + norm.eps)
    np.testing.assert_allclose(
        x @ folded(table, norm.weight.detach().numpy(), centres=True).T / scale[:, None], logits, atol=1e-10
    )


def test_random_directions_are_orthonormal_and_stay_inside():
    table = RANDOM.standard_normal((20, 50))
    inside = row_space(table)
    assert inside.shape == (20, 50)
    found = random_directions(7, 50, RANDOM, inside)
    np.testing.assert_allclose(found @ found.T, np.eye(7), atol=1e-12)
    np.testing.assert_allclose(found @ inside.T @ inside, found, atol=1e-12)
    with pytest.raises(ConfigError, match="at most"):
        random_directions(30, 50, RANDOM, inside)


def test_a_range_that_would_work_is_the_largest():
    for width in (64, 128, 256, 768):
        for name in ("low", "high"):
            n = largest_count(width, name)
            table = RANDOM.standard_normal((min(n, 900), width))
            if n <= 900:
                assert Removal(name, writers(band_rows(n, name), table)).free_share >= 1 / 3
                assert band_rank(n + 10, name) > 2 / 3 * width or n == 2000


# measures


def test_error_types_by_hand():
    found = error_types(np.array([10, 25, 31, 40, 7]), np.array([10, 15, 30, 20, 9]))
    assert found["wrong"] == 4
    assert (found["multiples_of_10"], found["below_6"], found["below_3"], found["off_by_one"]) == (0.5, 0.5, 0.5, 0.25)
    assert found["mean_size"] == (10 + 1 + 20 + 2) / 4
    assert (found["plus_10"], found["minus_10"]) == (0.25, 0)
    assert error_types(np.array([1]), np.array([1]))["multiples_of_10"] is None
    given, right = RANDOM.integers(0, 60, (2, 400))
    missed = given != right
    crossed = np.subtract.outer(given[missed], right[missed]).ravel()
    crossed = crossed[crossed != 0]
    assert error_types(given, right)["expected_multiples_of_10"] == pytest.approx((crossed % 10 == 0).mean(), abs=1e-12)


def test_guessing_and_waves_by_hand():
    assert constant_guess(np.array([3, 3, 9, 11]), 0) == 0.5
    assert constant_guess(np.array([3, 3, 9, 11]), 2) == 0.5
    assert constant_guess(np.array([1, 3, 5, 30]), 2) == 0.75
    n = np.arange(100)
    answers = np.array([17, 60])
    logits = np.stack(
        [
            sum(np.cos(2 * np.pi * (n - a) / t) for t in (2, 5, 10, 100))
            + 50 * np.cos(2 * np.pi * (n - 30) / 50) * (a == 60)
            for a in answers
        ]
    )
    shares = top_waves(logits.astype(np.float32), answers, additive(100))
    assert shares[4] == shares[3] == 0.5  # one is a sum of its four waves, the other is drowned by a fifth


@pytest.mark.parametrize("answer", [0, 17, 60, 99])
def test_equal_peaks_share_the_credit(answer):
    """Harmonics of period 10 peak at ten of a hundred numbers, of period 20 at five, whichever bits they end in."""
    n = np.arange(100)
    logits = sum(size * np.cos(2 * np.pi * (n - answer) / t) for size, t in ((4, 10), (3, 5), (2, 20), (1, 100)))
    shares = top_waves(logits[None].astype(np.float32), np.array([answer]), additive(100))
    np.testing.assert_allclose(shares[:4], [0.1, 0.1, 0.2, 1.0], rtol=1e-12)
    assert top_waves(np.zeros((1, 100), np.float32), np.array([answer]), additive(100))[0] == pytest.approx(0.01)


def test_readings_equal_plain_hooks(model):
    lm = load_language_model(model)
    task = prompt_task(PROMPTS)
    texts, answers = task.prompts("test"), task.rows("test").answer
    ids = lm.space.rows(49)
    lens, spectra, _, _, final = readings(lm, encode(lm, texts), answers, ids)
    basis = additive(50)
    rows = lm.unembedding[ids].double().numpy()
    sums = np.zeros((2, 2, len(basis.frequency)))
    right = np.zeros(3)
    for i, text in enumerate(texts):
        kept = {}
        handles = [m.register_forward_hook(lambda _, __, out, key=(kind, layer), kept=kept: kept.__setitem__(key, (out[0] if isinstance(out, tuple) else out)[0, -1]))
                   for kind, modules in enumerate((lm.attention, lm.mlp)) for layer, m in enumerate(modules)]  # fmt: skip
        with torch.inference_mode():
            out = lm.model(torch.tensor([lm.tokenizer.encode(text)]), output_hidden_states=True)
        for handle in handles:
            handle.remove()
        for (kind, layer), value in kept.items():
            found = np.fft.rfft(rows @ value.double().numpy())[1:]
            scale = np.where(2 * basis.frequency == 50, 1, np.sqrt(2)) / np.sqrt(50)
            sums[kind, layer] += np.abs(found) * scale
        np.testing.assert_allclose(final[i], out.logits[0, -1, ids].numpy(), atol=1e-4)
        for layer in range(2):
            with torch.inference_mode():
                right[layer] += int(lm.norm(out.hidden_states[layer][0, -1]).double().numpy() @ rows.T @ np.eye(50)[answers[i]]
                                    == (lm.norm(out.hidden_states[layer][0, -1]).double().numpy() @ rows.T).max())  # fmt: skip
        right[2] += int(final[i].argmax()) == answers[i]
    np.testing.assert_allclose(np.stack([spectra.attention, spectra.mlp]), sums / len(texts), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(lens.exact, right / len(texts))


def test_embedding_measures_see_what_was_planted():
    n = np.arange(200)
    table = np.stack([np.cos(2 * np.pi * n / 5), np.sin(2 * np.pi * n / 5), n / 40], 1) + 0.05 * RANDOM.standard_normal(
        (200, 3)
    )
    found = embedding_spectrum(table, None, 99)
    assert at_period(found, 5.0)["place"] == 1
    assert (found.p_family[found.null] <= 0.05).sum() == 1  # period 5 alone, after the line is taken out
    detrended = table - np.outer(n - n.mean(), np.polyfit(n, table, 1)[0])
    power = (np.abs(np.fft.rfft(detrended - detrended.mean(0), axis=0)) ** 2).sum(1)[1:]
    power[:-1] *= 2  # every bin but the last has a twin at the negative frequency
    np.testing.assert_allclose(found.share, power / power.sum(), rtol=1e-9)
    decades = np.repeat(np.eye(10), 10, axis=0) + 0.01 * RANDOM.standard_normal((100, 10))
    places = number_map(decades)
    assert places.agreement_magnitude > 0.99
    assert places.agreement_last_digit < 0.05
    assert places.tsne.shape == (100, 2)


@pytest.mark.parametrize(("numbers", "clusters", "labels"), [(50, 10, 10), (520, 10, 2), (20, 3, 20), (30, 4, 1)])
def test_agreement_of_dealt_clusters_is_that_of_scikit_learn(numbers, clusters, labels):
    generator = np.random.default_rng(numbers)
    cluster, named = generator.integers(clusters, size=numbers) * 3, generator.integers(labels, size=numbers)
    dealt = np.stack([generator.permutation(cluster) for _ in range(20)])
    expected = [adjusted_mutual_info_score(named, each) for each in dealt]
    np.testing.assert_allclose(adjusted_mutual_information(named, dealt), expected, atol=1e-13)


def test_ablations_refuse_what_leaves_nothing(model):
    lm = load_language_model(model)
    task = prompt_task(PROMPTS)
    answers, ids = task.rows("test").answer, lm.space.rows(49)
    found = band_ablations(lm, encode(lm, task.prompts("test")), answers, ids, AblationConfig(controls=1))
    high = found.row("attn", "high")
    assert "Refused" in high["refused"]
    assert "--largest-operand" in high["refused"]
    assert "accuracy" not in high
    low = found.row("mlp", "low")
    assert low["rank"] == band_rank(50, "low")
    assert len(low["controls"]["width"]["accuracy"]) == 1
    assert all("refused" in keep for keep in found.keeps)


# the command


def test_json_contract_and_second_call_at_once(found, model, tmp_path, capsys):
    data = json.loads(json.dumps(as_json(found, "x"), default=float))
    assert {"model", "number_space", "accuracy", "embedding", "layers", "bands", "errors", "report"} <= set(data)
    assert data["number_space"]["count"] == 50
    assert [(row["modules"], row["band"]) for row in data["bands"]] == [
        ("none", "none"), ("attn", "low"), ("attn", "high"), ("mlp", "low"), ("mlp", "high"), ("both", "low"), ("both", "high")]  # fmt: skip
    assert sum(row["share"] for row in data["embedding"]["periods"]) == pytest.approx(1)
    assert [row["layer"] for row in data["layers"]] == [0, 1, 2]
    arguments = [
        "explain",
        str(model),
        "--draws",
        "99",
        "--controls",
        "1",
        "--out",
        str(tmp_path),
        "--json",
        "--threads",
        "1",
    ]
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert first["accuracy"] == data["accuracy"]


def test_helix_of_a_model_on_its_page(model, tmp_path, capsys):
    command = [
        "explain",
        str(model),
        "--largest-operand",
        "24",
        "--draws",
        "99",
        "--controls",
        "1",
        "--limit",
        "20",
        "--out",
        str(tmp_path),
    ]
    assert main([*command, "--helix", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["helix"]["left_out"] == [100.0] and found["helix"]["periods"] == [2.0, 5.0, 10.0]
    assert found["helix"]["effect"]["full"] == [None, None]  # an untuned model: its answers cannot be told apart
    assert set(found["builders"]["total"]) == {"attention", "mlp", "heads"} and found["builders"]["finding"]
    assert "Operands as a helix" in Path(found["report"]).read_text()
    assert main([*command, "--helix", "--json"]) == 0  # read back
    assert json.loads(capsys.readouterr().out)["helix"] == found["helix"]
    assert main([*command, "--helix", "100"]) == 2
    assert "range at least as long" in capsys.readouterr().err


def test_page_is_whole_and_escaped(found):
    text = render(explain_page(found))
    for title in ("The embedding of numbers", "What each layer would answer", "What attention and MLPs write", "The answer as a sum of waves",
                  "What the answers depend on", "How to run this again"):  # fmt: skip
        assert title in text
    assert "Refused" in text
    evil = found._replace(facts=found.facts | {"name": "<script>alert(1)</script>"})
    assert "<script>alert" not in render(explain_page(evil))
    assert open_explanation(found.run).facts == found.facts


def test_options_of_removal_change_the_removal(model, tmp_path):
    base = {"prompts": PROMPTS, "draws": 99, "limit": 40}
    plain = explain(model, ExplainConfig(**base, ablation=AblationConfig(controls=1)), tmp_path).ablations
    for change in ({"positions": "all"}, {"is_folded": True}, {"high_period": 6.0}):
        other = explain(model, ExplainConfig(**base, ablation=AblationConfig(controls=1, **change)), tmp_path).ablations
        assert other.row("mlp", "low")["loss"] != plain.row("mlp", "low")["loss"]
        assert other.row("none", "none") == plain.row("none", "none")


def test_a_tuned_run_is_asked_what_it_was_not_trained_on(model, tmp_path, capsys):
    from epicycle.models.language import start_digest
    from epicycle.training.finetune import finetune
    from epicycle.training.language_config import FinetuneConfig

    own = PromptConfig(largest_operand=20, form="bare", split_seed=5)
    step = StepConfig(steps=10, batch=16, evaluate_every=10)
    run = finetune(FinetuneConfig(arm="scratch", start=start_digest(model), prompts=own, step=step), model, tmp_path)
    arguments = [
        "explain",
        str(run.path),
        "--draws",
        "99",
        "--controls",
        "1",
        "--out",
        str(tmp_path),
        "--json",
        "--threads",
        "1",
    ]
    assert main(arguments) == 0
    output = capsys.readouterr()
    data = json.loads(output.out)
    assert data["facts"]["questions"]["trained_on"] == 0
    assert data["prompts"] == len(prompt_task(own).rows("test").a)
    assert main([*arguments, "--split-seed", "6"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["facts"]["questions"]["trained_on"] > 0.5
    assert "not held-out accuracy" in output.err
    assert main(["runs", "--out", str(tmp_path)]) == 0
    assert main(["report", str(run.path)]) == 2
    assert "epicycle explain" in capsys.readouterr().err
    assert main(["report", data["id"], "--out", str(tmp_path)]) == 0


def test_weights_that_lack_tensors_and_torn_files_are_refused(model, tmp_path, capsys):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model / "model", tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    assert main(["explain", str(tmp_path / "m"), "--out", str(tmp_path / "runs")]) == 2
    assert "lack 1 tensors such as transformer.h.1.mlp.c_fc.weight" in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:1000])
    assert main(["explain", str(tmp_path / "m"), "--out", str(tmp_path / "runs")]) == 2
    assert "cannot be opened" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_numbers_digit_by_digit(model, tmp_path, capsys):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["[UNK]", "The", "number", "is", *map(str, range(10))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0
        )
    ).save_pretrained(tmp_path / "m")
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]").save_pretrained(tmp_path / "m")
    assert main(["explain", str(tmp_path / "m"), "--out", str(tmp_path / "runs")]) == 2
    assert "--table residual" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert (
        main(
            [
                "explain",
                str(tmp_path / "m"),
                "--out",
                str(tmp_path / "runs"),
                "--table",
                "residual",
                "--numbers",
                "100",
                "--draws",
                "99",
                "--json",
            ]
        )
        == 0
    )
    data = json.loads(capsys.readouterr().out)
    assert len(data["residual"]["share"]) == 2
    assert data["accuracy"] is None


@pytest.mark.parametrize(("arguments", "said"), [
    (["--largest-operand", "40"], "cover 0..49"),
    (["--numbers", "90"], "cover 0..49"),
    (["--limit", "3"], "at least 10"),
    (["--controls", "0"], "at least 1"),
    (["--high-period", "1"], "above 2"),
    (["--draws", "5"], "at least 99"),
    (["--shots", "20"], "positions"),
    (["--reading", "row"], "as-printed"),
    (["--control-seed", "-1"], "control seed"),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(model, tmp_path, capsys, arguments, said):
    assert main(["explain", str(model), "--out", str(tmp_path / "runs"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


def test_a_hub_name_without_network_is_one_sentence(tmp_path, capsys, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_OFFLINE", True
    )  # the library reads its variable when it is imported
    assert main(["explain", "nobody/nothing-here", "--out", str(tmp_path)]) == 2
    assert "neither a directory here nor a model that the hub gave" in capsys.readouterr().err


# the ledger


@pytest.mark.parametrize(("holds", "verdict", "cause"), [([True] * 3, "confirmed", ""), ([False] * 3, "refuted", ""), ([True, True, False], "undetermined", "seeds disagree"),
                                                         ([True, True], "undetermined", "too few seeds"), ([True, True, None], "undetermined", "nothing to tell by")])  # fmt: skip
def test_verdicts_need_three_seeds_of_one_mind(holds, verdict, cause):
    claim = Claim(
        "X",
        "s",
        "p",
        "1",
        "m",
        "c",
        "r",
        "n",
        lambda study: [Reading(i, 1.0, 0.0, h, "note") for i, h in enumerate(holds)],
    )
    assert (grade(claim, None).verdict, grade(claim, None).cause) == (verdict, cause)
    assert grade(claim._replace(measure=None), None).verdict == "not run"
