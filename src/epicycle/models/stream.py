"""One streaming pass over prompts that keeps what modules add to the residual stream at the answer position.

Prompts that begin alike are computed once up to where they part, and everything before the answer position only feeds the
key-value cache; so the pass is cheaper than running the prompts one batch after the other, and an ablation at the answer
position costs one token per prompt.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epicycle.errors import DataError
from epicycle.models.language import LanguageModel
from epicycle.tasks.prompts import question_tokens

CALL_COST = 24
"""What one more forward call is taken to cost, in tokens: a guess that was never tuned. Only speed depends on it."""

Edit = Callable[[str, int, Tensor], Tensor]
"""(attn or mlp, layer, output (b, s, d)) -> what is added to the stream instead."""


class Batch(NamedTuple):
    """Prompts of one length, computed up to the token before the answer position."""

    rows: np.ndarray  # (b,) which prompts
    tokens: Tensor  # (b, s)
    cache: Any  # keys and values of the first s - 1 positions


class States(NamedTuple):
    """What stands at the answer position of a batch: `stream[l]` after l layers, before the final norm."""

    rows: np.ndarray  # (b,)
    stream: Tensor  # (layers + 1, b, d)
    attention: Tensor  # (layers, b, d)
    mlp: Tensor  # (layers, b, d)
    final: Tensor  # (b, d) after the final norm


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _replaced(output: Any, tensor: Tensor) -> Any:
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor


@contextlib.contextmanager
def hooked(pairs: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Forward hooks that are gone on leaving."""
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def edited(lm: LanguageModel, edit: Edit) -> Iterator[None]:
    """Every attention and MLP output passes through `edit` before it is added to the stream."""

    def hook(kind: str, layer: int) -> Callable[..., Any]:
        def change(module: nn.Module, inputs: Any, output: Any) -> Any:
            found = _first(output)
            shape = found.shape  # OPT's MLP may see all positions of the batch as one axis
            return _replaced(output, edit(kind, layer, found).reshape(shape))

        return change

    pairs = [(m, hook("attn", i)) for i, m in enumerate(lm.attention)] + [
        (m, hook("mlp", i)) for i, m in enumerate(lm.mlp)
    ]
    with hooked(pairs):
        yield


@contextlib.contextmanager
def _last_mlp_skipped(lm: LanguageModel) -> Iterator[None]:
    """The last layer's MLP gives its input back: what it writes before the answer position is never read."""
    if not lm.family.can_skip_mlp:
        yield
        return
    module = lm.mlp[-1]
    module.forward = lambda hidden, *rest, **named: hidden  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.forward  # the class's own again


def plan_segments(distinct: Sequence[int]) -> list[int]:
    """Where to cut prompts of one length so that shared beginnings are computed once.

    Args:
        distinct: Number of distinct beginnings of length 1, 2, ..., up to the token before the answer position.

    Returns:
        Ends of the segments, ascending, the last one len(distinct); the cheapest by CALL_COST.
    """
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end in range(1, len(distinct) + 1):
        best.append(min(
            (best[start][0] + distinct[end - 1] * (end - start) + CALL_COST, [*best[start][1], end]) for start in range(end)
        ))  # fmt: skip
    return best[-1][1]


