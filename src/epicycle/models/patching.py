"""Run a prompt with part of another run put into it, at one position of one layer or at the answer position."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epicycle.models.language import LanguageModel
from epicycle.models.stream import Batch, answer_step, batches, edited, hooked, states


@contextlib.contextmanager
def _entering(pairs: Sequence[tuple[nn.Module, Callable[[Tensor], Tensor | None]]]) -> Iterator[None]:
    """Look at, or change, the first input of modules."""

    def hook(see: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
        def change(module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
            entering = inputs[0] if inputs else named["hidden_states"]
            new = see(entering)
            if new is None:
                return None
            return ((new, *inputs[1:]), named) if inputs else (inputs, named | {"hidden_states": new})

        return change

    handles = [module.register_forward_pre_hook(hook(see), with_kwargs=True) for module, see in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def stream_at(lm: LanguageModel, tokens: Tensor, position: int) -> Tensor:
    """The stream at one position before every layer, (layers, b, d); entry 0 is the embedding.

    Args:
        lm: The model.
        tokens: (b, s), prompts of one length.
        position: From 0.
    """
    kept: list[Tensor] = []
    with torch.inference_mode(), _entering([(layer, lambda x: kept.append(x[:, position])) for layer in lm.layers]):  # type: ignore[func-returns-value]
        lm.model.base_model(input_ids=tokens, use_cache=False)
    return torch.stack(kept)


def final_with_stream(lm: LanguageModel, tokens: Tensor, layer: int, position: int, vectors: Tensor) -> Tensor:
    """Final hidden state at the last position, (b, d), with the stream before one layer replaced at one position.

    Args:
        lm: The model.
        tokens: (b, s), prompts of one length.
        layer: The layer that reads the replaced stream, from 0.
        position: From 0.
        vectors: (b, d).
    """

    def put(x: Tensor) -> Tensor:
        new = x.clone()
        new[:, position] = vectors.to(x.dtype)
        return new

    with torch.inference_mode(), _entering([(lm.layers[layer], put)]):
        return lm.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]


class AnswerState(NamedTuple):
    """What stands at the answer position of prompts, in their order.

    The stream before the final norm (b, d), module outputs (layers, b, d), outputs of the heads before they are mixed (layers, b, heads, e).
    """

    stream: Tensor
    attention: Tensor
    mlp: Tensor
    heads: Tensor


def answer_states(lm: LanguageModel, batch: Batch) -> AnswerState:
    """Everything at the answer position of a batch."""
    kept: list[Tensor] = []

    def keep(x: Tensor) -> None:
        kept.append(x.reshape(len(batch.rows), -1))

    with _entering([(module, keep) for module in lm.head_mixers]):
        found = states(lm, batch)
    heads = torch.stack(kept).unflatten(2, (lm.num_heads, -1))
    return AnswerState(found.stream[-1], found.attention, found.mlp, heads)


def final_with_head(lm: LanguageModel, batch: Batch, layer: int, head: int, vectors: Tensor) -> Tensor:
    """Final hidden state at the answer position, (b, d), with one head's output there replaced by `vectors` (b, e)."""

    def put(x: Tensor) -> Tensor:
        new = x.clone()
        size = x.shape[-1] // lm.num_heads
        new.view(len(batch.rows), -1)[:, head * size : (head + 1) * size] = vectors.to(x.dtype)
        return new

    with torch.inference_mode(), _entering([(lm.head_mixers[layer], put)]):
        return answer_step(lm, batch)


def final_with_module(lm: LanguageModel, batch: Batch, kind: str, layer: int, vectors: Tensor) -> Tensor:
    """The same with the whole output of one attention or MLP replaced by `vectors` (b, d)."""
    module = (lm.attention if kind == "attention" else lm.mlp)[layer]

    def put(module: nn.Module, inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        new = vectors.to(first.dtype).reshape(first.shape)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    with torch.inference_mode(), hooked([(module, put)]):
        return answer_step(lm, batch)


def outputs_along_paths(
    lm: LanguageModel, batch: Batch, kind: str, layer: int, vectors: Tensor, held: AnswerState
) -> Tensor:
    """What every module writes when one writes `vectors` (b, d) at the answer position and no other passes a change on.

    Every module computes its output from a stream in which only the one that is replaced differs; what is added to the stream is the
    held output. So each row holds the path from that module to one other, with none in between.

    Args:
        lm: The model.
        batch: Prompts.
        kind: attention or mlp, of the module that is replaced.
        layer: Its layer, from 0.
        vectors: What it writes.
        held: What all modules wrote in the batch as it is.

    Returns:
        (2 layers, b, d): attention of layer 0, MLP of layer 0, attention of layer 1, ...
    """
    own = {"attn": held.attention, "mlp": held.mlp}
    replaced = ("attn" if kind == "attention" else "mlp", layer)
    written: dict[tuple[str, int], Tensor] = {}

    def edit(name: str, at: int, output: Tensor) -> Tensor:
        flat = output.reshape(len(batch.rows), -1)
        written[name, at] = flat.clone()
        return (vectors if (name, at) == replaced else own[name][at]).to(flat.dtype)

    with torch.inference_mode(), edited(lm, edit):
        answer_step(lm, batch)
    return torch.stack([written[name, at] for at in range(lm.num_layers) for name in ("attn", "mlp")])


def one_batch(lm: LanguageModel, tokens: Sequence[Sequence[int]]) -> Batch:
    """Prompts of one length as one batch, in their own order."""
    [batch] = batches(lm, tokens, len(tokens))
    back = torch.as_tensor(np.argsort(batch.rows), device=lm.device)
    batch.cache.batch_select_indices(back)
    return Batch(np.arange(len(tokens)), batch.tokens[back], batch.cache)
