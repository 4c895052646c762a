"""Are operands carried as a helix, and does the model use it?"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch

from epicycle.analysis.prompt_pairs import (
    Answer,
    answer_difference,
    find_operand,
    is_told,
    prompt_pairs,
    prompt_tokens,
    usable_periods,
)
from epicycle.fourier.helix import Design, fit, held_out, helix_design, polynomial_design
from epicycle.models.language import LanguageModel
from epicycle.models.patching import final_with_stream, stream_at
from epicycle.models.stream import full_pass
from epicycle.results import Result
from epicycle.tasks.prompts import TEMPLATES, PromptConfig

KINDS = ("full", "helix", "circles", "polynomial", "principal components", "shuffled helix")
"""What is put at the operand's place: the whole vector, or its part in a description of as many columns."""
Progress = Callable[[int, int], None]


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NumberHelix(Result):
    """The stream at the first operand's last token, before every layer, as a helix of the number, and what putting it there does.

    `explained[kind]` (layers,): share of variance over numbers that a fit explains; `ahead[kind]` the same for numbers held out of the fit.
    `effect[kind]` (layers,): a prompt with operand a' is run with the stream at that operand replaced by that of a (whole, or as a fit
    that never saw a describes it); share of the difference between the logits of both answers that is regained: 1 as if a had been asked,
    0 as without; NaN where layers were left out, or where the model's answers to both prompts cannot be told apart. `shuffled helix` has the numbers in random order. Principal components are of the row itself, so they are no prediction.
    `chance`: what the fit of white rows explains. `unidentifiable` columns are zero on whole numbers; `left_out` periods are longer than
    the range.

    A fit that is used shows that the description is enough for the answer; it does not show that the model computes with angles.
    """

    schema: ClassVar[int] = 1
    template: str
    numbers: int
    periods: tuple[float, ...]
    left_out: tuple[float, ...]
    unidentifiable: tuple[str, ...]
    columns: int
    chance: float
    pairs: int
    is_right_only: bool
    clean_difference: float
    corrupt_difference: float
    explained: dict[str, np.ndarray]
    ahead: dict[str, np.ndarray]
    effect: dict[str, np.ndarray]

    def plot(self, ax: Any = None) -> Any:
        """Effect of every description by layer; returns the axes."""
        from epicycle.plots.helix import effects

        return effects(self.effect, ax)


def number_helix(
    lm: LanguageModel,
    config: PromptConfig,
    ids: np.ndarray,
    *,
    periods: Sequence[float] | None = None,
    template: int = 0,
    pairs: int = 100,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    answer: Answer | None = None,
    progress: Progress = lambda done, total: None,
) -> NumberHelix:
    """Fit the first operand's stream as a helix and put fits in its place.

    Args:
        lm: The model.
        config: What is asked.
        ids: Token ids of the numbers.
        periods: Of the helix; 2, 5, 10 and 100 as far as the range allows if not given.
        template: Which sentence asks.
        pairs: Pairs of prompts to patch.
        layers: Layers to patch; all if None. Others have NaN.
        seed: Of pairs and of the shuffled order.
        answer: What is right for (a, b); what the operation gives if not given.
        progress: Called with layers done and in all.

    Raises:
        ConfigError: A period is longer than the range, or too few prompts have one length.

    Source: Kantamneni and Tegmark 2025 (arXiv 2502.00873); held-out fits and the shuffled order are ours.
    """
    where = find_operand(lm, config, template)
    numbers = where.usable
    chosen, left_out = usable_periods(periods, int(numbers.max() - numbers.min()) + 1)
    helix, circles = helix_design(numbers, chosen), helix_design(numbers, chosen, linear=False)
    columns = helix.columns.shape[1]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(numbers))
    designs: dict[str, Design] = {
        "helix": helix, "circles": circles, "polynomial": polynomial_design(numbers, columns),
        "shuffled helix": helix._replace(columns=helix.columns[order]),
    }  # fmt: skip
    tokens = torch.tensor(
        prompt_tokens(lm, config, template, numbers.tolist(), [int(numbers.max())] * len(numbers)), device=lm.device
    )
    table = torch.cat([stream_at(lm, part, where.position) for part in tokens.split(128)], 1).double().cpu().numpy()
    operate = answer or (np.add if config.operation == "add" else np.multiply)
    kept = prompt_pairs(lm, config, where, ids, pairs, seed, operate, both=False)
    clean, corrupt = operate(kept.a, kept.b), operate(kept.other_a, kept.other_b)
    asked = [
        torch.tensor(prompt_tokens(lm, config, template, first.tolist(), kept.b.tolist()), device=lm.device)
        for first in (kept.a, kept.other_a)
    ]
    differences = [answer_difference(lm, full_pass(lm, each), ids, clean, corrupt) for each in asked]
    ends = [float(each.mean()) for each in differences]
    layers = layers if is_told(*differences) else ()
    place = np.searchsorted(numbers, kept.a)
    explained = {kind: np.zeros(lm.num_layers) for kind in designs}
    ahead = {kind: np.zeros(lm.num_layers) for kind in designs}
    effect = {kind: np.full(lm.num_layers, np.nan) for kind in KINDS}
    patched = range(lm.num_layers) if layers is None else layers
    for layer in range(lm.num_layers):
        rows = table[layer]
        centred = rows - rows.mean(0)
        whole = float((centred**2).sum())
        put = {"full": rows}
        for kind, design in designs.items():
            put[kind] = held_out(rows, design)
            explained[kind][layer] = fit(rows, design).explained
            ahead[kind][layer] = 1 - float(((rows - put[kind]) ** 2).sum()) / whole
        _, _, vt = np.linalg.svd(centred, full_matrices=False)
        put["principal components"] = rows.mean(0) + centred @ vt[:columns].T @ vt[:columns]
        if layer in patched:
            for kind in KINDS:
                vectors = torch.as_tensor(put[kind][place], dtype=torch.float32, device=lm.device)
                hidden = final_with_stream(lm, asked[1], layer, where.position, vectors)
                moved = float(answer_difference(lm, hidden, ids, clean, corrupt).mean())
                effect[kind][layer] = (moved - ends[1]) / (ends[0] - ends[1])
        progress(layer + 1, lm.num_layers)
    return NumberHelix(
        template=TEMPLATES[config.operation, config.form][template], numbers=len(numbers), periods=chosen, left_out=left_out,
        unidentifiable=helix.unidentifiable, columns=columns, chance=columns / (len(numbers) - 1), pairs=len(kept.a), is_right_only=kept.is_right_only,
        clean_difference=ends[0], corrupt_difference=ends[1], explained=explained, ahead=ahead, effect=effect,
    )  # fmt: skip