def encode(lm: LanguageModel, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, with the tokenizer's own beginning-of-text token where it has one; checked as by `fitting`."""
    return fitting(lm, question_tokens(lm.tokenizer, prompts))


def fitting(lm: LanguageModel, tokens: list[list[int]]) -> list[list[int]]:
    """The same token ids, if the model can read them.

    Raises:
        DataError: A prompt is empty, longer than the model's context, or has tokens without a row in its embedding.
    """
    longest, shortest = max(map(len, tokens)), min(map(len, tokens))
    if (largest := max(map(max, tokens))) >= len(lm.embedding):
        raise DataError(f"got token {largest} for an embedding of {len(lm.embedding):,} rows; expected a tokenizer that fits the model. "
                        "Use the one that it was trained with.")  # fmt: skip
    limit = getattr(lm.model.config, "max_position_embeddings", None)
    if shortest < 2:
        raise DataError("got a prompt of fewer than two tokens; expected a question. Give a longer one.")
    if limit is not None and longest > limit:
        raise DataError(f"got a prompt of {longest} tokens for a model with {limit} positions; expected at most as many. "
                        "Use fewer --shots, or another --form.")  # fmt: skip
    return tokens


def batches(lm: LanguageModel, tokens: Sequence[Sequence[int]], size: int = 96) -> Iterator[Batch]:
    """Prompts, ordered by length and beginning, computed up to the token before the answer position.

    Args:
        lm: The model.
        tokens: Token ids per prompt, of any lengths.
        size: Prompts per batch; memory grows with it.
    """
    from transformers import DynamicCache

    lengths = np.array([len(row) for row in tokens])
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        table = np.array([tokens[int(i)] for i in rows])
        order = np.lexsort(table.T[::-1])
        for start in range(0, len(rows), size):
            part = order[start : start + size]
            block = table[part]
            changes = (block[1:] != block[:-1]).cumsum(
                1
            ) > 0  # rows are sorted: a new beginning where any column changed
            distinct = [int(changes[:, c].sum()) + 1 for c in range(length - 1)]
            cache, done, parents = DynamicCache(), 0, np.zeros(1, int)
            with torch.inference_mode(), _last_mlp_skipped(lm):
                for end in plan_segments(distinct):
                    new = np.concatenate([[True], changes[:, end - 1]]) if len(block) > 1 else np.array([True])
                    firsts = np.flatnonzero(new)
                    if done:
                        cache.batch_select_indices(torch.as_tensor(parents[firsts], device=lm.device))
                    ids = torch.as_tensor(block[firsts, done:end], device=lm.device)
                    _pass_on(lm, ids, cache)
                    done, parents = end, np.cumsum(new) - 1
                cache.batch_select_indices(torch.as_tensor(parents, device=lm.device))
            yield Batch(rows[part], torch.as_tensor(block, device=lm.device), cache)


def answer_step(lm: LanguageModel, batch: Batch) -> Tensor:
    """Final hidden state at the answer position, (b, d), after the final norm; the batch can be used again."""
    with torch.inference_mode():
        found = _pass_on(lm, batch.tokens[:, -1:], batch.cache)
        batch.cache.crop(-1)
    return found[:, -1]


def _pass_on(lm: LanguageModel, tokens: Tensor, cache: Any) -> Tensor:
    """Final hidden states of tokens that come after those in a cache, which they are added to."""
    model = lm.model.base_model
    return model(input_ids=tokens, use_cache=True, **{_cache_name(type(model)): cache}).last_hidden_state


@functools.cache
def _cache_name(model: type) -> str:
    """What a class of models calls its cache: transformers 5.24 renamed it."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def states(lm: LanguageModel, batch: Batch) -> States:
    """What every module adds at the answer position of a batch, and the stream after every layer."""
    width = lm.width
    kept: dict[str, list[Tensor]] = {"attn": [], "mlp": [], "layer": []}

    def keep(kind: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            kept[kind].append(_first(output).reshape(-1, width))

        return hook

    def keep_input(module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        entering = inputs[0] if inputs else named["hidden_states"]
        kept["layer"].append(entering.reshape(-1, width))

    handle = lm.layers[0].register_forward_pre_hook(keep_input, with_kwargs=True)
    pairs = (
        [(m, keep("attn")) for m in lm.attention]
        + [(m, keep("mlp")) for m in lm.mlp]
        + [(m, keep("layer")) for m in lm.layers]
    )
    try:
        with hooked(pairs):
            final = answer_step(lm, batch)
    finally:
        handle.remove()
    return States(batch.rows, torch.stack(kept["layer"]), torch.stack(kept["attn"]), torch.stack(kept["mlp"]), final)


def full_pass(lm: LanguageModel, tokens: Tensor) -> Tensor:
    """Final hidden state at the answer position of prompts of one length, (b, d), all positions computed anew."""
    with torch.inference_mode():
        return lm.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
