"""Times peers from PyPI on the same task as our step and prints ratios. Runs in an environment of its own (`make bench`).

    python bench/peers.py EPICYCLE_STEP_SECONDS [--threads N]

Same p, pairs, width, heads, neurons, optimiser and float64 log-softmax; training only, no evaluation. TransformerLens:
`boot_native` with learned positions and biases, which its toy models always have, tokens (a, b, =) as in its grokking
demo. modelbatch: vmap over copies of our plain three-position model; seconds per model and step.
"""

import argparse
import importlib.metadata
import json
import random
import statistics
import time

import torch

P, VOCABULARY = 97, 102


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (a, =, b) and sums of 30 % of all pairs."""
    found = [(a, b) for a in range(P) for b in range(P)]
    random.Random(0).shuffle(found)
    kept = torch.tensor(found[: int(0.3 * len(found))])
    tokens = torch.stack([kept[:, 0], torch.full((len(kept),), P), kept[:, 1]], 1)
    return tokens, kept.sum(1) % P


def adamw(parameters) -> torch.optim.Optimizer:
    """The published optimiser."""
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98))


def transformer_lens() -> float:
    """Seconds per step of a TransformerLens toy model."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(
        n_layers=1, n_heads=4, d_model=128, d_head=32, d_mlp=512, act_fn="relu", normalization_type=None,
        d_vocab=VOCABULARY, n_ctx=3, init_weights=True, seed=0, device="cpu",
    )  # fmt: skip
    model = TransformerBridge.boot_native(config)
    tokens, labels = pairs()
    tokens = tokens[:, [0, 2, 1]]
    optimiser = adamw(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        logits = model(tokens, return_type="logits")[:, -1]
        torch.nn.functional.cross_entropy(logits.double(), labels).backward()
        optimiser.step()

    return seconds(step)


class Plain(torch.nn.Module):
    """Three-position one-layer transformer without positions or biases."""

    def __init__(self):
        super().__init__()
        make = lambda *shape: torch.nn.Parameter(torch.randn(*shape) * 128**-0.5)  # noqa: E731
        self.embed, self.qkv, self.out = make(VOCABULARY, 128), make(128, 384), make(128, 128)
        self.into, self.outof, self.unembed = make(128, 512), make(512, 128), make(128, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits at the last position."""
        x = self.embed[tokens]
        q, k, v = (y.unflatten(-1, (4, 32)).transpose(1, 2) for y in (x @ self.qkv).chunk(3, -1))
        mask = torch.ones(3, 3, dtype=torch.bool).tril()
        pattern = (q @ k.transpose(-1, -2) / 32**0.5).masked_fill(~mask, float("-inf")).softmax(-1)
        x = x + (pattern @ v).transpose(1, 2).flatten(2) @ self.out
        x = x + (x @ self.into).relu() @ self.outof
        return (x @ self.unembed)[:, -1]


def modelbatch(copies: int = 4) -> float:
    """Seconds per model and step of modelbatch's vmap."""
    from modelbatch import ModelBatch, OptimizerFactory

    tokens, labels = pairs()
    batch = ModelBatch([Plain() for _ in range(copies)], shared_input=True)
    factory = OptimizerFactory(torch.optim.AdamW)
    configs = [{"lr": 1e-3, "weight_decay": 1.0, "betas": (0.9, 0.98)}] * copies
    optimiser = factory.create_optimizer(batch, configs)

    def step() -> None:
        optimiser.zero_grad()
        logits = batch(tokens)
        batch.compute_loss(logits, labels, lambda z, y: torch.nn.functional.cross_entropy(z.double(), y)).backward()
        optimiser.step()

    return seconds(step) / copies


def seconds(step, rounds: int = 15) -> float:
    """Median seconds of one call after a warm-up."""
    for _ in range(3):
        step()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print one line a peer, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("own", type=float, metavar="EPICYCLE_STEP_SECONDS")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, measure in (("transformer-lens", transformer_lens), ("modelbatch", modelbatch)):
        value = measure()
        version = importlib.metadata.version(name)
        rows.append({"peer": name, "version": version, "seconds_per_step": value, "times_slower": value / options.own})
        print(
            f"{name} {version:<10} {1e3 * value:8.1f} ms per model and step, {value / options.own:.1f} times our step"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
