"""Open checkpoints of other projects as weights of the one-layer transformer.

To add a layout: a function state -> Converted, and one line in LAYOUTS. Files are opened without unpickling anything but tensors.

Sources of the layouts: Furuta et al. 2024 (frt03/grok_mod_poly), Nanda et al. 2023 (progress-measures-paper), Zhong et al. 2023
(fjzzq2002/pizza), TransformerLens.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from epicycle.errors import ConfigError, DataError
from epicycle.models.config import ModelConfig
from epicycle.models.weights import shapes

State = dict[str, Tensor]
OPTIMISER = "optimiser."
"""Beginning of the moments in this project's own checkpoints."""
IGNORED = ("mask", "IGNORE")
"""Endings of buffers that hold no weights."""
CONTAINERS = ("model", "state_dict", "model_state_dict", "weights")
"""Keys under which projects nest their weights."""


class Converted(NamedTuple):
    """Weights in this project's layout, and where the model is read."""

    weights: State
    readout: str


def read_state(path: Path | str, key: str | None = None) -> State:
    """Named tensors of a .safetensors, .npz, .pt or .pth file; nothing but tensors is ever unpickled.

    Args:
        path: The file.
        key: Only tensors whose names begin with `key/` or `key.`, without that beginning.

    Raises:
        DataError: The file is missing, holds something else than tensors, or nothing under the key.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"got {file}, which is no file; expected a checkpoint. Check the path.")
    found = _flat(_open(file))
    if key is not None:
        found = {
            name[len(key) + 1 :]: tensor for name, tensor in found.items() if name.startswith((f"{key}/", f"{key}."))
        }
    if not found:
        raise DataError(
            f"got {file}{f' with key {key}' if key else ''}, which holds no tensors there; expected weights. Name another --key."
        )
    return found


def _open(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files if arrays[name].dtype.kind == "f"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is said below in one sentence
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        first = _first_sentence(error)
        raise DataError(f"got {file}, which cannot be opened as tensors alone ({first}); expected .safetensors, .npz, or .pt with weights only, since nothing "
                        "else is unpickled. Save its state dict anew.") from None  # fmt: skip


def _first_sentence(error: Exception) -> str:
    """The first sentence of a library's message, whole words only; the kind of error where there is none."""
    text = " ".join(str(error).split())
    sentence = text.split(". ")[0].rstrip(".")
    if len(sentence) < 8 or sentence.isdigit():
        return type(error).__name__
    return sentence if len(sentence) <= 160 else sentence[:160].rpartition(" ")[0] + " ..."


def _flat(content: Any) -> State:
    """The state dict inside what a file holds."""
    if not isinstance(content, dict):
        return {}
    for name in CONTAINERS:
        if isinstance(content.get(name), dict):
            return _flat(content[name])
    return {str(name): value.detach().float() for name, value in content.items() if isinstance(value, Tensor) and value.is_floating_point()
            and not str(name).endswith(IGNORED) and not str(name).startswith(OPTIMISER)}  # fmt: skip


def _published(state: State, readout: str) -> Converted:
    """The layout of Furuta et al., of Nanda et al. and of Zhong et al. is this project's own."""
    return Converted(dict(state), readout)


def _transformer_lens(state: State) -> Converted:
    """TransformerLens: embedding (v, d), heads (h, d, e) and (h, e, d), MLP input-major, a bias everywhere.

    Biases of attention and unembedding, and norms, have no place in the one-layer model; they are refused unless zero.
    """
    names = {"embed.W_E": lambda w: w.T, "pos_embed.W_pos": lambda w: w, "unembed.W_U": lambda w: w, "blocks.0.mlp.W_in": lambda w: w.T,
             "blocks.0.mlp.W_out": lambda w: w.T, "blocks.0.mlp.b_in": lambda w: w, "blocks.0.mlp.b_out": lambda w: w,
             "blocks.0.attn.W_O": lambda w: w.permute(2, 0, 1).flatten(1),
             **{f"blocks.0.attn.W_{n}": lambda w: w.transpose(1, 2) for n in "QKV"}}  # fmt: skip
    extra = {name: tensor for name, tensor in state.items() if name not in names}
    if lost := sorted(
        name
        for name, tensor in extra.items()
        if name.rpartition(".")[2].startswith(("b_", "w")) is False or bool(tensor.abs().max() > 0)
    ):
        raise DataError(f"got {len(lost)} tensors such as {lost[0]} that the one-layer model has no place for; expected one layer without norms, and zero biases of "
                        "attention and unembedding. Choose another checkpoint.")  # fmt: skip
    return Converted(
        {name: convert(state[name]).contiguous() for name, convert in names.items() if name in state}, "equals"
    )


