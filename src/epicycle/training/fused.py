"""The exact step on CPU: weights and moments in flat buffers, run by exact_step.c.

Same mathematics as `models.plain.forward` with its backward pass and AdamW; exact_step.c says how it gets there.
"""

import ctypes
from ctypes import POINTER, c_double, c_int, c_int64, c_void_p
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from epicycle.models.config import ModelConfig
from epicycle.training.build import library
from epicycle.training.config import LOSSES, OptimiserConfig
from epicycle.training.examples import ExampleSet, RowMap

PARAMETERS = ("E", "P", "Wqkv", "Wo", "B", "bin", "Wout", "bout")
TABLES = ("X", "QKV", "KT", "score", "Cc", "CcT", "T", "R", "WL", "WLpack", "WLtpack", "BT", "WqkvT")
TABLES += ("dX", "dQKV", "dCc", "dWLtT")
SIZES = ("d", "heads", "d_head", "m", "vocabulary", "vp", "positions", "num_rows", "q0", "nq", "num_tasks")
SIZES += ("num_position_rows", "has_biases", "loss_kind", "classes", "threads")


class _Step(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in SIZES),
        ("row_token", c_void_p),
        ("row_position", c_void_p),
        *((name, c_double) for name in ("lr", "beta1", "beta2", "eps", "weight_decay", "score_scale")),
        ("warmup", c_int64),
        ("step", c_int64),
        *((name, c_void_p) for name in PARAMETERS),
        *((name, c_void_p) for name in ("parameters", "gradient", "moment1", "moment2", "trainable")),
        ("size", c_int64),
        *((name, c_void_p) for name in TABLES),
        ("row_stride", c_int64),
        ("private_gradient", c_void_p),
        ("scratch", c_void_p),
        ("private_size", c_int64),
        ("scratch_size", c_int64),
        ("private_loss", c_void_p),
        ("private_correct", c_void_p),
        ("arrived", c_int),
        ("phase", c_int),
    ]


class _Examples(ctypes.Structure):
    _fields_ = [("examples", c_int64), ("positions", c_int64)] + [
        (name, c_void_p) for name in ("rows", "labels", "task", "weight")
    ]


class Evaluation(NamedTuple):
    """Loss (nats, mean over examples) and accuracy per task."""

    loss: np.ndarray
    accuracy: np.ndarray


