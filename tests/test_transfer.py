"""Weights taken from another run and kept: what moves, what stays, and what is refused before anything is written."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch

from epicycle.cli.main import main
from epicycle.errors import ConfigError, RunError
from epicycle.models.plain import forward
from epicycle.runs.directory import lineage
from epicycle.sweep.grid import grid_of
from epicycle.tasks.modular import modular_task
from epicycle.training.config import RECIPES, FrozenConfig, from_dict, to_dict
from epicycle.training.loop import train_run
from epicycle.training.transfer import PREFIXES, frozen_names

LENT = ["--from", "SOURCE", "--freeze", "embedding"]


@pytest.fixture
def source(tiny, tmp_path):
    return train_run(tiny("a+b"), tmp_path, device="cpu")


def _from(config, source, *parts, **more):
    return dataclasses.replace(config, frozen=FrozenConfig(parts=parts, source=source.id, **more))


@pytest.mark.parametrize("afresh", [True, False])
@pytest.mark.parametrize("parts", [("embedding",), ("body",), ("unembedding",), ("embedding", "body")])
def test_taken_parts_stay_and_the_others_begin_afresh(tiny, source, tmp_path, parts, afresh):
    """The source has the same seed: afresh, nothing that is trained begins as it did there."""
    run = train_run(_from(tiny("2a-b"), source, *parts, afresh=afresh), tmp_path, device="cpu")
    scratch = train_run(tiny("2a-b"), tmp_path, device="cpu")
    begun = source.weights(0)
    taken, first, last = source.weights(), run.weights(0), run.weights()
    kept = tuple(prefix for part in parts for prefix in PREFIXES[part])
    for name, tensor in scratch.weights(0).items():
        if name.startswith(kept):
            assert torch.equal(first[name], taken[name])
            assert torch.equal(last[name], taken[name])  # no gradient, no weight decay
        else:
            assert torch.equal(begun[name], tensor)  # one seed, one beginning
            assert torch.equal(first[name], tensor) is not afresh
            assert float(first[name].std()) == pytest.approx(float(tensor.std()), rel=0.1)
            assert not torch.equal(last[name], first[name])
    facts = run.record()["source"]
    step = source.checkpoint_steps()[-1]
    chosen = {"lineage": lineage(source.record())} if afresh else {}
    chosen["task"] = source.record()["config"]["resolved"]["task"]
    assert facts == {"id": source.id, "step": step, "outcome": source.record()["outcome"],
                     "sha256": source.record()["checkpoints"][f"step-{step:08d}.safetensors"], **chosen}  # fmt: skip
    assert set(parts) <= {*run.id.split("-")}


def test_random_embedding_is_this_runs_own(tiny, tmp_path):
    config = dataclasses.replace(tiny("a*b"), frozen=FrozenConfig(parts=("embedding",)))
    run, scratch = train_run(config, tmp_path, device="cpu"), train_run(tiny("a*b"), tmp_path, device="cpu")
    assert torch.equal(run.weights()["embed.W_E"], scratch.weights(0)["embed.W_E"])
    assert "source" not in run.record()
    assert run.id != scratch.id


def test_losses_are_those_of_a_plain_loop(tiny, source, tmp_path):
    """Against the plain three-position forward and torch's own AdamW over the parameters that are trained."""
    config = _from(tiny("a*b", steps=30), source, "body")
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, evaluate_every=1, measure_every=30,
                                                                      checkpoint_every=30))  # fmt: skip
    run = train_run(config, tmp_path, device="cpu")
    task = modular_task(config.task)
    weights = {name: tensor.clone().requires_grad_() for name, tensor in run.weights(0).items()}
    trained = [w for name, w in weights.items() if name not in frozen_names(config, task)]
    assert len(trained) == 2
    optimiser = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0)
    examples = task.examples("train")
    tokens, labels = torch.from_numpy(examples.tokens), torch.from_numpy(examples.labels)
    losses = []
    for _ in range(31):
        logits = forward(weights, tokens).logits[:, -1]
        loss = torch.nn.functional.cross_entropy(logits.double(), labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    np.testing.assert_allclose([line["train_loss"] for line in run.history()], losses, rtol=1e-4)


def test_a_stopped_transfer_goes_on_without_its_source(cut_at, tiny, source, tmp_path):
    config = _from(tiny("2a-b"), source, "embedding")
    whole = train_run(config, tmp_path, device="cpu").weights()

    other = tmp_path / "other"
    cut_at(150, config, other, source_root=tmp_path)
    resumed = train_run(
        config, other, device="cpu"
    )  # the source does not lie here; what was taken is in the checkpoint
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.weights().items())
    assert resumed.record()["source"]["id"] == source.id


