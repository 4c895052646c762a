import dataclasses
import itertools

import numpy as np
import pytest
import torch

from epicycle.models import plain
from epicycle.models.config import ModelConfig
from epicycle.models.readout import read_out
from epicycle.models.weights import initial_weights, standard_deviations
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.training.build import library
from epicycle.training.config import OptimiserConfig
from epicycle.training.examples import example_set, row_map
from epicycle.training.fused import FusedStep
from epicycle.training.tables import TableStep

NANDA = ModelConfig(positions=True, biases=True, readout="equals", init="nanda2023")
MODELS = {
    "furuta2024": ModelConfig(),
    "nanda2023": NANDA,
    "positions, read at b": dataclasses.replace(NANDA, readout="operand"),
    "one head": ModelConfig(num_heads=1, width=32, mlp_width=48),
    "eight narrow heads": ModelConfig(num_heads=8, width=32, mlp_width=64),
    "unscaled scores": ModelConfig(width=32, mlp_width=48, scores="unscaled", init="furuta2024-paper"),
}
TASKS = {
    "a+b": TaskConfig(modulus=13),
    "mixture": TaskConfig(formulas=("a+b", "a*b", "a/b"), modulus=11),
    "three operands": TaskConfig(formulas=("a+b*c",), modulus=5),
    "published range": TaskConfig(formulas=("a-b",), modulus=17, operand_range="published"),
}
needs_compiler = pytest.mark.skipif(library() is None, reason="no C compiler on this machine")


def _setting(model, task, dtype=torch.float64, seed=0):
    task = modular_task(task)
    every = task.examples("all", model.readout).tokens
    tokens, labels, which = task.examples("train", model.readout)
    weights = initial_weights(model, task.vocabulary(model.readout), every.shape[1], seed, dtype)
    generator = torch.Generator().manual_seed(7)
    for name in weights:
        if name.endswith(("b_in", "b_out")):
            weights[name] = (torch.randn(weights[name].shape, generator=generator) * 0.1).to(dtype)
    rows = row_map(every, model.positions)
    return task, tokens, labels, which, weights, rows, example_set(tokens, labels, which, task.num_tasks, rows)


def _cross_entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")


def _stablemax(logits, labels):
    """As its authors write it: s / sum of s, then the logarithm."""
    s = torch.where(logits < 0, 1 / (1 - logits), logits + 1)
    return -torch.log(s / s.sum(-1, keepdim=True)).gather(1, labels[:, None])[:, 0]


def _plain(weights, tokens, labels, which, num_tasks, model, loss="float64", classes=None):
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    logits = plain.forward(leaves, torch.from_numpy(tokens), model.attention).logits[:, -1]
    each = {"stablemax": _stablemax}.get(loss, _cross_entropy)(logits[:, :classes], torch.from_numpy(labels))
    losses = [each[torch.from_numpy(which == t)].mean() for t in range(num_tasks)]
    gradients = dict(zip(leaves, torch.autograd.grad(sum(losses), list(leaves.values())), strict=True))
    return logits.detach().numpy(), np.array([x.item() for x in losses]), gradients


@pytest.mark.parametrize(
    ("model", "task", "loss", "which_classes"),
    [(model, task, "float64", "all") for model, task in itertools.product(MODELS, TASKS)]
    + [(model, task, loss, kind) for model, task in zip(MODELS, itertools.cycle(TASKS))
       for loss, kind in [("margin", "all"), ("float64", "numbers"), ("margin", "numbers"), ("stablemax", "all"), ("stablemax", "numbers")]],
)  # fmt: skip
def test_exact_step_is_the_plain_forward_and_backward(model, task, loss, which_classes):
    config = MODELS[model]
    built, tokens, labels, which, weights, rows, examples = _setting(config, TASKS[task])
    classes = built.config.modulus if which_classes == "numbers" else None
    logits, losses, gradients = _plain(weights, tokens, labels, which, built.num_tasks, config, loss, classes)
    optimiser = OptimiserConfig(loss=loss)
    stacked = TableStep(config, rows, [weights], optimiser, built.num_tasks, classes=classes)
    answers = [(stacked.loss_and_gradient(stacked.stack([examples]))[0].numpy(),
                stacked.logits(stacked.stack([examples]))[0].numpy()[np.argsort(examples.order)], stacked.gradients())]  # fmt: skip
    if library("double") is not None:
        for threads in (1, 3):
            fused = FusedStep(config, rows, weights, optimiser, built.num_tasks, threads, classes=classes)
            answers.append((fused.loss_and_gradient(examples), fused.logits(examples), fused.gradients()))
    for own_losses, own_logits, own_gradients in answers:
        np.testing.assert_allclose(own_losses, losses, rtol=1e-10)
        assert np.abs(own_logits - logits).max() <= 1e-10 * np.abs(logits).max()
        for name, true in gradients.items():
            assert (own_gradients[name] - true).norm() <= 1e-10 * true.norm() + 1e-14, name


