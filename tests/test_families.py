"""Every family: a tiny model from its configuration class; hooks, residual sum and the streaming pass against the plain model."""

import numpy as np
import pytest
import torch
import transformers

from epicycle.errors import DataError
from epicycle.models.families import FAMILIES
from epicycle.models.language import language_model, load_language_model
from epicycle.models.language_oracle import NumberTokenizer
from epicycle.models.patching import (
    answer_states,
    final_with_head,
    final_with_module,
    final_with_stream,
    one_batch,
    outputs_along_paths,
    stream_at,
)
from epicycle.models.stream import answer_step, batches, edited, encode, full_pass, plan_segments, states
from epicycle.models.tokenizer import train_tokenizer

V, D, L, H = 64, 32, 3, 4
LLAMA = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": 2, "intermediate_size": 48,
         "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
GEMMA = LLAMA | {"head_dim": 8}
CONFIGS = {
    "gpt2": ("GPT2Config", {"vocab_size": V, "n_embd": D, "n_layer": L, "n_head": H, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}),
    "gptj": ("GPTJConfig", {"vocab_size": V, "n_embd": D, "n_layer": L, "n_head": H, "n_positions": 64, "rotary_dim": 4, "bos_token_id": 1, "eos_token_id": 2}),
    "gpt_neox": ("GPTNeoXConfig", {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}),
    "phi": ("PhiConfig", LLAMA),
    "phi3": ("Phi3Config", LLAMA),
    "llama": ("LlamaConfig", LLAMA),
    "mistral": ("MistralConfig", LLAMA),
    "qwen2": ("Qwen2Config", LLAMA),
    "qwen3": ("Qwen3Config", GEMMA),
    "gemma": ("GemmaConfig", GEMMA),
    "gemma2": ("Gemma2Config", GEMMA | {"query_pre_attn_scalar": 8, "final_logit_softcapping": 5.0}),
    "gemma3_text": ("Gemma3TextConfig", GEMMA | {"query_pre_attn_scalar": 8}),
    "opt": ("OPTConfig", {"vocab_size": V, "hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H, "ffn_dim": 48, "word_embed_proj_dim": D,
                          "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}),
    "olmo": ("OlmoConfig", LLAMA),
    "olmo2": ("Olmo2Config", LLAMA),
}  # fmt: skip


def tiny(kind):
    name, values = CONFIGS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**values))
    with torch.no_grad():  # gains and biases that matter
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return language_model(model, NumberTokenizer(V), kind)


def prompts():
    generator = np.random.default_rng(0)
    heads = generator.integers(3, V, (4, 3))
    short = [[*heads[i % 4], int(x), 5] for i, x in enumerate(generator.integers(3, V, 20))]
    long = [[*heads[i % 4], int(x), 7, int(y), 9] for i, (x, y) in enumerate(generator.integers(3, V, (13, 2)))]
    return [list(map(int, row)) for row in short + long]


def test_every_family_is_tested():
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_streaming_pass_equals_the_plain_model(kind):
    lm = tiny(kind)
    tokens = prompts()
    seen = 0
    for batch in batches(lm, tokens, 16):
        found = states(lm, batch)
        with torch.inference_mode():
            plain = lm.model(torch.tensor([tokens[i] for i in batch.rows]), output_hidden_states=True, use_cache=False)
        hidden = torch.stack([h[:, -1] for h in plain.hidden_states])
        tolerance = {"rtol": 1e-4, "atol": 2e-5 * float(hidden.abs().max())}
        torch.testing.assert_close(found.stream[:-1], hidden[:-1], **tolerance)
        # what modules add is the whole difference between layers
        torch.testing.assert_close(
            found.stream[0] + found.attention.sum(0) + found.mlp.sum(0), found.stream[-1], **tolerance
        )
        torch.testing.assert_close(lm.norm(found.stream[-1]), found.final, **tolerance)
        bias = 0 if lm.bias is None else lm.bias
        torch.testing.assert_close(
            lm.capped(found.final @ lm.unembedding.T + bias), plain.logits[:, -1], rtol=1e-3, atol=1e-4
        )
        seen += len(batch.rows)
    assert seen == len(tokens)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_edits_reach_every_module_and_leave_no_trace(kind):
    lm = tiny(kind)
    tokens = torch.tensor(prompts()[:8])
    before = full_pass(lm, tokens)
    calls = []

    def nothing(which, layer, output):
        calls.append((which, layer))
        return torch.zeros_like(output)

    with edited(lm, nothing):
        cut = full_pass(lm, tokens)
    assert sorted(calls) == sorted([(which, layer) for which in ("attn", "mlp") for layer in range(L)])
    with torch.inference_mode():
        entering = lm.model(tokens, output_hidden_states=True, use_cache=False).hidden_states[0][:, -1]
        torch.testing.assert_close(cut, lm.norm(entering), rtol=1e-4, atol=1e-4)
    assert torch.equal(full_pass(lm, tokens), before)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt"])
def test_a_directory_opens_as_the_same_model(kind, tmp_path):
    lm = tiny(kind)
    tokenizer = train_tokenizer(["a b c"] * 50, 30, 256)
    lm.model.resize_token_embeddings(len(tokenizer))
    lm.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_language_model(tmp_path)
    tokens = torch.tensor(prompts()[:4])
    assert torch.equal(full_pass(again, tokens), full_pass(lm, tokens))
    assert again.space.count == 31


