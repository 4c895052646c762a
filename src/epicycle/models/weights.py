"""Parameters of the one-layer transformer: names, shapes, initial values.

Layout of the authors' published code, so that checkpoints can be exchanged:
`embed.W_E` (d, v), `blocks.0.attn.W_K/W_Q/W_V` (h, e, d), `blocks.0.attn.W_O` (d, h*e), `blocks.0.mlp.W_in` (m, d),
`blocks.0.mlp.W_out` (d, m), `unembed.W_U` (d, v), and where the configuration has them `pos_embed.W_pos` (s, d),
`blocks.0.mlp.b_in` (m), `blocks.0.mlp.b_out` (d).
"""

import torch
from torch import Tensor

from epicycle.models.config import ModelConfig


def shapes(config: ModelConfig, vocabulary: int, positions: int) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter, in the order in which they are drawn."""
    d, h, e, m = config.width, config.num_heads, config.head_width, config.mlp_width
    found: dict[str, tuple[int, ...]] = {"embed.W_E": (d, vocabulary)}
    if config.positions:
        found["pos_embed.W_pos"] = (positions, d)
    for name in "KQV":
        found[f"blocks.0.attn.W_{name}"] = (h, e, d)
    found["blocks.0.attn.W_O"] = (d, h * e)
    found["blocks.0.mlp.W_in"] = (m, d)
    if config.biases:
        found["blocks.0.mlp.b_in"] = (m,)
    found["blocks.0.mlp.W_out"] = (d, m)
    if config.biases:
        found["blocks.0.mlp.b_out"] = (d,)
    found["unembed.W_U"] = (d, vocabulary)
    return found


def standard_deviations(config: ModelConfig, vocabulary: int) -> dict[str, float]:
    """Initial standard deviation of every parameter; biases start at zero.

    Source: Furuta et al. 2024, released code (their text gives 1/sqrt(fan out) for all: `furuta2024-paper`);
    Nanda et al. 2023, released code.
    """
    d, m = config.width, config.mlp_width
    inner = d**-0.5
    deviation = {f"blocks.0.attn.W_{name}": inner for name in "KQVO"}
    deviation |= {"blocks.0.mlp.W_in": inner, "blocks.0.mlp.W_out": inner}
    if config.init == "furuta2024":
        return deviation | {"embed.W_E": vocabulary**-0.5, "unembed.W_U": inner, "pos_embed.W_pos": inner}
    if config.init == "nanda2023":
        return deviation | {"embed.W_E": inner, "unembed.W_U": vocabulary**-0.5, "pos_embed.W_pos": inner}
    fan_out = {f"blocks.0.attn.W_{name}": config.head_width**-0.5 for name in "KQV"}
    fan_out |= {"blocks.0.attn.W_O": d**-0.5, "blocks.0.mlp.W_in": m**-0.5, "blocks.0.mlp.W_out": d**-0.5}
    return fan_out | {"embed.W_E": d**-0.5, "unembed.W_U": vocabulary**-0.5, "pos_embed.W_pos": d**-0.5}


def initial_weights(
    config: ModelConfig, vocabulary: int, positions: int, seed: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Gaussian initial weights, drawn in float32 from a generator of their own.

    Args:
        config: Shape and initialisation.
        vocabulary: Number of tokens v.
        positions: Number of token positions s.
        seed: Seed of the weights alone; the split has another.
        dtype: Type of the returned tensors; the values are those of float32.
    """
    generator = torch.Generator().manual_seed(seed)
    deviation = standard_deviations(config, vocabulary)
    weights = {}
    for name, shape in shapes(config, vocabulary, positions).items():
        if name.endswith(("b_in", "b_out")):
            weights[name] = torch.zeros(shape, dtype=dtype)
        else:
            weights[name] = (torch.randn(shape, generator=generator) * deviation[name]).to(dtype)
    return weights