def test_configurations_round_trip_and_old_ids_stay(tiny, source):
    config = _from(tiny("a*b"), source, "embedding", step=200)
    assert from_dict(to_dict(config)) == config
    assert "frozen" not in to_dict(tiny("a*b"))  # runs made before this option keep their ids
    shared = _from(tiny("a*b"), source, "embedding", afresh=False)
    assert from_dict(to_dict(shared)) == shared and shared != dataclasses.replace(shared, frozen=config.frozen)
    random = dataclasses.replace(config, frozen=FrozenConfig(parts=("body",)))
    assert from_dict(to_dict(random)) == random
    for each in (shared, random):  # and those made before what is trained began afresh
        assert set(to_dict(each)["frozen"]) == {"parts", "source", "step"}
    drawn = _from(
        tiny("a*b"), source, "embedding", drawn_by="checkpoint"
    )  # and those made before it was drawn by the run
    assert from_dict(to_dict(drawn)) == drawn and set(to_dict(drawn)["frozen"]) == {"parts", "source", "step", "afresh"}


def test_one_seed_begins_alike_wherever_its_source_was_trained(tiny, source, tmp_path, monkeypatch):
    """The source again, by another engine, which rounds otherwise as another processor does; drawn by its bytes it began otherwise."""
    monkeypatch.setattr("epicycle.training.engine.library", lambda precision: None)
    other = train_run(tiny("a+b"), tmp_path / "other", device="cpu")
    name = f"step-{source.checkpoint_steps()[-1]:08d}.safetensors"
    sums = [run.record()["checkpoints"][name] for run in (source, other)]
    assert other.id == source.id and sums[0] != sums[1]
    for drawn_by in ("run", "checkpoint"):
        config = _from(tiny("2a-b", steps=50), source, "body", drawn_by=drawn_by)
        here, there = (train_run(config, run.path.parent, device="cpu").weights(0) for run in (source, other))
        for part in ("embed.W_E", "unembed.W_U"):
            assert torch.equal(here[part], there[part]) is (drawn_by == "run")
        if drawn_by == "checkpoint":  # as it was before there was a choice
            seed = int(hashlib.sha256(f"{config.seed} {sums[0]}".encode()).hexdigest()[:15], 16)
            begun = train_run(tiny("2a-b", steps=50, seed=seed), tmp_path / "plain", device="cpu").weights(0)
            assert torch.equal(here["embed.W_E"], begun["embed.W_E"])


def test_a_transfer_of_a_transfer_begins_alike_everywhere_and_however_it_is_looked_at(
    tiny, source, tmp_path, monkeypatch
):
    """Where the first source was trained by another engine, and where the second was evaluated more often."""
    monkeypatch.setattr("epicycle.training.engine.library", lambda precision: None)
    other = train_run(tiny("a+b"), tmp_path / "other", device="cpu")
    begun = []
    for run, every in ((source, 50), (other, 50), (source, 25)):
        second = _from(tiny("2a-b", steps=50), run, "embedding")
        second = dataclasses.replace(second, schedule=dataclasses.replace(second.schedule, evaluate_every=every))
        middle = train_run(second, run.path.parent, device="cpu")
        begun.append(train_run(_from(tiny("a-b", steps=50), middle, "body"), run.path.parent, device="cpu").weights(0))
    for each in begun[1:]:
        assert torch.equal(begun[0]["embed.W_E"], each["embed.W_E"])


def test_nothing_is_drawn_where_nothing_begins_afresh(source):
    """One configuration, one id."""
    for more in ({"source": source.id, "afresh": False}, {"source": "random"}):
        frozen = FrozenConfig(parts=("body",), drawn_by="checkpoint", **more)
        assert frozen == FrozenConfig(parts=("body",), **more)


def test_stacked_transfers_equal_single_ones(tiny, source, tmp_path, monkeypatch):
    from epicycle.training.engine import StackedEngine, make_engine
    from epicycle.training.transfer import take

    configs = [_from(tiny(text), source, "embedding") for text in ("2a-b", "a*b")]
    tasks = [modular_task(config.task) for config in configs]
    taken = [take(config, task, source.path.parent).weights for config, task in zip(configs, tasks, strict=True)]
    monkeypatch.setattr("epicycle.training.engine.library", lambda precision: None)
    both = make_engine(configs, tasks, taken=taken)
    assert isinstance(both, StackedEngine)
    both.train(20)
    for i in range(2):
        alone = make_engine(configs[i : i + 1], tasks[i : i + 1], taken=taken[i : i + 1])
        alone.train(20)
        for name, tensor in alone.weights(0).items():
            torch.testing.assert_close(both.weights(i)[name], tensor, rtol=1e-3, atol=1e-5)
        assert torch.equal(both.weights(i)["embed.W_E"], source.weights()["embed.W_E"])
    mixed = [configs[0], tiny("a*b")]
    with pytest.raises(ConfigError, match="shapes"):
        make_engine(mixed, [modular_task(config.task) for config in mixed])


