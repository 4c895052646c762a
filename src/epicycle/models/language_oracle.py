"""A GPT-2 with weights set by hand: one attention layer writes a wave of period 2, one MLP waves of period 100.

Asked with the tokens (a, b), it answers the first number at or after b, modulo N, that is as even as a. So it is known which module writes
which wave, and what every answer becomes when one is left out.
"""

import math
import re
from typing import Any

import numpy as np
import torch

NUM_LAYERS, ATTENTION_LAYER, MLP_LAYER = 4, 1, 2
"""Layers, counted from 0; all others write nothing."""


def wave_writer(numbers: int = 100, width: int = 64) -> Any:
    """The model. Token n is the number n; `numbers` is a multiple of 100 so that both periods are exact.

    Directions of the stream (orthonormal, of zero mean, so that LayerNorm only scales): what a token is (parity, cosine, sine), where
    it stands (first, second), what is written (parity, cosine, sine). A constant part keeps every token's length equal.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=numbers, n_positions=2, n_embd=width, n_layer=NUM_LAYERS, n_head=1, layer_norm_epsilon=1e-12,
                        activation_function="gelu_pytorch_tanh", tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
                        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # fmt: skip
    model: Any = GPT2LMHeadModel(config)
    generator = np.random.default_rng(0)
    random = generator.standard_normal((width, 8))
    q = np.linalg.qr(np.concatenate([np.ones((width, 1)), random], 1))[0][
        :, 1:
    ].T  # rows orthogonal to the constant: zero mean
    is_even, cosine, sine, first, second, out_even, out_cosine, out_sine = (
        torch.as_tensor(row, dtype=torch.float32) for row in q
    )
    n = torch.arange(numbers)
    sign = 1.0 - 2.0 * (n % 2)
    angle = 2 * math.pi * n / 100
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.zero_()
            if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")):
                p.fill_(1.0)
        model.transformer.wte.weight.copy_(
            torch.outer(sign, is_even) + torch.outer(angle.cos(), cosine) + torch.outer(angle.sin(), sine)
        )
        model.transformer.wpe.weight.copy_(torch.stack([first, second]))
        model.lm_head.weight.copy_(
            torch.outer(sign, out_even) + torch.outer(angle.cos(), out_cosine) + torch.outer(angle.sin(), out_sine)
        )
        attention = model.transformer.h[ATTENTION_LAYER].attn
        # every stream vector has length sqrt(3), so LayerNorm multiplies by sqrt(width / 3); Conv1D weights are (in, out)
        scale = math.sqrt(width / 3)
        attention.c_attn.weight[:, 0] = 200 * second / scale  # query: stands second
        attention.c_attn.weight[:, width] = 200 * first / scale  # key: stands first
        attention.c_attn.weight[:, 2 * width] = is_even / scale  # value: parity
        attention.c_proj.weight[0] = 0.05 * out_even
        mlp = model.transformer.h[MLP_LAYER].mlp
        # the attention layer made the second token's stream a little longer
        scale = math.sqrt(width / (3 + 0.05**2))
        turn = 2 * math.pi * 0.25 / 100  # a quarter of a number, so that b + 1 is nearer than b - 1
        rows = (torch.stack([cosine, sine]) / scale, torch.stack([
            math.cos(turn) * out_cosine + math.sin(turn) * out_sine, -math.sin(turn) * out_cosine + math.cos(turn) * out_sine]))  # fmt: skip
        for i in range(2):  # gelu(x) - gelu(-x) = x
            for sign_of, j in ((1.0, 2 * i), (-1.0, 2 * i + 1)):
                mlp.c_fc.weight[:, j] = sign_of * rows[0][i]
                mlp.c_proj.weight[j] = sign_of * rows[1][i]
    return model.eval()


def wave_writer_answer(a: np.ndarray, b: np.ndarray, numbers: int = 100) -> np.ndarray:
    """The first number at or after b, modulo N, with the parity of a."""
    return (b + (a + b) % 2) % numbers


class NumberTokenizer:
    """Token n is the number n: all a hand-built model needs."""

    def __init__(self, numbers: int):
        self.numbers = numbers

    def get_vocab(self) -> dict[str, int]:
        """Text of every number -> id."""
        return {str(n): n for n in range(self.numbers)}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Ids of the numbers in a text, such as 3 and 5 of `3+5=`; nothing else has one."""
        return [int(word) for word in re.findall(r"\d+", text) if int(word) < self.numbers]

    def __call__(self, texts: list[str], add_special_tokens: bool = False) -> dict[str, list[list[int]]]:
        """Ids of several texts."""
        return {"input_ids": [self.encode(text) for text in texts]}