def test_segments_share_beginnings_and_cover_every_column():
    assert plan_segments([1]) == [1]
    assert plan_segments([1, 1, 1, 1000, 1000]) == [3, 5]
    assert plan_segments([1000] * 6) == [6]


def test_refusals(tmp_path):
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=50,
                                     architectures=["BertForMaskedLM"])  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="does not predict the next token"):
        load_language_model(tmp_path / "bert")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no config\.json"):
        load_language_model(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(DataError, match="no weights"):
        load_language_model(tmp_path / "empty")
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="never opened"):
        load_language_model(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        load_language_model("./nowhere/at/all")


def test_prompts_that_do_not_fit_are_refused():
    lm = tiny("gpt2")
    with pytest.raises(DataError, match="64 positions"):
        encode(lm, [" ".join(["7"] * 65)])
    with pytest.raises(DataError, match="fewer than two tokens"):
        encode(lm, ["7"])


def test_a_model_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    from epicycle.models import language

    lm = tiny("gpt2")
    lm.model.save_pretrained(tmp_path)
    train_tokenizer(["a b"] * 20, 30, 256).save_pretrained(tmp_path)
    monkeypatch.setattr(language, "_memory_available", lambda: 100_000)
    with pytest.raises(DataError, match=r"GiB are\s+free.*--dtype bfloat16"):
        load_language_model(tmp_path)


def test_a_path_is_what_the_layers_give_by_hand():
    """GPT-2, attention of layer 1 replaced: what the MLP of layer 2 and the attention of layer 2 write on that account alone."""
    lm = tiny("gpt2")
    rows = [row for row in prompts() if len(row) == 5]
    batch, tokens = one_batch(lm, rows), torch.tensor(rows)
    own = answer_states(lm, batch)
    change = torch.randn(own.attention[0].shape, generator=torch.Generator().manual_seed(1))
    written = outputs_along_paths(lm, batch, "attention", 0, own.attention[0] + change, own)
    block = lm.layers[1]
    with torch.inference_mode():
        before = stream_at(lm, tokens, 4)[1]
        by_hand = block.mlp(block.ln_2(before + own.attention[1] + change))
        torch.testing.assert_close(written[3], by_hand, rtol=1e-4, atol=1e-5)
        whole = lm.model.base_model(input_ids=tokens, output_hidden_states=True).hidden_states[1].clone()
        whole[:, -1] += change
        mask = torch.full((5, 5), -torch.inf).triu(1)[None, None]
        by_hand = block.attn(block.ln_1(whole), attention_mask=mask)[0][:, -1]
        torch.testing.assert_close(written[2], by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_patching(kind):
    """Putting a run's own parts back changes nothing; another run's stream at every position makes it that run."""
    lm = tiny(kind)
    rows = [row for row in prompts() if len(row) == 5]
    tokens = torch.tensor(rows)
    batch = one_batch(lm, rows)
    plain = full_pass(lm, tokens)
    torch.testing.assert_close(answer_step(lm, batch), plain, rtol=1e-4, atol=1e-5)
    own = answer_states(lm, batch)
    assert own.heads.shape[:3] == (L, len(rows), H)
    torch.testing.assert_close(lm.norm(own.stream), plain, rtol=1e-4, atol=1e-5)
    for layer in range(L):
        same = stream_at(lm, tokens, 3)[layer]
        torch.testing.assert_close(final_with_stream(lm, tokens, layer, 3, same), plain, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            final_with_head(lm, batch, layer, 1, own.heads[layer, :, 1]), plain, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            final_with_module(lm, batch, "mlp", layer, own.mlp[layer]), plain, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            final_with_module(lm, batch, "attention", layer, own.attention[layer]), plain, rtol=1e-4, atol=1e-5
        )
    # prompts that differ in the token at position 3 only: its stream makes all the difference
    other = tokens.clone()
    other[:, 3] = (other[:, 3] + 11) % (V - 8) + 3
    changed = final_with_stream(lm, tokens, 0, 3, stream_at(lm, other, 3)[0])
    torch.testing.assert_close(changed, full_pass(lm, other), rtol=1e-4, atol=1e-5)
    assert (changed - plain).abs().max() > 1e-3
    # one path: what comes before the replaced module is as it was, and at the end of the model the paths are all there is
    generator = torch.Generator().manual_seed(0)
    new = own.attention[-1] + torch.randn(own.attention[-1].shape, generator=generator)
    written = outputs_along_paths(lm, batch, "attention", L - 1, new, own)
    held = torch.stack([own.attention, own.mlp], 1).flatten(0, 1)
    torch.testing.assert_close(written[: 2 * L - 1], held[: 2 * L - 1], rtol=1e-4, atol=1e-5)
    added = new - own.attention[-1] + written[-1] - held[-1]
    whole = final_with_module(lm, batch, "attention", L - 1, new)
    torch.testing.assert_close(lm.norm(own.stream + added), whole, rtol=1e-4, atol=1e-4)
    # with what it wrote before, nothing changes anywhere
    torch.testing.assert_close(
        outputs_along_paths(lm, batch, "attention", 0, own.attention[0], own), held, rtol=1e-4, atol=1e-5
    )
    # a parallel block's MLP does not read its attention
    assert bool((written[-1] - held[-1]).abs().max() < 1e-6) == lm.is_parallel
    zeroed = final_with_head(lm, batch, 0, 2, torch.zeros_like(own.heads[0, :, 2]))
    assert (zeroed - plain).abs().max() > 1e-4