LAYOUTS: dict[str, Callable[[State], Converted]] = {
    "furuta2024": lambda state: _published(state, "operand"),
    "nanda2023": lambda state: _published(state, "equals"),
    "pizza": lambda state: _published(state, "pair"),
    "transformer_lens": _transformer_lens,
}
"""Name -> how its tensors become ours."""


def guess_layout(state: State, modulus: int) -> str:
    """The layout that fits the shapes.

    Raises:
        ConfigError: None does.
    """
    output = state.get("blocks.0.attn.W_O")
    if output is not None and output.ndim == 3:
        return "transformer_lens"
    positions = state.get("pos_embed.W_pos")
    embedding = state.get("embed.W_E")
    if embedding is not None and embedding.ndim != 2:
        embedding = None
    if embedding is None or output is None:
        roots = sorted({name.partition("/")[0] for name in state if "/" in name})
        if len(roots) > 1:
            raise ConfigError(
                f"got tensors of {len(roots)} models; expected one. Add --key with one of: {', '.join(roots[:12])}{', ...' if len(roots) > 12 else ''}."
            )
        known = ", ".join(sorted(state)[:4])
        raise ConfigError(f"got tensors {known}, ... of no layout known here; expected those of {', '.join(LAYOUTS)}. Rename them, or write a layout in "
                          "epicycle/interop/checkpoints.py.")  # fmt: skip
    if positions is None:
        return "furuta2024"
    return "pizza" if len(positions) == 2 or embedding.shape[1] == modulus else "nanda2023"


class Imported(NamedTuple):
    """Weights in this project's layout, the model they belong to, the layout they came in, and which tokens it can answer.

    A model with an unembedding of the numbers alone has zeros in the columns of the other tokens here, and `classes` says numbers.
    """

    weights: State
    model: ModelConfig
    layout: str
    classes: Literal["all", "numbers"]


def convert(
    state: State,
    modulus: int,
    layout: str = "auto",
    *,
    attention_rate: float = 1.0,
    scores: Literal["scaled", "unscaled"] = "scaled",
) -> Imported:
    """Check and convert the tensors of one checkpoint.

    Args:
        state: From `read_state`.
        modulus: Of the task.
        layout: A key of LAYOUTS, or `auto`.
        attention_rate: Of the model (Zhong et al. 2023).
        scores: Whether its attention scores are divided by sqrt(head width).

    Raises:
        ConfigError: The layout is unknown.
        DataError: Tensors are missing, left over, or have shapes that do not fit together.
    """
    name = guess_layout(state, modulus) if layout == "auto" else layout
    if name not in LAYOUTS:
        raise ConfigError(f"got layout {layout!r}; expected {', '.join(LAYOUTS)} or auto. Choose one.")
    sides = {"embed.W_E": 2, "unembed.W_U": 2, "blocks.0.attn.W_Q": 3, "blocks.0.attn.W_K": 3, "blocks.0.attn.W_V": 3, "blocks.0.mlp.W_in": 2, "blocks.0.mlp.W_out": 2,
             "blocks.0.attn.W_O": 3 if name == "transformer_lens" else 2, "pos_embed.W_pos": 2}  # fmt: skip
    if wrong := [key for key, count in sides.items() if key in state and state[key].ndim != count]:
        raise DataError(
            f"got {wrong[0]} with {state[wrong[0]].ndim} dimensions; expected {sides[wrong[0]]} in layout {name}. Choose another --layout."
        )
    found = LAYOUTS[name](state)
    weights, query = found.weights, found.weights.get("blocks.0.attn.W_Q")
    if query is None or query.ndim != 3 or "blocks.0.mlp.W_in" not in weights or "embed.W_E" not in weights:
        gone = [key for key in ("embed.W_E", "blocks.0.attn.W_Q", "blocks.0.mlp.W_in") if key not in weights]
        raise DataError(f"got a checkpoint of layout {name} without {' and '.join(gone) or 'an attention of three axes'}; expected a whole one-layer model. It has "
                        f"{', '.join(sorted(state)[:6])}. Rename the tensors, or choose another file.")  # fmt: skip
    if any(key.startswith("blocks.") and not key.startswith("blocks.0.") for key in weights):
        raise DataError("got a checkpoint of several layers; expected one. Choose another model.")
    model = ModelConfig(
        width=query.shape[2], num_heads=query.shape[0], mlp_width=len(weights["blocks.0.mlp.W_in"]), positions="pos_embed.W_pos" in weights,
        biases="blocks.0.mlp.b_in" in weights or "blocks.0.mlp.b_out" in weights, readout=found.readout, attention_rate=attention_rate, scores=scores,  # type: ignore[arg-type]
        init="nanda2023" if name in ("nanda2023", "transformer_lens") else "furuta2024",
    )  # fmt: skip
    positions = {"operand": 3, "equals": 3, "pair": 2}[found.readout]
    classes = _answer_tokens(weights, modulus)
    expected = shapes(model, weights["embed.W_E"].shape[1], positions)
    if missing := sorted(set(expected) - set(weights)):
        raise DataError(
            f"got a checkpoint of layout {name} without {', '.join(missing)}; expected all of a one-layer model. Choose another file or --layout."
        )
    if extra := sorted(set(weights) - set(expected)):
        raise DataError(f"got a checkpoint of layout {name} with {', '.join(extra[:4])} as well, which a one-layer model has no place for; expected none. Choose "
                        "another file or --layout.")  # fmt: skip
    if model.positions:
        weights["pos_embed.W_pos"] = weights["pos_embed.W_pos"][:positions]
    for key, shape in expected.items():
        if tuple(weights[key].shape) != shape:
            raise DataError(
                f"got {key} of shape {tuple(weights[key].shape)}; expected {shape} beside the other tensors. Choose another --layout."
            )
        if not bool(torch.isfinite(weights[key]).all()):
            raise DataError(f"got {key} with values that are not finite; expected numbers. Choose another checkpoint.")
    have = weights["embed.W_E"].shape[1]
    if have < modulus:
        raise DataError(
            f"got an embedding of {have} tokens; expected at least {modulus} for modulus {modulus}. Give the --modulus of the model."
        )
    return Imported({key: weights[key].contiguous() for key in expected}, model, name, classes)