def _aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros at a 64-byte boundary, so that every run sees the same alignment and the same speed."""
    raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + size * dtype.itemsize].view(dtype)


@final
class FusedStep:
    """A model in training on the CPU, advanced by the compiled exact step.

    Args:
        config: Shape of the model.
        rows: Which (token, position) pairs occur, from `training.examples.row_map`.
        weights: Initial weights, float32 or float64, in the layout of `models.weights`.
        optimiser: AdamW settings and loss.
        num_tasks: Number of tasks in the mixture.
        threads: CPU threads; results are bit-identical for the same number.
        frozen: Names of parameters that are not updated (no weight decay either).
        classes: How many tokens can be answers, from the first; all of them if None.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: RowMap,
        weights: dict[str, Tensor],
        optimiser: OptimiserConfig,
        num_tasks: int = 1,
        threads: int = 1,
        frozen: frozenset[str] = frozenset(),
        classes: int | None = None,
    ):
        dtype = weights["embed.W_E"].dtype
        self.dtype = np.dtype(np.float32 if dtype == torch.float32 else np.float64)
        found = library("float" if dtype == torch.float32 else "double")
        if found is None:
            raise RuntimeError("the compiled step is not available; use TableStep")
        self._library, self.config, self.rows, self.threads = found, config, rows, threads
        self.num_tasks, self.frozen = num_tasks, frozen
        d, h, m = config.width, config.num_heads, config.mlp_width
        self.vocabulary = v = weights["embed.W_E"].shape[1]
        self.vp = vp = -(-v // 16) * 16
        self.num_positions = s = rows.num_positions
        w, num_rows, nq = m + vp, len(rows.token), rows.num_last
        stride = -(-num_rows // 16) * 16
        position_rows = s if config.positions else 0
        bias = 1 if config.biases else 0
        shapes = {
            "E": (v, d), "P": (position_rows, d), "Wqkv": (d, 3 * d), "Wo": (d, d), "B": (d, w),
            "bin": (m * bias,), "Wout": (d, m), "bout": (d * bias,),
        }  # fmt: skip
        self._shapes, self._offsets, size = shapes, {}, 0
        for name, shape in shapes.items():
            self._offsets[name] = size
            size += -(-int(np.prod(shape)) // 16) * 16
        self.size = size
        self.parameters, self.gradient, self.moment1, self.moment2 = (_aligned(size, self.dtype) for _ in range(4))
        self._trainable = _aligned(size, np.dtype(np.uint8))
        table_sizes = {
            "X": num_rows * d, "QKV": num_rows * 3 * d, "KT": d * stride, "score": h * nq * stride, "Cc": d * w,
            "CcT": w * d, "T": num_rows * h * w, "R": nq * w, "WL": m * vp, "WLpack": m * (vp + 64),
            "WLtpack": v * (m + 64), "BT": w * d, "WqkvT": 3 * d * d, "dX": num_rows * d, "dQKV": num_rows * 3 * d,
            "dCc": d * w, "dWLtT": m * vp,
        }  # fmt: skip
        self._tables = {name: _aligned(n, self.dtype) for name, n in table_sizes.items()}
        private = num_rows * h * w + nq * w + v * m + h * nq * stride
        private = -(-private // 16) * 16
        self._library.epicycle_scratch.restype = c_int64
        scratch = self._library.epicycle_scratch(c_int64(w), c_int64(s * h), c_int64(vp))
        scratch = -(-scratch // 16) * 16
        self._private = _aligned(private * threads, self.dtype)
        self._scratch = _aligned(scratch * threads, self.dtype)
        self._loss, self._correct = np.zeros(threads * num_tasks), np.zeros(threads * num_tasks, np.int64)
        self._row_token, self._row_position = rows.token.astype(np.int32), rows.position.astype(np.int32)
        address = lambda array: array.ctypes.data  # noqa: E731
        self._struct = _Step(
            d=d, heads=h, d_head=config.head_width, m=m, vocabulary=v, vp=vp, positions=s, num_rows=num_rows,
            q0=rows.first_last, nq=nq, num_tasks=num_tasks, num_position_rows=position_rows, has_biases=bias,
            loss_kind=LOSSES.index(optimiser.loss), classes=classes or v, threads=threads,
            row_token=address(self._row_token), row_position=address(self._row_position),
            lr=optimiser.learning_rate, beta1=optimiser.betas[0], beta2=optimiser.betas[1], eps=optimiser.eps,
            weight_decay=optimiser.weight_decay, score_scale=1 / config.attention.divisor(config.head_width),
            warmup=optimiser.warmup_steps, step=1,
            **{name: address(self.parameters) + self._offsets[name] * self.dtype.itemsize for name in PARAMETERS},
            parameters=address(self.parameters), gradient=address(self.gradient), moment1=address(self.moment1),
            moment2=address(self.moment2), trainable=address(self._trainable), size=size,
            **{name: address(array) for name, array in self._tables.items()},
            row_stride=stride, private_gradient=address(self._private), scratch=address(self._scratch),
            private_size=private, scratch_size=scratch, private_loss=address(self._loss),
            private_correct=address(self._correct),
        )  # fmt: skip
        self.is_fused = bool(self._library.epicycle_is_fused())
        """Whether it is one of the processors whose bits are the same: x86-64 that multiplies and adds in one instruction."""
        self._library.epicycle_struct_size.restype = c_int64
        assert self._library.epicycle_struct_size() == ctypes.sizeof(_Step), "exact_step.c and _Step disagree"
        self._library.epicycle_run.argtypes = [
            POINTER(_Step), POINTER(_Examples), c_int64, c_int64, c_void_p, c_void_p, c_void_p,
        ]  # fmt: skip
        self._pack(weights, self.parameters)
        ones = {name: torch.full(tuple(w.shape), float(name not in frozen)) for name, w in weights.items()}
        flags = np.zeros(size, self.dtype)
        self._pack(ones, flags)
        self._trainable[:] = flags != 0

    # The flat buffers are input-major; the published layout is output-major.

    def _view(self, buffer: np.ndarray, name: str) -> np.ndarray:
        shape = self._shapes[name]
        offset = self._offsets[name]
        return buffer[offset : offset + int(np.prod(shape))].reshape(shape)

    def _pack(self, weights: dict[str, Tensor], buffer: np.ndarray) -> None:
        get = {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}
        d, m, v = self.config.width, self.config.mlp_width, self.vocabulary
        self._view(buffer, "E")[:] = get["embed.W_E"].T
        qkv = self._view(buffer, "Wqkv")
        for i, name in enumerate("QKV"):
            qkv[:, i * d : (i + 1) * d] = get[f"blocks.0.attn.W_{name}"].reshape(d, d).T
        self._view(buffer, "Wo")[:] = get["blocks.0.attn.W_O"].T
        both = self._view(buffer, "B")
        both[:, :m] = get["blocks.0.mlp.W_in"].T
        both[:, m : m + v] = get["unembed.W_U"]
        self._view(buffer, "Wout")[:] = get["blocks.0.mlp.W_out"]
        if self.config.positions:
            self._view(buffer, "P")[:] = get["pos_embed.W_pos"]
        if self.config.biases:
            self._view(buffer, "bin")[:] = get["blocks.0.mlp.b_in"]
            self._view(buffer, "bout")[:] = get["blocks.0.mlp.b_out"]

    def _unpack(self, buffer: np.ndarray) -> dict[str, Tensor]:
        c, d, m, v = self.config, self.config.width, self.config.mlp_width, self.vocabulary
        out = {"embed.W_E": self._view(buffer, "E").T}
        if c.positions:
            out["pos_embed.W_pos"] = self._view(buffer, "P")
        qkv = self._view(buffer, "Wqkv")
        for name in "KQV":
            i = "QKV".index(name)
            out[f"blocks.0.attn.W_{name}"] = qkv[:, i * d : (i + 1) * d].T.reshape(c.num_heads, c.head_width, d)
        out["blocks.0.attn.W_O"] = self._view(buffer, "Wo").T
        both = self._view(buffer, "B")
        out["blocks.0.mlp.W_in"] = both[:, :m].T
        if c.biases:
            out["blocks.0.mlp.b_in"] = self._view(buffer, "bin")
        out["blocks.0.mlp.W_out"] = self._view(buffer, "Wout")
        if c.biases:
            out["blocks.0.mlp.b_out"] = self._view(buffer, "bout")
        out["unembed.W_U"] = both[:, m : m + v]
        return {name: torch.from_numpy(np.array(array, order="C")) for name, array in out.items()}

    @property
    def step(self) -> int:
        """Optimiser updates done so far."""
        return self._struct.step - 1

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights in the published layout."""
        return self._unpack(self.parameters)

    def gradients(self) -> dict[str, Tensor]:
        """A copy of the last gradient in the published layout."""
        return self._unpack(self.gradient)

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser state: what a checkpoint holds."""
        moments = {f"optimiser.first.{k}": v for k, v in self._unpack(self.moment1).items()}
        moments |= {f"optimiser.second.{k}": v for k, v in self._unpack(self.moment2).items()}
        return self.weights() | moments | {"optimiser.step": torch.tensor(self.step)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take up a state made by `state`."""
        self._pack({k: v for k, v in state.items() if not k.startswith("optimiser.")}, self.parameters)
        for kind, buffer in (("first", self.moment1), ("second", self.moment2)):
            prefix = f"optimiser.{kind}."
            self._pack({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, buffer)
        self._struct.step = int(state["optimiser.step"]) + 1

    def _run(self, examples: ExampleSet, steps: int, update: bool, losses, correct=None, logits=None) -> None:
        data = _Examples(
            examples=len(examples.labels), positions=examples.rows.shape[1], rows=examples.rows.ctypes.data,
            labels=examples.labels.ctypes.data, task=examples.task.ctypes.data, weight=examples.weight.ctypes.data,
        )  # fmt: skip
        pointer = lambda array: None if array is None else array.ctypes.data  # noqa: E731
        failed = self._library.epicycle_run(
            self._struct, data, steps, int(update), pointer(losses), pointer(correct), pointer(logits)
        )
        if failed:
            why = "the operating system gave too few threads" if failed == 1 else "the shape is beyond exact_step.c"
            raise RuntimeError(f"{why}: {self.threads} threads, {self.config.num_heads} heads")

    def train(self, examples: ExampleSet, steps: int) -> np.ndarray:
        """Do `steps` updates; returns the training loss before each, (steps, tasks), nats."""
        losses = np.zeros((steps, self.num_tasks))
        if steps:  # to exact_step.c no step means evaluation
            self._run(examples, steps, True, losses)
        return losses

    def loss_and_gradient(self, examples: ExampleSet) -> np.ndarray:
        """Loss per task, and leaves the gradient in `gradients`; nothing is updated."""
        losses = np.zeros((1, self.num_tasks))
        self._run(examples, 1, False, losses)
        return losses[0]

    def evaluate(self, examples: ExampleSet) -> Evaluation:
        """Loss and accuracy per task, without gradient."""
        losses, correct = np.zeros(self.num_tasks), np.zeros(self.num_tasks, np.int64)
        self._run(examples, 0, False, losses, correct)
        return Evaluation(losses, correct / examples.count_per_task)

    def logits(self, examples: ExampleSet) -> np.ndarray:
        """Logits at the read-out position, (examples, vocabulary), in the order of `examples`."""
        losses, correct = np.zeros(self.num_tasks), np.zeros(self.num_tasks, np.int64)
        logits = np.zeros((len(examples.labels), self.vocabulary), self.dtype)
        self._run(examples, 0, False, losses, correct, logits)
        return logits[np.argsort(examples.order)]
