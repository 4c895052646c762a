"""Checkpoints of other projects: layouts convert to the same logits, published models give their published numbers, bad files are refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from epicycle.analysis.clock import (
    circularity,
    clock_or_pizza,
    distance_irrelevance,
    gradient_cosines,
    noise_irrelevance,
)
from epicycle.analysis.grok import analyse_run, config_of, grok
from epicycle.cli.main import main
from epicycle.errors import ConfigError, DataError
from epicycle.interop.checkpoints import LAYOUTS, convert, guess_layout, read_state, to_transformer_lens
from epicycle.interop.imported import import_checkpoint
from epicycle.models.config import Attention, ModelConfig
from epicycle.models.plain import forward
from epicycle.models.readout import read_out
from epicycle.models.weights import initial_weights
from epicycle.report.grok import finding
from epicycle.runs.directory import list_runs
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.training.config import RunConfig
from epicycle.training.loop import train_run

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "pizza_modelA_modelB_p59.npz"
real = pytest.mark.skipif(not DATA.is_file(), reason="the published arrays are not here")
NANDA = ModelConfig(positions=True, biases=True, readout="equals", init="nanda2023")


def nanda(p=11, seed=0):
    weights = initial_weights(NANDA, p + 1, 3, seed)
    for name in ("blocks.0.mlp.b_in", "blocks.0.mlp.b_out"):
        weights[name] = torch.randn_like(weights[name])
    return weights


def test_transformer_lens_and_back_is_the_same_model():
    weights = nanda()
    found = convert(to_transformer_lens(weights), 11)
    assert found.layout == "transformer_lens" and found.model.readout == "equals"
    for name, tensor in weights.items():
        assert torch.equal(found.weights[name], tensor)


def test_transformer_lens_layout_is_that_of_its_own_forward():
    """Against TransformerLens' algebra written out: q = x W_Q (d, e) per head, W_O (h, e, d), logits x W_U + b_U."""
    weights = nanda()
    tl = {name: tensor.double() for name, tensor in to_transformer_lens(weights).items()}
    tokens = torch.tensor([[a, b, 11] for a in range(11) for b in range(11)])
    x = tl["embed.W_E"][tokens] + tl["pos_embed.W_pos"]
    q, k, v = (torch.einsum("bsd,hde->bshe", x, tl[f"blocks.0.attn.W_{n}"]) + tl[f"blocks.0.attn.b_{n}"] for n in "QKV")
    scores = torch.einsum("bshe,bthe->bhst", q, k) / 32**0.5
    pattern = scores.masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf")).softmax(-1)
    x = x + torch.einsum("bhst,bthe,hed->bsd", pattern, v, tl["blocks.0.attn.W_O"]) + tl["blocks.0.attn.b_O"]
    x = (
        x
        + (x @ tl["blocks.0.mlp.W_in"] + tl["blocks.0.mlp.b_in"]).relu() @ tl["blocks.0.mlp.W_out"]
        + tl["blocks.0.mlp.b_out"]
    )
    logits = (x @ tl["unembed.W_U"] + tl["unembed.b_U"])[:, -1]
    double = {name: tensor.double() for name, tensor in weights.items()}
    torch.testing.assert_close(logits, forward(double, tokens).logits[:, -1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_attention_rate_in_both_forwards(rate):
    weights = {
        name: tensor.double()
        for name, tensor in initial_weights(ModelConfig(positions=True, biases=True), 11, 2, 0).items()
    }
    tokens = torch.tensor([[a, b] for a in range(11) for b in range(11)])
    torch.testing.assert_close(
        read_out(weights, tokens, Attention(rate)).logits,
        forward(weights, tokens, Attention(rate)).logits[:, -1],
        rtol=1e-10,
        atol=1e-10,
    )
    if rate == 0:  # all values added up: swapping the earlier positions' attention changes nothing
        silent = dict(weights) | {"blocks.0.attn.W_Q": torch.zeros_like(weights["blocks.0.attn.W_Q"])}
        torch.testing.assert_close(
            read_out(silent, tokens, Attention(0.0)).logits, read_out(weights, tokens, Attention(0.0)).logits
        )


def test_layouts_are_told_apart():
    ours = initial_weights(ModelConfig(), 16, 3, 0)
    assert guess_layout(ours, 11) == "furuta2024"
    assert guess_layout(nanda(), 11) == "nanda2023"
    assert guess_layout(to_transformer_lens(nanda()), 11) == "transformer_lens"
    pizza = initial_weights(ModelConfig(positions=True, biases=True), 11, 2, 0)
    assert guess_layout(pizza, 11) == "pizza"
    with pytest.raises(ConfigError, match="no layout known"):
        guess_layout({"layer.weight": torch.zeros(2, 2)}, 11)
    assert set(LAYOUTS) == {"furuta2024", "nanda2023", "pizza", "transformer_lens"}


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pt"])
def test_a_trained_run_comes_back_as_itself(tiny, tmp_path, suffix):
    run = grok(tiny("a+b"), tmp_path / "runs", device="cpu")[0].run
    weights, file = run.weights(), tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(weights, file)
    elif suffix == "npz":
        np.savez(file, **{name: tensor.numpy() for name, tensor in weights.items()})
    else:
        torch.save({"epoch": 3, "model": weights | {"blocks.0.attn.mask": torch.ones(3, 3)}, "loss": [1.0]}, file)
    made = import_checkpoint(file, config_of(run).task, tmp_path / "imported", step=300)
    assert made.record()["outcome"] == "imported"
    last = run.history()[-1]
    for name in ("train_accuracy", "test_accuracy"):
        assert made.history()[0][name] == last[name]
    assert made.history()[0]["train_loss"] == pytest.approx(last["train_loss"], rel=1e-4)
    assert (
        made.history()[0]["measures"]["weights"]["additive"]["W_E"]["ffd"]
        == last["measures"]["weights"]["additive"]["W_E"]["ffd"]
    )
    ours, theirs = analyse_run(run).circuits[0], analyse_run(made).circuits[0]
    assert ours.key_frequencies == theirs.key_frequencies
    led = analyse_run(made)._replace(circuits=(dataclasses.replace(theirs, key_frequencies=(2,)),))
    assert "the training loss of the split chosen here goes from" in finding(led)[-1]
    assert import_checkpoint(file, config_of(run).task, tmp_path / "imported", step=300) == made


class _Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.touch, ())


def test_nothing_but_tensors_is_unpickled(tmp_path, capsys):
    torch.save({"model": nanda(), "evil": _Harm(tmp_path / "harmed")}, tmp_path / "evil.pt")
    assert main(["import", str(tmp_path / "evil.pt"), "a+b", "--modulus", "11", "--out", str(tmp_path / "runs")]) == 2
    assert "nothing else is unpickled" in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists()
    assert not list_runs(tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda w: w.pop("blocks.0.mlp.W_out"), [], "without blocks.0.mlp.W_out"),
        (lambda w: w.update({"blocks.0.ln1.w": torch.ones(128)}), [], "blocks.0.ln1.w"),
        (lambda w: w.update({"blocks.1.attn.W_Q": torch.ones(4, 32, 128)}), [], "several layers"),
        (lambda w: w["embed.W_E"].fill_(float("nan")), [], "not finite"),
        (lambda w: w.update({"blocks.0.mlp.W_in": torch.zeros(512, 64)}), [], "expected (512, 128)"),
        (lambda w: None, ["--modulus", "97"], "at least 97"),
        (lambda w: None, ["--modulus", "7"], "expected 8 for a + b modulo 7 in layout nanda2023"),
        (lambda w: None, ["--extra-tokens", "3"], "got an embedding of 12 tokens; expected 15"),
        (lambda w: None, ["--layout", "mine"], "layout 'mine'"),
        (lambda w: None, ["--key", "other"], "--key"),
        (lambda w: None, ["--attention-rate", "2"], "attention rate 2"),
        (lambda w: w.clear(), [], "no tensors"),
        (lambda w: None, ["--layout", "transformer_lens"], "dimensions"),
        (lambda w: w.update({"embed.W_E": torch.ones(128)}), [], "no layout known"),
        (lambda w: w.update({"blocks.0.mlp.W_in": torch.tensor(1.0)}), [], "dimensions"),
    ],
)
def test_bad_checkpoints_are_one_sentence(tmp_path, capsys, change, options, said):
    weights = nanda()
    change(weights)
    torch.save(weights, tmp_path / "w.pt")
    words = [
        "import",
        str(tmp_path / "w.pt"),
        "a+b",
        "--out",
        str(tmp_path / "runs"),
        *([] if "--modulus" in options else ["--modulus", "11"]),
        *options,
    ]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not list_runs(tmp_path / "runs")