def _answer_tokens(weights: State, modulus: int) -> Literal["all", "numbers"]:
    """Widen an unembedding of the numbers alone (`d_vocab_out` of TransformerLens) to all tokens, in place."""
    head, tokens = weights.get("unembed.W_U"), weights["embed.W_E"].shape[1]
    if head is None or head.shape[1] != modulus or tokens <= modulus:
        return "all"
    weights["unembed.W_U"] = torch.cat([head, head.new_zeros(len(head), tokens - modulus)], 1)
    return "numbers"


def to_transformer_lens(weights: State) -> State:
    """Weights of the one-layer model under TransformerLens' names and shapes, zero biases where it has some.

    For a config without norms, and with `use_attn_scale=False` if the model's scores are unscaled.
    """
    width, heads = weights["blocks.0.attn.W_Q"].shape[2], weights["blocks.0.attn.W_Q"].shape[0]
    inner = weights["blocks.0.attn.W_Q"].shape[1]
    zero = lambda *shape: torch.zeros(*shape)  # noqa: E731
    found = {
        "embed.W_E": weights["embed.W_E"].T, "unembed.W_U": weights["unembed.W_U"], "unembed.b_U": zero(weights["unembed.W_U"].shape[1]),
        "blocks.0.attn.W_O": weights["blocks.0.attn.W_O"].view(width, heads, inner).permute(1, 2, 0), "blocks.0.attn.b_O": zero(width),
        "blocks.0.mlp.W_in": weights["blocks.0.mlp.W_in"].T, "blocks.0.mlp.W_out": weights["blocks.0.mlp.W_out"].T,
        "blocks.0.mlp.b_in": weights.get("blocks.0.mlp.b_in", zero(weights["blocks.0.mlp.W_in"].shape[0])),
        "blocks.0.mlp.b_out": weights.get("blocks.0.mlp.b_out", zero(width)), "pos_embed.W_pos": weights.get("pos_embed.W_pos", zero(3, width)),
    }  # fmt: skip
    for n in "QKV":
        found[f"blocks.0.attn.W_{n}"] = weights[f"blocks.0.attn.W_{n}"].transpose(1, 2)
        found[f"blocks.0.attn.b_{n}"] = zero(heads, inner)
    return {name: tensor.contiguous() for name, tensor in found.items()}