@needs_compiler
@pytest.mark.parametrize("model", ["furuta2024", "nanda2023"])
def test_float32_trajectory_is_that_of_the_plain_loop(model):
    config = MODELS[model]
    _, tokens, labels, _, weights, rows, examples = _setting(config, TASKS["a+b"], torch.float32)
    warmup = 10 if model == "nanda2023" else 0
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    adam = torch.optim.AdamW(leaves.values(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda t: min(t / warmup, 1) if warmup else 1)
    expected = []
    for _ in range(100):
        adam.zero_grad()
        logits = plain.forward(leaves, torch.from_numpy(tokens)).logits[:, -1]
        loss = torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(labels))
        loss.backward()
        adam.step()
        schedule.step()
        expected.append(loss.item())
    optimiser = OptimiserConfig(warmup_steps=warmup)
    fused = FusedStep(config, rows, weights, optimiser, threads=2)
    stacked = TableStep(config, rows, [weights], optimiser)
    np.testing.assert_allclose(fused.train(examples, 100)[:, 0], expected, rtol=1e-3)
    np.testing.assert_allclose(stacked.train(stacked.stack([examples]), 100)[0, :, 0], expected, rtol=1e-3)
    for name, tensor in leaves.items():
        for own in (fused.weights(), stacked.weights()):
            assert (own[name] - tensor.detach()).norm() <= 1e-3 * tensor.norm(), name


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
def test_same_threads_same_bits_and_steps_may_be_cut_anywhere(threads):
    config = MODELS["furuta2024"]
    _, _, _, _, weights, rows, examples = _setting(config, TASKS["mixture"], torch.float32)
    first, second = (FusedStep(config, rows, weights, OptimiserConfig(), 3, threads) for _ in range(2))
    first.train(examples, 30)
    second.train(examples, 7)
    third = FusedStep(config, rows, weights, OptimiserConfig(), 3, threads)
    third.load_state(second.state())
    third.train(examples, 23)
    assert third.step == first.step == 30
    for name, tensor in first.state().items():
        assert torch.equal(tensor, third.state()[name]), name


@needs_compiler
def test_evaluation_counts_right_answers():
    config = MODELS["furuta2024"]
    task, tokens, labels, which, weights, rows, examples = _setting(config, TASKS["mixture"], torch.float32)
    fused = FusedStep(config, rows, weights, OptimiserConfig(), task.num_tasks)
    fused.train(examples, 40)
    scores = fused.evaluate(examples)
    logits = plain.forward(fused.weights(), torch.from_numpy(tokens)).logits[:, -1]
    right = logits.argmax(1).numpy() == labels
    np.testing.assert_allclose(scores.accuracy, [right[which == t].mean() for t in range(3)])
    stacked = TableStep(config, rows, [fused.weights()], OptimiserConfig(), 3)
    loss, accuracy = stacked.evaluate(stacked.stack([examples]))
    np.testing.assert_allclose(accuracy[0], scores.accuracy)
    np.testing.assert_allclose(loss[0], scores.loss, rtol=1e-5)