def test_norms_and_biases_of_transformer_lens_are_refused():
    state = to_transformer_lens(nanda())
    with pytest.raises(DataError, match="b_Q"):
        convert(state | {"blocks.0.attn.b_Q": torch.ones(4, 32)}, 11)
    with pytest.raises(DataError, match="ln1"):
        convert(state | {"blocks.0.ln1.w": torch.ones(128)}, 11)


def test_more_tokens_than_the_formulas_need_are_asked_for(tmp_path):
    torch.save(nanda(), tmp_path / "w.pt")
    made = import_checkpoint(tmp_path / "w.pt", TaskConfig(modulus=7), tmp_path / "runs", extra_tokens=4)
    assert made.record()["config"]["resolved"]["imported"]["extra_tokens"] == 4


def test_an_unembedding_of_the_numbers_alone(tmp_path, capsys):
    """TransformerLens with d_vocab_out = p: loss and accuracy are over the numbers, by the plain forward."""
    weights = nanda()
    state = to_transformer_lens(weights)
    state["unembed.W_U"], state["unembed.b_U"] = state["unembed.W_U"][:, :11].clone(), torch.zeros(11)
    torch.save(state, tmp_path / "tl.pt")
    assert main(["import", str(tmp_path / "tl.pt"), "a+b", "--modulus", "11", "--out", str(tmp_path / "runs")]) == 0
    capsys.readouterr()
    [run] = list_runs(tmp_path / "runs")
    tokens, labels, _ = modular_task(TaskConfig(modulus=11)).examples("test", "equals")
    logits = forward(weights, torch.from_numpy(tokens)).logits[:, -1, :11].double()
    final = run.record()["final"]
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
    assert final["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert final["test_accuracy"] == pytest.approx((logits.argmax(1).numpy() == labels).mean(), abs=1e-12)
    assert run.record()["config"]["resolved"]["optimiser"]["classes"] == "numbers"
    assert "nats over 11 tokens" in (run.path / "report.html").read_text()


def test_models_that_cannot_be_trained_say_so(tmp_path):
    task = TaskConfig(modulus=11)
    for model in (ModelConfig(attention_rate=0.5), ModelConfig(readout="pair", positions=True)):
        with pytest.raises(ConfigError, match="imported"):
            train_run(RunConfig(task=task, model=model), tmp_path, device="cpu")


@real
def test_the_published_clock_and_pizza():
    """Zhong et al. 2023: circularity and distance irrelevance to the digits published; key frequencies; gradient symmetricity within its sampling error."""
    known = {
        "p99zdpze5l": (0, 0.997818, 0.171737, 0.993665, {3, 15, 17}),
        "l8k1hzciux": (1, 0.998907, 0.848260, 0.3336, {13, 16, 21}),
    }
    task = TaskConfig(modulus=59, train_fraction=0.8)
    for key, (rate, round_, distance, symmetricity, frequencies) in known.items():
        found = convert(read_state(DATA, key), 59, attention_rate=float(rate))
        config = RunConfig(task=task, model=found.model)
        how = clock_or_pizza(modular_task(task), config, found.weights)
        assert found.layout == "pizza"
        assert how.circularity == pytest.approx(round_, abs=1e-6)
        assert how.distance_irrelevance == pytest.approx(distance, abs=1e-6)
        assert how.gradient_symmetricity == pytest.approx(symmetricity, abs=max(1e-3, 2.5 * how.sampled_error))
        power = np.abs(np.fft.rfft(found.weights["embed.W_E"].T.double().numpy(), axis=0)[1:]) ** 2
        assert set((np.argsort(-power.sum(1))[:3] + 1).tolist()) == frequencies


@real
def test_a_published_model_as_a_run(tmp_path, capsys):
    words = [
        "import",
        str(DATA),
        "a+b",
        "--modulus",
        "59",
        "--train-fraction",
        "0.8",
        "--key",
        "p99zdpze5l",
        "--attention-rate",
        "0",
        "--out",
        str(tmp_path),
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["key_frequencies"] == [3, 15, 17]
    assert found["final"]["test_accuracy"] == found["final"]["train_accuracy"] == 1.0
    assert found["circuits"][0]["verdict"] == "made of"
    page = Path(found["report"]).read_text()
    assert "--key p99zdpze5l --attention-rate 0.0" in page
    # One checkpoint has no course of training: no empty axes, nothing to slide along.
    assert "Training, and when" not in page and "over training" not in page and "training step" not in page
    assert "data-slider class" not in page and "Numbers on circles<" in page
    assert main(["runs", "--out", str(tmp_path), "--where", "outcome=imported"]) == 0


def test_a_checkpoint_of_this_project_opens_without_its_moments(tiny, tmp_path):
    from epicycle.training.loop import train_run

    run = train_run(tiny(steps=100), tmp_path, device="cpu")
    state = read_state(run.path / "checkpoints" / "step-00000100.safetensors")
    assert state.keys() == run.weights().keys()


def test_distance_irrelevance_has_its_closed_forms():
    p = 59
    a, b = np.divmod(np.arange(p * p), p)
    pizza = np.abs(np.cos(np.pi * 3 * (a - b) / p)).reshape(p, p)  # a function of the distance alone
    assert distance_irrelevance(pizza) < 1e-12
    assert distance_irrelevance(np.ones((p, p))) is None  # a noiseless clock
    even = np.cos(
        2 * np.pi * np.subtract.outer(np.arange(10), np.arange(10)) / 10
    )  # an even modulus has pairs without a sum
    assert distance_irrelevance(even) < 1e-12
    assert distance_irrelevance(np.add.outer(np.arange(10.0), np.zeros(10))) == pytest.approx(
        1
    )  # the same at every distance
    noise = [distance_irrelevance(np.random.default_rng(i).standard_normal((p, p))) for i in range(200)]
    assert np.mean(noise) == pytest.approx(noise_irrelevance(p), abs=5e-4)
    assert noise_irrelevance(59) == pytest.approx(0.9872, abs=1e-4)


def test_circularity_of_circles_and_of_noise():
    n = np.arange(59)
    circles = np.concatenate(
        [
            np.stack([np.cos(2 * np.pi * k * n / 59), np.sin(2 * np.pi * k * n / 59)], 1) * size
            for k, size in ((3, 2.0), (11, 1.0))
        ],
        1,
    )
    assert circularity(circles) == pytest.approx(1.0, abs=1e-12)
    assert circularity(np.random.default_rng(0).standard_normal((59, 128))) < 0.3


def test_gradients_of_a_function_of_the_sum_are_symmetric():
    """With uniform attention and equal positions, logits depend on E_a + E_b through attention; without the residual they are symmetric."""
    p = 7
    weights = initial_weights(ModelConfig(), p, 2, 0)
    tokens = np.stack(np.divmod(np.arange(p * p), p), 1)
    cosines = gradient_cosines(weights, tokens, p, (0, 1), Attention(0.0))
    assert cosines.shape == (p * p, p) and (np.abs(cosines) <= 1 + 1e-9).all()
    step = 1e-5  # against finite differences of the plain forward
    double = {name: tensor.double() for name, tensor in weights.items()}
    x = double["embed.W_E"].T[torch.tensor([[2, 5]])]
    gradient = torch.zeros(2, 128, dtype=torch.float64)
    for s in range(2):
        for d in range(128):
            moved = [x.clone(), x.clone()]
            moved[0][0, s, d] += step
            moved[1][0, s, d] -= step
            up, down = (forward(double, torch.tensor([[2, 5]]), Attention(0.0), m).logits[0, -1, 3] for m in moved)
            gradient[s, d] = (up - down) / (2 * step)
    expected = torch.nn.functional.cosine_similarity(gradient[0], gradient[1], dim=0)
    assert cosines[2 * p + 5, 3] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(("form", "operands", "biases"), [
    (Attention(), (0, 2), False), (Attention(0.3), (0, 2), True), (Attention(1.0, False), (0, 1), True), (Attention(0.0), (0, 2), False),
])  # fmt: skip
def test_gradients_by_the_operands_are_those_of_autograd(form, operands, biases):
    """Of the plain forward pass, where the second operand asks and where it does not."""
    p = 7
    weights = initial_weights(
        ModelConfig(width=32, num_heads=2, mlp_width=48, positions=biases, biases=biases), p + 1, 3, 0
    )
    generator = torch.Generator().manual_seed(0)
    draw = lambda tensor: torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / tensor.shape[-1] ** 0.5  # noqa: E731
    weights = {name: draw(tensor) for name, tensor in weights.items()}
    a, b = np.divmod(np.arange(p * p), p)
    tokens = np.insert(np.stack([a, b], 1), 3 - operands[1], p, 1)
    cosines = gradient_cosines(weights, tokens, p, operands, form)
    x = weights["embed.W_E"].T[torch.from_numpy(tokens)].requires_grad_()
    logits = forward(weights, torch.from_numpy(tokens), form, x).logits[:, -1]
    for c in range(p):
        [gradient] = torch.autograd.grad(logits[:, c].sum(), x, retain_graph=True)
        expected = torch.nn.functional.cosine_similarity(gradient[:, operands[0]], gradient[:, operands[1]], dim=1)
        np.testing.assert_allclose(cosines[:, c], expected, atol=1e-12)
    assert cosines.min() < 0.9  # not all alike


def test_what_cannot_be_meant_is_refused(tmp_path, capsys):
    """A model of two positions with three operands, a pizza model at another modulus, a negative step, two models without a key."""
    config = ModelConfig(width=16, num_heads=2, mlp_width=16, positions=True, biases=True, readout="pair")
    weights = {name: tensor.contiguous() for name, tensor in initial_weights(config, 11, 2, 0).items()}
    save_file(weights, tmp_path / "m.safetensors")
    save_file(
        {f"{key}/{name}": tensor.clone() for key in ("x", "y") for name, tensor in weights.items()},
        tmp_path / "two.safetensors",
    )
    save_file(
        {name: tensor for name, tensor in weights.items() if not name.endswith("W_Q")}, tmp_path / "q.safetensors"
    )
    said = {
        ("m", "a+b+c", "--modulus", "11"): "reads 2 tokens",
        ("m", "a+b", "--modulus", "7", "--layout", "pizza"): "--modulus 11",
        ("m", "a+b", "--modulus", "11", "--step", "-3"): "step -3",
        ("two", "a+b", "--modulus", "11"): "--key with one of: x, y",
        ("q", "a+b", "--modulus", "11"): "without blocks.0.attn.W_Q",
    }
    for (file, *words), sentence in said.items():
        assert main(["import", str(tmp_path / f"{file}.safetensors"), *words, "--out", str(tmp_path / "runs")]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