def test_equal_shapes_do_not_hide_another_kind_of_model(tiny, tmp_path):
    """11 numbers and 5 operators of one recipe are as many tokens as 15 numbers and = of the other."""
    other = train_run(tiny("a+b", steps=100), tmp_path, device="cpu")
    config = _from(tiny("a*b"), other, "embedding")
    task = dataclasses.replace(config.task, modulus=15)
    nanda = RECIPES["nanda2023"](task, config.schedule, 0)
    sizes = {name: getattr(config.model, name) for name in ("width", "num_heads", "mlp_width")}
    nanda = dataclasses.replace(nanda, frozen=config.frozen, model=dataclasses.replace(nanda.model, **sizes))
    with pytest.raises(ConfigError, match="modulus 11; expected 15"):
        train_run(nanda, tmp_path / "new", device="cpu", source_root=tmp_path)
    nanda = dataclasses.replace(nanda, task=config.task)
    with pytest.raises(ConfigError, match="with positions False; expected True"):
        train_run(nanda, tmp_path / "new", device="cpu", source_root=tmp_path)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda c: dataclasses.replace(c, task=dataclasses.replace(c.task, modulus=13)), ConfigError),
        (lambda c: dataclasses.replace(c, model=dataclasses.replace(c.model, width=64)), ConfigError),
        (lambda c: dataclasses.replace(c, frozen=FrozenConfig(parts=("body",), source="nowhere-12345678")), RunError),
        (lambda c: dataclasses.replace(c, frozen=dataclasses.replace(c.frozen, step=77)), RunError),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tiny, source, tmp_path, change, error):
    config = change(_from(tiny("2a-b"), source, "embedding"))
    with pytest.raises(error):
        train_run(config, tmp_path / "new", device="cpu", source_root=tmp_path)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--freeze", "embedding+body+unembedding"], "every part"),
        (["--freeze", "embedding,body"], "Write embedding+body"),
        (["--freeze", "head"], "head"),
        (["--freeze", ""], "without a part"),
        (["--from", "SOURCE"], "without --freeze"),
        (["--from", "nowhere", "--freeze", "body"], "nowhere"),
        (["--from", "SOURCE", "--freeze", "embedding", "--modulus", "13"], "modulus 11"),
        (["--without-frequencies", "2"], "nothing to freeze"),
        (["--frequency-basis", "multiplicative"], "nothing to freeze"),
        (["--freeze", "embedding", "--without-frequencies", "2"], "expected the embedding of a run"),
        (["--from", "SOURCE", "--freeze", "body", "--without-frequencies", "2"], "expected the embedding of a run"),
        ([*LENT, "--without-frequencies", "2,x"], "integers with commas"),
        ([*LENT, "--without-frequencies", ""], "integers with commas"),
        ([*LENT, "--without-frequencies", "2,2"], "Take 2 out"),
        ([*LENT, "--without-frequencies", "0"], "Take 0 out"),
        ([*LENT, "--without-frequencies", "6"], "at most 5 in the additive basis"),
        (
            [*LENT, "--without-frequencies", "6", "--frequency-basis", "multiplicative"],
            "at most 5 in the multiplicative basis",
        ),
        ([*LENT, "--frequency-basis", "multiplicative"], "and 0 of them"),
        ([*LENT, "--without-frequencies", "2", "--operand-range", "published"], "one token per residue"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, source, capsys, options, said):
    options = [source.id if word == "SOURCE" else word for word in options]
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["grok", "a*b", "--modulus", "11", "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_command_line_names_the_source_and_repeats_itself(tiny, source, tmp_path, capsys):
    words = ["grok", "2a+b", "--modulus", "11", "--train-fraction", "0.5", "--max-steps", "100", "--evaluate-every", "50", "--measure-every",
             "100", "--checkpoint-every", "50", "--hold-evaluations", "0"]  # fmt: skip
    assert main([*words, "--out", str(tmp_path), "--from", source.id, "--freeze", "embedding", "--threads", "1"]) == 0
    said = capsys.readouterr()
    page = next(tmp_path.glob("2a+b*/report.html")).read_text()
    assert f"--from {source.id} --freeze embedding" in page
    assert source.id in said.out + said.err


def test_a_source_with_tokens_of_its_own_is_taken_for_what_it_is(tiny, source, tmp_path):
    """An imported model that is wider than its formulas need fits a task as wide, and no narrower one."""
    import torch

    from epicycle.interop.imported import import_checkpoint
    from epicycle.sweep.plan import plan

    weights = dict(source.weights())
    for name in ("embed.W_E", "unembed.W_U"):
        weights[name] = torch.cat([weights[name], torch.zeros(len(weights[name]), 1)], 1)
    torch.save(weights, tmp_path / "wide.pt")
    lender = import_checkpoint(tmp_path / "wide.pt", tiny().task, tmp_path, extra_tokens=1)
    wide = dataclasses.replace(
        tiny(("a+b", "a^2+b", "a^3+b")), frozen=FrozenConfig(parts=("embedding",), source=lender.id)
    )
    assert plan([wide], tmp_path)
    with pytest.raises(ConfigError, match="with shape"):
        plan([dataclasses.replace(tiny("2a+b"), frozen=wide.frozen)], tmp_path)


def test_a_command_that_is_not_whole_says_so(tiny, source, tmp_path):
    """Runs that began as their source had cannot be typed."""
    from epicycle.analysis.grok import grok
    from epicycle.report.sections import command

    for more in ({}, {"afresh": False}, {"drawn_by": "checkpoint"}):
        frozen = FrozenConfig(parts=("body",), source=source.id, **more)
        [found] = grok(dataclasses.replace(tiny("2a+b", steps=50), frozen=frozen), tmp_path, device="cpu")
        assert ("only Python offers" in command(found)) == bool(more)


@pytest.mark.parametrize("basis", ["additive", "multiplicative"])
def test_frequencies_are_taken_out_of_the_numbers_alone(tiny, source, tmp_path, basis):
    """Against numpy.fft over the numbers, or over the powers of a primitive root of 11."""
    whole = train_run(_from(tiny("2a-b", steps=50), source, "embedding"), tmp_path, device="cpu")
    config = _from(tiny("2a-b", steps=50), source, "embedding", without=(2, 5), basis=basis)
    run = train_run(config, tmp_path, device="cpu")
    before, after = (each.weights()["embed.W_E"].double().numpy() for each in (source, run))
    order = list(range(11)) if basis == "additive" else [pow(2, i, 11) for i in range(10)]
    waves, left = (np.fft.rfft(table[:, order], axis=1) for table in (before, after))
    assert abs(left[:, [2, 5]]).max() < 1e-5 < abs(waves[:, [2, 5]]).max()
    stay = [k for k in range(6) if k not in (2, 5)]
    np.testing.assert_allclose(left[:, stay], waves[:, stay], atol=1e-5)
    others = [i for i in range(before.shape[1]) if i not in order]  # signs, and the zero that has no logarithm
    assert (after[:, others] == before[:, others]).all()
    for name in ("blocks.0.mlp.W_in", "unembed.W_U"):  # what is trained begins as it does with nothing taken out
        assert torch.equal(run.weights(0)[name], whole.weights(0)[name])
    assert torch.equal(run.weights(0)["embed.W_E"], run.weights()["embed.W_E"])
    numbers = before[:, :11] - before[:, :11].mean(1, keepdims=True)
    gone = (before - after)[:, :11]
    facts = run.record()["source"]
    assert facts["share"] == pytest.approx((gone**2).sum() / (numbers**2).sum(), rel=1e-5)
    assert (facts["without"], facts["basis"]) == ([2, 5], basis)


def test_what_was_taken_out_is_in_the_id_the_table_and_the_report(tiny, source, tmp_path, capsys):
    config = _from(tiny("2a-b", steps=50), source, "embedding", without=(2, 5))
    assert from_dict(to_dict(config)).frozen == config.frozen
    assert set(to_dict(_from(tiny("2a-b"), source, "embedding"))["frozen"]) == {
        "parts",
        "source",
        "step",
        "afresh",
        "drawn_by",
    }
    words = ["--modulus", "11", "--train-fraction", "0.5", "--max-steps", "50", "--from", source.id, "--freeze", "embedding", "--without-frequencies", "5, 2",
             "--out", str(tmp_path), "--threads", "1"]  # fmt: skip
    assert main(["grok", "2a-b", *words]) == 0
    [page] = tmp_path.glob("2a-b*/report.html")
    text = page.read_text()
    assert "--without-frequencies 2,5" in text and "but for the additive frequencies 2, 5" in text
    assert "needs of its operands, waves of a at 2k and of b at k" in text
    capsys.readouterr()
    assert main(["runs", "--out", str(tmp_path), "--where", "frozen=embedding", "--columns", "without", "--json"]) == 0
    assert [each["without"] for each in json.loads(capsys.readouterr().out)["runs"]] == ["additive 2, 5"]


def test_no_table_hides_what_was_taken_out(tiny, source):
    with pytest.raises(ConfigError, match="taken out of its embedding"):
        grid_of([_from(tiny("2a-b"), source, "embedding", without=(2,))], ".")
