"""The exact step in PyTorch: any device, several runs of one shape stacked in a leading axis.

Used on a GPU, and on a CPU without a C compiler. The same algebra as exact_step.c with one product more per example:
keys, queries, values and the residual stream's own contribution are tables of rows, only the last position is
computed, and [W_in | W_U] is composed with W_O once per step. On CUDA the whole step is one captured graph and
nothing is copied to the host between evaluations.
"""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epicycle.models.config import ModelConfig
from epicycle.training.config import OptimiserConfig
from epicycle.training.examples import ExampleSet, RowMap


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    right = logits.gather(-1, labels)[..., 0]
    wrong = logits.scatter(-1, labels, float("-inf")).logsumexp(-1)
    return torch.nn.functional.softplus(wrong - right).double()


def _stablemax(logits: Tensor, labels: Tensor) -> Tensor:
    """Prieto et al. 2025: s(x) = x + 1 from 0 up and 1 / (1 - x) below, in the place of the exponential."""
    x = logits.double()
    size = torch.where(x < 0, 1 / (1 - x.clamp(max=0)), x + 1)
    return size.sum(-1).log() - size.gather(-1, labels)[..., 0].log()


LOSSES = {
    "float64": lambda logits, labels: -logits.double().log_softmax(-1).gather(-1, labels)[..., 0],
    "margin": _margin,
    "float32": lambda logits, labels: -logits.float().log_softmax(-1).gather(-1, labels)[..., 0].double(),
    "stablemax": _stablemax,
}
"""Name -> loss per example in nats, float64, of logits (..., v) and labels (..., 1)."""


