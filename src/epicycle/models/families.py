"""Where each family of causal language models keeps its layers and what they add to the residual stream.

To add a family: one line in FAMILIES. tests/test_families.py checks, on a tiny model built from the family's configuration
class, that embedding plus all module outputs gives the residual stream, and that the streaming pass equals the model.
"""

from typing import NamedTuple


class Family(NamedTuple):
    """Attribute paths inside a `transformers` causal language model; those of modules start at one layer.

    `attention` and `mlp` name the module whose output is added to the stream: in families that normalise it first, that
    norm. `heads` names the matrix that the outputs of the heads, side by side, go through.
    """

    layers: str
    attention: str
    mlp: str
    norm: str
    heads: str
    can_skip_mlp: bool = True
    """The last layer's MLP is a module of its own from width to width, so that it can be passed over where unread."""
    is_parallel: bool | None = False
    """Attention and MLP of a layer read the same stream; None: the model's configuration says."""


_LLAMA = Family("model.layers", "self_attn", "mlp", "model.norm", "self_attn.o_proj")
_POST_NORM = Family(
    "model.layers", "post_attention_layernorm", "post_feedforward_layernorm", "model.norm", "self_attn.o_proj", False
)

FAMILIES: dict[str, Family] = {
    "gpt2": Family("transformer.h", "attn", "mlp", "transformer.ln_f", "attn.c_proj"),
    "gptj": Family("transformer.h", "attn", "mlp", "transformer.ln_f", "attn.out_proj", is_parallel=True),
    "gpt_neox": Family(
        "gpt_neox.layers", "attention", "mlp", "gpt_neox.final_layer_norm", "attention.dense", is_parallel=None
    ),
    "phi": Family("model.layers", "self_attn", "mlp", "model.final_layernorm", "self_attn.dense", is_parallel=True),
    "phi3": _LLAMA,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _POST_NORM,
    "gemma3_text": _POST_NORM,
    "opt": Family(
        "model.decoder.layers", "self_attn", "fc2", "model.decoder.final_layer_norm", "self_attn.out_proj", False
    ),
    "olmo": _LLAMA,
    "olmo2": _POST_NORM,
}
"""`model_type` of the configuration -> where things are."""
