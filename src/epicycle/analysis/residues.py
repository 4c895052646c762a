"""Which module answers modulo what, and how precisely each wave of the logits points at the answer."""

import dataclasses
from typing import Any, ClassVar, final

import numpy as np
import torch

from epicycle.fourier.bases import Basis
from epicycle.fourier.spectra import coefficients
from epicycle.results import Result

MODULI = tuple(range(2, 13))
"""Moduli looked at; 3, 7, 9 and 11 are controls that share nothing with decimal writing."""
CONTROLS = (3, 7, 9, 11)
TREND = 3
"""Degree of the polynomial in the number that counts as smooth."""
ORDERS = 5


def _directions(numbers: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal smooth directions (N, TREND + 1), and those that n mod m adds to them, all moduli side by side (N, sum of m - 1)."""
    x = 2 * np.arange(numbers)[order] / (numbers - 1) - 1
    smooth = np.linalg.qr(np.vander(x, TREND + 1))[0]
    blocks = []
    for m in MODULI:
        classes = np.eye(m)[np.arange(numbers)[order] % m][:, 1:]
        blocks.append(np.linalg.qr(classes - smooth @ (smooth.T @ classes))[0])
    return smooth, np.concatenate(blocks, 1)


class ResidueSums:
    """Running sums over prompts of how much of the module logits n mod m explains.

    Args:
        numbers: N, more than 40.
        layers: Of the model.
        device: Where the logits are.
    """

    def __init__(self, numbers: int, layers: int, device: torch.device):
        generator = np.random.default_rng(0)
        orders = [np.arange(numbers), *(generator.permutation(numbers) for _ in range(ORDERS))]
        at = lambda array: torch.as_tensor(array, dtype=torch.float32, device=device)  # noqa: E731
        self._pairs = [
            (at(smooth), at(residue)) for smooth, residue in (_directions(numbers, order) for order in orders)
        ]
        self._numbers, self._count = numbers, 0
        self._explained = torch.zeros(len(orders), 2, layers, len(MODULI), dtype=torch.float64)
        self._smooth = torch.zeros(2, layers, dtype=torch.float64)

    def add(self, logits: torch.Tensor) -> None:
        """Module logits (2, layers, b, N): attention, then MLP."""
        centred = logits - logits.mean(-1, keepdim=True)
        whole = (centred**2).sum(-1).clamp_min(1e-30)
        for i, (smooth, residue) in enumerate(self._pairs):
            left = centred - (centred @ smooth) @ smooth.T
            power = (left**2).sum(-1).clamp_min(1e-30)
            part = (left @ residue) ** 2
            start = 0
            for j, m in enumerate(MODULI):
                share = part[..., start : start + m - 1].sum(-1) / power
                free = self._numbers - TREND - 1
                adjusted = 1 - (1 - share) * free / (free - (m - 1))
                self._explained[i, :, :, j] += adjusted.sum(-1).double().cpu()
                start += m - 1
            if i == 0:
                self._smooth += (1 - power / whole).sum(-1).double().cpu()
        self._count += logits.shape[2]

    def result(self, anyhow: dict[str, torch.Tensor]) -> "ModuleResidues":
        """Means over the prompts; `anyhow` holds logits of vectors that no module wrote, kind -> (count, N)."""
        mean = (self._explained / self._count).numpy()
        smooth = (self._smooth / self._count).numpy()
        random = {}
        for kind, logits in anyhow.items():
            sums = ResidueSums(self._numbers, 1, logits.device)
            sums.add(logits.expand(2, 1, *logits.shape))
            random[kind] = (sums._explained[0, 0, 0] / sums._count).numpy()
        return ModuleResidues(
            prompts=self._count, numbers=self._numbers, moduli=np.array(MODULI), attention=mean[0, 0], mlp=mean[0, 1],
            attention_shuffled=mean[1:, 0].max(0), mlp_shuffled=mean[1:, 1].max(0), attention_smooth=smooth[0], mlp_smooth=smooth[1], random=random,
        )  # fmt: skip


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModuleResidues(Result):
    """Share of the number logits of every module that a function of n mod m explains, beyond a smooth trend; mean over prompts.

    `attention`, `mlp` (layers, moduli): share of the variance over numbers, after a cubic polynomial in n is taken out, that class means
    modulo m explain, adjusted for their number (0 is chance, 1 all). `*_shuffled`: largest of the same over five random orders of the numbers.
    `random` (moduli,): the same for vectors drawn at random, `isotropic` or combinations of the number `rows`: if the unembedding is periodic, so are
    they. `*_smooth` (layers,): share that the polynomial explains. A modulus explains whatever its divisors do: 10 includes 2 and 5.

    It says what a module writes, not whether it matters.
    """

    schema: ClassVar[int] = 2
    prompts: int
    numbers: int
    moduli: np.ndarray
    attention: np.ndarray
    mlp: np.ndarray
    attention_shuffled: np.ndarray
    mlp_shuffled: np.ndarray
    attention_smooth: np.ndarray
    mlp_smooth: np.ndarray
    random: dict[str, np.ndarray]

    def anyhow(self, modulus: int) -> float:
        """The larger share that vectors nobody wrote have at a modulus: what the unembedding gives to any module."""
        i = int(np.flatnonzero(self.moduli == modulus)[0])
        return max(float(values[i]) for values in self.random.values())

    def share(self, kind: str, modulus: int) -> np.ndarray:
        """Per layer, of `attention` or `mlp`."""
        return getattr(self, kind)[:, int(np.flatnonzero(self.moduli == modulus)[0])]

    def control(self, kind: str) -> np.ndarray:
        """Per layer, the largest share among 3, 7, 9 and 11."""
        return np.max([self.share(kind, m) for m in CONTROLS], axis=0)

    def plot(self, ax: Any = None) -> Any:
        """Layers by moduli, attention above MLP; returns the axes."""
        from epicycle.plots.language import residue_map

        return residue_map(self.moduli, np.concatenate([self.mlp, self.attention]), ax, "MLPs below, attention above")


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WavePhases(Result):
    """Where each wave of the final logits peaks, against the answer, over prompts.

    Per frequency k: `error` (k,) is the median distance, in numbers, from the answer to the nearest peak of the wave; `chance` what phases
    drawn at random give (T / 4); `hit` the share of prompts whose wave peaks within half a number of the answer, so that the answer modulo
    T is the peak; `hit_chance` = 1 / T. `magnitude`: mean of the wave's size in the logits.
    """

    schema: ClassVar[int] = 1
    prompts: int
    numbers: int
    frequency: np.ndarray
    period: np.ndarray
    magnitude: np.ndarray
    error: np.ndarray
    chance: np.ndarray
    hit: np.ndarray
    hit_chance: np.ndarray

    def at(self, period: float) -> int:
        """Index of the frequency whose period is nearest."""
        return int(np.argmin(np.abs(1 / self.period - 1 / period)))


def wave_phases(final_logits: np.ndarray, answers: np.ndarray, basis: Basis) -> WavePhases:
    """Phase of every wave of the final number logits against the answer.

    Args:
        final_logits: (prompts, N).
        answers: (prompts,) numbers.
        basis: Over N numbers.

    Source: Zhou et al. 2024, App. C, Figs. 12 and 13 show one prompt; this is over all.
    """
    found = coefficients(np.asarray(final_logits, np.float64).T, basis)  # (f, prompts)
    cosine = found[basis.cosine]
    sine = np.where(basis.sine[:, None] >= 0, found[basis.sine], 0.0)
    turn = 2 * np.pi * basis.frequency[:, None] / final_logits.shape[1]
    distance = np.angle(np.exp(1j * (np.arctan2(sine, cosine) - turn * answers))) / turn
    size = np.abs(distance)
    return WavePhases(
        prompts=len(answers), numbers=final_logits.shape[1], frequency=basis.frequency, period=basis.period,
        magnitude=np.hypot(cosine, sine).mean(1), error=np.median(size, axis=1), chance=basis.period / 4,
        hit=(size < 0.5).mean(1), hit_chance=1 / basis.period,
    )  # fmt: skip