class _PickRows(torch.autograd.Function):
    """table[row] whose gradient is a product with a one-hot matrix: deterministic where scatter-add is not."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, one_hot: Tensor) -> Tensor:
        ctx.save_for_backward(one_hot)
        return torch.gather(table, 1, index[:, :, None].expand(-1, -1, table.shape[2]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (one_hot,) = ctx.saved_tensors
        return one_hot @ gradients[0], None, None


class StackedExamples:
    """Example sets of several runs with equal counts, on a device; (run, example, ...) tensors.

    A position reads only the rows `part[s]`; `rows` and `one_hot` count from its first.
    """

    def __init__(self, sets: list[ExampleSet], rows: RowMap, num_tasks: int, device: torch.device, dtype: torch.dtype):
        def stack(name: str, kind: torch.dtype) -> Tensor:
            return torch.from_numpy(np.stack([getattr(s, name) for s in sets])).to(device, kind)

        known = [rows.lookup[s][rows.lookup[s] >= 0] for s in range(rows.num_positions)]
        self.part = [slice(int(row.min()), int(row.max()) + 1) for row in known]
        first = torch.tensor([part.start for part in self.part], device=device)
        self.rows = stack("rows", torch.long) - first
        self.labels, self.task = stack("labels", torch.long), stack("task", torch.long)
        self.weight = stack("weight", torch.float64)
        self.count = torch.from_numpy(np.stack([s.count_per_task for s in sets])).to(device)
        self.one_hot = [
            (self.rows[:, :, s][:, None] == torch.arange(part.stop - part.start, device=device)[:, None]).to(dtype)
            for s, part in enumerate(self.part)
        ]
        tasks = torch.arange(num_tasks, device=device)
        self.of_task = (self.task[:, :, None] == tasks).to(torch.float64)  # (run, example, task)


@final
class TableStep:
    """Several models in training on one device, advanced together; arguments as for `FusedStep`, weights per run."""

    def __init__(
        self,
        config: ModelConfig,
        rows: RowMap,
        weights: list[dict[str, Tensor]],
        optimiser: OptimiserConfig,
        num_tasks: int = 1,
        device: str | torch.device = "cpu",
        frozen: frozenset[str] = frozenset(),
        classes: int | None = None,
    ):
        self.config, self.rows, self.optimiser = config, rows, optimiser
        self.num_tasks, self.device, self.num_runs = num_tasks, torch.device(device), len(weights)
        self.classes = classes
        self.names = list(weights[0])
        self.shapes = {name: tuple(weights[0][name].shape) for name in self.names}
        self.dtype = weights[0]["embed.W_E"].dtype
        # one buffer per run and one leaf per parameter; the leaves are views of the buffer
        stacked = {name: torch.stack([w[name] for w in weights]).to(self.device) for name in self.names}
        self.sizes = [stacked[name][0].numel() for name in self.names]
        self.flat = torch.cat([stacked[name].reshape(-1) for name in self.names])
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.leaves, self.gradient, place = {}, torch.zeros_like(self.flat), 0
        trainable = torch.ones_like(self.flat, dtype=torch.bool)
        for name, size in zip(self.names, self.sizes, strict=True):
            part = slice(place, place + size * self.num_runs)
            self.leaves[name] = self.flat[part].view(self.num_runs, *self.shapes[name]).requires_grad_()
            trainable[part] = name not in frozen
            place = part.stop
        self.trainable = None if bool(trainable.all()) else trainable
        self.count = torch.ones((), dtype=torch.float64, device=self.device)  # number of the coming update
        self.row_token = torch.from_numpy(rows.token).to(self.device)
        self.row_position = torch.from_numpy(rows.position).to(self.device)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, StackedExamples]] = {}

    @property
    def step(self) -> int:
        """Optimiser updates done so far."""
        return round(float(self.count)) - 1

    def stack(self, sets: list[ExampleSet]) -> StackedExamples:
        """Put the example sets of all runs on the device."""
        return StackedExamples(sets, self.rows, self.num_tasks, self.device, self.dtype)

    def _logits(self, x: StackedExamples) -> Tensor:
        w, c = self.leaves, self.config
        runs, heads, e, d, m = self.num_runs, c.num_heads, c.head_width, c.width, c.mlp_width
        residual = w["embed.W_E"][:, :, self.row_token].transpose(1, 2)  # (r, rows, d)
        if c.positions:
            residual = residual + w["pos_embed.W_pos"][:, self.row_position]
        project = torch.cat([w[f"blocks.0.attn.W_{n}"].reshape(runs, d, d) for n in "QKV"], 1).transpose(1, 2)
        qkv = residual @ project
        both = torch.cat([w["blocks.0.mlp.W_in"].transpose(1, 2), w["unembed.W_U"]], 2)  # (r, d, m + v)
        out = w["blocks.0.attn.W_O"].transpose(1, 2) @ both
        last = x.rows.shape[2] - 1
        direct = residual[:, x.part[last]] @ both
        if c.biases:
            bias = w["blocks.0.mlp.b_out"][:, None] @ w["unembed.W_U"]
            direct = direct + torch.cat([w["blocks.0.mlp.b_in"][:, None], bias], 2)
        query = _PickRows.apply(qkv[:, x.part[last], :d], x.rows[:, :, last], x.one_hot[last])
        query = query.view(runs, -1, heads, e)
        scores, values = [], []
        for s in range(last + 1):
            found = _PickRows.apply(qkv[:, x.part[s], d:], x.rows[:, :, s], x.one_hot[s])
            key, value = found[..., :d], found[..., d:]
            scores.append((query * key.view(runs, -1, heads, e)).sum(-1))
            values.append(value.reshape(runs, -1, heads, e))
        attention = (torch.stack(scores, -1) / c.attention.divisor(e)).softmax(-1)  # (r, b, h, s)
        z = (attention.transpose(-1, -2)[..., None] * torch.stack(values, -3)).sum(-3)  # over positions
        total = z.reshape(runs, -1, d) @ out + _PickRows.apply(direct, x.rows[:, :, last], x.one_hot[last])
        neuron_logit = w["blocks.0.mlp.W_out"].transpose(1, 2) @ w["unembed.W_U"]  # (r, m, v)
        return total[..., m:] + total[..., :m].relu() @ neuron_logit

    def _losses(self, logits: Tensor, x: StackedExamples) -> Tensor:
        """(run, task), float64."""
        each = LOSSES[self.optimiser.loss](logits[..., : self.classes], x.labels[..., None])
        return ((each * x.weight)[..., None] * x.of_task).sum(1)

    def loss_and_gradient(self, x: StackedExamples) -> Tensor:
        """Loss per run and task; the gradient stays in `gradient`. Nothing is updated."""
        losses = self._losses(self._logits(x), x)
        leaves = list(self.leaves.values())
        found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        self.gradient = torch.cat([torch.zeros_like(leaf).reshape(-1) if g is None else g.reshape(-1)
                                   for g, leaf in zip(found, leaves, strict=True)])  # fmt: skip
        return losses.detach()

    @torch.no_grad()
    def _adamw(self) -> None:
        o, t = self.optimiser, self.count
        rate = o.learning_rate * (((t - 1) / o.warmup_steps).clamp(max=1.0) if o.warmup_steps else torch.ones_like(t))
        first = self.first.lerp(self.gradient, 1 - o.betas[0])
        second = self.second * o.betas[1] + (1 - o.betas[1]) * self.gradient**2
        root = second.sqrt() / (1 - o.betas[1] ** t).sqrt().to(self.dtype) + o.eps
        value = self.flat * (1 - rate * o.weight_decay).to(self.dtype)
        value = value - (rate / (1 - o.betas[0] ** t)).to(self.dtype) * first / root
        for target, new in ((self.first, first), (self.second, second), (self.flat, value)):
            target.copy_(new if self.trainable is None else torch.where(self.trainable, new, target))
        self.count += 1

    def train(self, x: StackedExamples, steps: int) -> np.ndarray:
        """Do `steps` updates of every run; returns losses before each, (run, step, task), nats."""
        if self.device.type == "cuda":
            return self._train_captured(x, steps)
        found = []
        for _ in range(steps):
            found.append(self.loss_and_gradient(x))
            self._adamw()
        return torch.stack(found, 1).cpu().numpy()

    def _train_captured(self, x: StackedExamples, steps: int) -> np.ndarray:
        if id(x) not in self._graphs:
            saved = [t.clone() for t in (self.flat.detach(), self.first, self.second, self.count)]
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # warm up outside the graph, then undo the updates
                for _ in range(3):
                    self.loss_and_gradient(x)
                    self._adamw()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                losses = self.loss_and_gradient(x)
                self._adamw()
            with torch.no_grad():
                for target, old in zip((self.flat, self.first, self.second, self.count), saved, strict=True):
                    target.copy_(old)
            self._graphs[id(x)] = (graph, losses, x)
        graph, losses, _ = self._graphs[id(x)]
        found = torch.empty(steps, *losses.shape, dtype=losses.dtype, device=self.device)
        for i in range(steps):
            graph.replay()
            found[i].copy_(losses)
        return found.transpose(0, 1).cpu().numpy()

    @torch.no_grad()
    def logits(self, x: StackedExamples) -> Tensor:
        """Logits at the read-out position, (run, example, vocabulary), in the sorted order of the set."""
        return self._logits(x)

    @torch.no_grad()
    def evaluate(self, x: StackedExamples) -> tuple[np.ndarray, np.ndarray]:
        """Loss and accuracy, (run, task)."""
        logits = self._logits(x)
        right = (logits[..., : self.classes].argmax(-1) == x.labels).double()
        accuracy = (right[..., None] * x.of_task).sum(1) / x.count
        return self._losses(logits, x).cpu().numpy(), accuracy.cpu().numpy()

    def _split(self, buffer: Tensor, run: int) -> dict[str, Tensor]:
        found, place = {}, 0
        for name, size in zip(self.names, self.sizes, strict=True):
            part = buffer[place + run * size : place + (run + 1) * size]
            found[name] = part.detach().view(self.shapes[name]).cpu().clone()
            place += size * self.num_runs
        return found

    def weights(self, run: int = 0) -> dict[str, Tensor]:
        """A copy of one run's weights in the published layout."""
        return self._split(self.flat, run)

    def gradients(self, run: int = 0) -> dict[str, Tensor]:
        """A copy of one run's last gradient in the published layout."""
        return self._split(self.gradient, run)

    def state(self, run: int = 0) -> dict[str, Tensor]:
        """Weights and optimiser state of one run: what a checkpoint holds."""
        moments = {f"optimiser.first.{k}": v for k, v in self._split(self.first, run).items()}
        moments |= {f"optimiser.second.{k}": v for k, v in self._split(self.second, run).items()}
        return self.weights(run) | moments | {"optimiser.step": torch.tensor(self.step)}

    @torch.no_grad()
    def load_state(self, states: list[dict[str, Tensor]]) -> None:
        """Take up the states of all runs, made by `state` at the same step."""
        for prefix, buffer in (("", self.flat), ("optimiser.first.", self.first), ("optimiser.second.", self.second)):
            parts = [torch.stack([s[prefix + name] for s in states]).reshape(-1) for name in self.names]
            buffer.copy_(torch.cat(parts))
        self.count.fill_(int(states[0]["optimiser.step"]) + 1)