def test_stacked_runs_do_not_touch_each_other():
    config = MODELS["furuta2024"]
    settings = [_setting(config, dataclasses.replace(TASKS["a+b"], split_seed=s), torch.float64, s) for s in range(3)]
    rows = settings[0][5]
    both = TableStep(config, rows, [s[4] for s in settings], OptimiserConfig())
    both.train(both.stack([s[6] for s in settings]), 20)
    for i, (_, _, _, _, weights, _, examples) in enumerate(settings):
        alone = TableStep(config, rows, [weights], OptimiserConfig())
        alone.train(alone.stack([examples]), 20)
        for name, tensor in alone.weights().items():
            torch.testing.assert_close(both.weights(i)[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["compiled", "stacked"])
def test_frozen_parameters_stay(kind):
    config = MODELS["furuta2024"]
    _, _, _, _, weights, rows, examples = _setting(config, TASKS["a+b"], torch.float32)
    frozen = frozenset({"embed.W_E", "blocks.0.mlp.W_in"})
    if kind == "compiled":
        if library() is None:
            pytest.skip("no C compiler on this machine")
        step = FusedStep(config, rows, weights, OptimiserConfig(), frozen=frozen)
        step.train(examples, 5)
    else:
        step = TableStep(config, rows, [weights], OptimiserConfig(), frozen=frozen)
        step.train(step.stack([examples]), 5)
    for name, tensor in step.weights().items():
        assert torch.equal(tensor, weights[name]) == (name in frozen), name


@pytest.mark.parametrize("model", MODELS)
def test_read_out_is_the_last_position_of_the_plain_forward(model):
    config = MODELS[model]
    _, tokens, _, _, weights, _, _ = _setting(config, TASKS["a+b"])
    found, true = (run(weights, torch.from_numpy(tokens), config.attention) for run in (read_out, plain.forward))
    torch.testing.assert_close(found.logits, true.logits[:, -1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.neurons, true.neurons[:, -1], rtol=1e-10, atol=1e-12)


def test_initial_weights_have_the_published_sizes_and_spreads():
    weights = initial_weights(ModelConfig(), 102, 3, 0)
    assert sum(w.numel() for w in weights.values()) == 222_720
    for name, spread in standard_deviations(ModelConfig(), 102).items():
        if name in weights:
            assert float(weights[name].std()) == pytest.approx(spread, rel=0.03)
    assert standard_deviations(ModelConfig(), 102)["blocks.0.mlp.W_out"] == 128**-0.5
    assert torch.equal(
        initial_weights(ModelConfig(), 102, 3, 5)["embed.W_E"], initial_weights(ModelConfig(), 102, 3, 5)["embed.W_E"]
    )
    assert standard_deviations(ModelConfig(init="nanda2023"), 114)["unembed.W_U"] == 114**-0.5


def test_without_a_compiler_the_user_is_told_what_it_costs(monkeypatch):
    from epicycle.training import build

    monkeypatch.setenv("EPICYCLE_NO_COMPILER", "1")
    build.library.cache_clear()
    try:
        assert build.library() is None
        assert "times slower (install gcc to mend it)" in build.slow_reason()
    finally:
        build.library.cache_clear()


@pytest.mark.gpu
def test_captured_steps_on_a_gpu():
    config = MODELS["furuta2024"]
    _, _, _, _, weights, rows, examples = _setting(config, TASKS["mixture"], torch.float32)
    on_cpu = TableStep(config, rows, [weights], OptimiserConfig(), 3)
    on_gpu = TableStep(config, rows, [weights, weights], OptimiserConfig(), 3, "cuda")
    expected = on_cpu.train(on_cpu.stack([examples]), 100)
    stacked = on_gpu.stack([examples, examples])
    found = np.concatenate([on_gpu.train(stacked, 30), on_gpu.train(stacked, 70)], 1)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3)
    np.testing.assert_allclose(found[1], expected[0], rtol=1e-3)


@needs_compiler
def test_two_models_train_at_once_in_one_process():
    from concurrent.futures import ThreadPoolExecutor

    config = MODELS["furuta2024"]
    _, _, _, _, weights, rows, examples = _setting(config, TASKS["a+b"], torch.float32)
    alone = FusedStep(config, rows, weights, OptimiserConfig(), threads=2)
    expected = alone.train(examples, 200)
    steps = [FusedStep(config, rows, weights, OptimiserConfig(), threads=2) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for losses in pool.map(lambda step: step.train(examples, 200), steps, timeout=120):
            np.testing.assert_array_equal(losses, expected)
    assert alone.train(examples, 0).shape == (0, 1)


def _sure(scale, dtype=torch.float32):
    """A model and its questions with the answers it gives: with large weights it is sure of most of them."""
    config = MODELS["furuta2024"]
    _, tokens, _, _, weights, rows, _ = _setting(config, TASKS["a+b"], dtype)
    scaled = {name: tensor * scale for name, tensor in weights.items()}
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in scaled.items()}
    logits = plain.forward(leaves, torch.from_numpy(tokens)).logits[:, -1]
    return config, tokens, scaled, leaves, rows, logits


def _own_gradients(kind, config, rows, weights, examples, loss):
    if kind == "compiled":
        step = FusedStep(config, rows, weights, OptimiserConfig(loss=loss))
        value = step.loss_and_gradient(examples)[0]
    else:
        step = TableStep(config, rows, [weights], OptimiserConfig(loss=loss))
        value = step.loss_and_gradient(step.stack([examples])).item()
    return value, step.gradients()


@pytest.mark.parametrize("kind", ["compiled", "stacked"])
def test_float32_loss_is_that_of_torch_where_it_collapses(kind):
    """Of answers so sure that their logarithm rounds to 0 the right logit has no gradient, the wrong ones have: float64 keeps both."""
    if kind == "compiled" and library() is None:
        pytest.skip("no C compiler on this machine")
    config, tokens, weights, leaves, rows, logits = _sure(2.3)
    answers = logits.argmax(1)
    each = torch.nn.functional.cross_entropy(logits, answers, reduction="none")
    collapsed = (each == 0) & (torch.nn.functional.cross_entropy(logits.double(), answers, reduction="none") > 1e-12)
    assert collapsed.sum() > 3
    chosen = collapsed.numpy()
    few = example_set(tokens[chosen], answers.numpy()[chosen], np.zeros(chosen.sum(), int), 1, rows)
    expected = dict(zip(leaves, torch.autograd.grad(each[collapsed].mean(), list(leaves.values())), strict=True))
    loss, gradients = _own_gradients(kind, config, rows, weights, few, "float32")
    other, others = _own_gradients(kind, config, rows, weights, few, "float64")
    assert loss == 0 and other > 0
    name = "unembed.W_U"
    assert expected[name].norm() > 0
    assert (gradients[name] - expected[name]).norm() <= 1e-3 * expected[name].norm()
    assert (others[name] - expected[name]).norm() >= 0.3 * expected[name].norm()


@pytest.mark.parametrize("kind", ["compiled", "stacked"])
def test_float32_loss_is_that_of_torch_elsewhere(kind):
    if kind == "compiled" and library() is None:
        pytest.skip("no C compiler on this machine")
    config, _, weights, leaves, rows, logits = _sure(1.0)
    _, _, labels, _, _, _, examples = _setting(config, TASKS["a+b"], torch.float32)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    own, gradients = _own_gradients(kind, config, rows, weights, examples, "float32")
    assert own == pytest.approx(loss.item(), rel=1e-5)
    for name, true in expected.items():
        assert (gradients[name] - true).norm() <= 1e-4 * true.norm(), name


@needs_compiler
def test_tiny_numbers_count_as_zero_inside_and_nowhere_else():
    """Sure answers leave gradients below 1.2e-38, with which many processors are many times slower; the caller's arithmetic keeps them."""
    config, tokens, sure, leaves, rows, logits = _sure(3.0)
    answers = logits.argmax(1).numpy()
    own = example_set(tokens, answers, np.zeros(len(answers), int), 1, rows)
    for threads in (1, 2):
        fused = FusedStep(config, rows, sure, OptimiserConfig(), threads=threads)
        fused.train(own, 1)
        second = fused.state()["optimiser.second.unembed.W_U"]
        smallest = torch.finfo(torch.float32).smallest_normal
        assert not ((second != 0) & (second < smallest)).any()
        loss = torch.nn.functional.cross_entropy(logits.double(), logits.argmax(1))
        gradient = torch.autograd.grad(loss, leaves["unembed.W_U"], retain_graph=True)[0]
        usual = 0.02 * gradient**2
        assert ((usual != 0) & (usual < smallest)).any()  # the plain loop has such numbers
        assert (second - usual).norm() <= 1e-2 * usual.norm()
        assert np.float32(1e-38) * np.float32(1e-3) > 0
