"""The models that the arms of the experiment start from: Zhou et al. 2024, section 4.2, with the controls it lacks.

To add an arm: a line in arm_names.ARMS and a branch here.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from epicycle.errors import ConfigError
from epicycle.models.language import LanguageModel
from epicycle.models.planted import planted_numbers, random_rows

EMBEDDING_SPREAD = 0.02


def new_gpt2(shape: Any, vocabulary: int, end: int, seed: int) -> Any:
    """A GPT-2 of `transformers` with random weights; spread 1/sqrt(width), so that small widths learn too."""
    from transformers import GPT2Config, GPT2LMHeadModel

    drop: Any = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), shape.dropout)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=shape.context, n_embd=shape.width, n_layer=shape.num_layers,
        n_head=shape.num_heads, activation_function="gelu_pytorch_tanh", initializer_range=shape.width**-0.5,
        bos_token_id=end, eos_token_id=end, use_cache=True, **drop,
    )  # fmt: skip
    return drawn(lambda: GPT2LMHeadModel(config), seed)


def drawn(make: Callable[[], Any], seed: int) -> Any:
    """The model that `make` builds, its random weights drawn from a seed; token and position embeddings at GPT-2's 0.02.

    Positions as large as 1/sqrt(width) would drown frozen token embeddings: measured, the rescue then takes several times
    longer.
    """
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=EMBEDDING_SPREAD)
    return model


def start_model(arm: str, base: LanguageModel, largest: int, seed: int) -> Any:
    """A `transformers` model of the base's shape, ready to train; frozen parts do not require gradients.

    Args:
        arm: Key of `arm_names.ARMS`.
        base: The pre-trained model: its weights, its shape, or the lengths of its embedding's rows.
        largest: Numbers 0..largest are planted.
        seed: Seed of what is random.

    Raises:
        ConfigError: Unknown arm.
        DataError: A number to be planted is not a single token.
    """
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)  # dropout too
    if arm == "pretrained":
        return copy.deepcopy(base.model).float()
    config = copy.deepcopy(base.model.config)
    if arm in ("frozen-input", "frozen-output"):
        config.tie_word_embeddings = False
    model = drawn(lambda: AutoModelForCausalLM.from_config(config, trust_remote_code=False).float(), seed)
    if arm == "scratch":
        return model
    if arm in ("frozen-embedding", "frozen-input"):
        _freeze(model.get_input_embeddings(), base.embedding)
        if not base.is_tied and arm == "frozen-embedding":
            _freeze(model.get_output_embeddings(), base.unembedding)
    elif arm == "frozen-output":
        _freeze(model.get_output_embeddings(), base.unembedding)
    elif arm in ("planted-embedding", "random-embedding"):
        generator = np.random.default_rng([seed, 7])
        lengths = base.embedding.float().norm(dim=1).cpu().numpy()
        rows = random_rows(lengths, base.width, generator)
        if arm == "planted-embedding":
            ids, spaced = base.space.rows(largest), base.space.spaced[: largest + 1]
            planted = planted_numbers(largest + 1, base.width, generator) * lengths[ids].mean()
            rows[ids] = planted
            rows[spaced[spaced >= 0]] = planted[spaced >= 0]  # the same number with a leading space is the same number
        table = torch.as_tensor(rows, dtype=torch.float32)
        _freeze(model.get_input_embeddings(), table)
        if not base.is_tied:
            _freeze(model.get_output_embeddings(), table)
    else:
        raise ConfigError(f"got arm {arm!r}; expected one of those in `epicycle finetune --help`. Choose one.")
    return model


def _freeze(module: Any, table: torch.Tensor) -> None:
    with torch.no_grad():
        module.weight.copy_(table)
    module.weight.requires_grad_(False)
