"""Which heads and MLPs bring the operands to the answer position, and which turn them into their sum."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, final

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
from epicycle.fourier.helix import helix_design, levels, nested
from epicycle.models.language import LanguageModel
from epicycle.models.patching import (
    answer_states,
    final_with_head,
    final_with_module,
    one_batch,
    outputs_along_paths,
)
from epicycle.results import Result
from epicycle.tasks.prompts import TEMPLATES, PromptConfig

ALL_HEADS = 256
"""Models with more heads have total effects for those of the layers whose attention matters most."""

Progress = Callable[[int, int], None]


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AnswerBuilders(Result):
    """Who brings the operands to the answer position and who writes their sum there.

    `operands` and `sum` (by `stream`, `attention`, `mlp`, `heads`): share of the variance, over prompts, that any function of a plus any of b
    explains, and what any function of the answer adds to it; adjusted, 0 is chance; NaN with too few prompts. `helix_operands`, `helix_sum`:
    the same with helices instead of any function. `direct`: share of the difference between two prompts' answers that is
    regained when the clean output is only added to the final stream; `total`: when it replaces the corrupt output and all later layers see it.
    Arrays (layers,), heads (layers, heads); NaN where a head was not run, or where a norm behind attention leaves no direct path.
    `paths` (2 layers, 2 layers), attention of layer 1, MLP of layer 1, attention of layer 2, ...: the same along one path alone: the module of
    the row is clean, that of the column reads the difference and nothing else does, and what it then writes is added to the final stream; NaN
    where the column comes first or reads the same stream as the row.

    Effects of single modules need not add up to 1: modules stand in for each other.
    """

    schema: ClassVar[int] = 2
    template: str
    prompts: int
    pairs: int
    is_right_only: bool
    operands: dict[str, np.ndarray]
    sum: dict[str, np.ndarray]
    helix_operands: dict[str, np.ndarray]
    helix_sum: dict[str, np.ndarray]
    direct: dict[str, np.ndarray]
    total: dict[str, np.ndarray]
    paths: np.ndarray

    def strongest_paths(self, count: int = 10) -> list[tuple[str, str, float]]:
        """(from, to, effect) of the paths that regain most, in size."""
        known = np.argwhere(np.isfinite(self.paths))
        order = sorted(known.tolist(), key=lambda at: -abs(self.paths[at[0], at[1]]))[:count]
        name = lambda i: f"{('attention', 'MLP')[i % 2]} {i // 2 + 1}"  # noqa: E731
        return [(name(i), name(j), float(self.paths[i, j])) for i, j in order]

    def sentence(self) -> str:
        """Which of two accounts fits: attention adds modulo small periods, or MLPs build the sum from operands that attention brings."""
        shares = self.sum if np.isfinite(self.sum["mlp"]).any() else self.helix_sum
        how = "any function" if shares is self.sum else "the helix"
        first = {
            kind: next((i + 1 for i, share in enumerate(shares[kind]) if share >= 0.1), None)
            for kind in ("attention", "mlp")
        }
        best = {kind: float(np.max(shares[kind])) for kind in ("attention", "mlp")}
        direct = {kind: float(np.nansum(self.direct[kind])) for kind in ("attention", "mlp")}
        if first["attention"] is None and first["mlp"] is None:
            who = "no module's output holds a tenth of it"
        elif first["mlp"] is not None and (first["attention"] is None or first["mlp"] <= first["attention"] - 1):
            who = f"it appears first in the MLP of layer {first['mlp']}"
        else:
            who = f"it appears first in the attention of layer {first['attention']}"
        effect = (f" The direct effect on the answer is {direct['mlp']:.2f} for all MLPs and {direct['attention']:.2f} for all attention layers."
                  if np.isfinite(self.direct["mlp"]).all() else " The model's answers to different questions cannot be told apart, so there is no effect to measure.")  # fmt: skip
        return (f"What {how} of the answer adds to functions of the two operands makes up at most {best['attention']:.0%} of an attention output and {best['mlp']:.0%} of an MLP "
                f"output; {who}.{effect}")  # fmt: skip


def answer_builders(
    lm: LanguageModel,
    config: PromptConfig,
    ids: np.ndarray,
    *,
    periods: Sequence[float] | None = None,
    template: int = 0,
    prompts: int = 2000,
    pairs: int = 100,
    seed: int = 0,
    answer: Answer | None = None,
    progress: Progress = lambda done, total: None,
) -> AnswerBuilders:
    """What attention, its heads and MLPs do at the answer position. Arguments as for `number_helix`.

    Source: Kantamneni and Tegmark 2025, section 5; path patching: Wang et al. 2022 (arXiv 2211.00593).
    """
    where = find_operand(lm, config, template)
    generator = np.random.default_rng(seed)
    drawn = np.unique(np.sort(generator.choice(where.usable, (3 * prompts, 2)), axis=1), axis=0)
    drawn = generator.permutation(drawn)
    rows = prompt_tokens(lm, config, template, drawn[:, 0].tolist(), drawn[:, 1].tolist())
    fits = [i for i, row in enumerate(rows) if len(row) == where.length][:prompts]
    a, b = drawn[fits].T
    chosen, _ = usable_periods(periods, int(where.usable.max() - where.usable.min()) + 1)
    operate = answer or (np.add if config.operation == "add" else np.multiply)
    waves = lambda x: helix_design(x, [t for t in chosen if t <= np.ptp(x) + 1]).columns  # noqa: E731
    side = lambda *columns: np.concatenate(columns, 1)  # noqa: E731
    right = operate(a, b)
    accounts = {
        "any": nested(side(levels(a), levels(b)), levels(right)),
        "helix": nested(side(waves(a), waves(b)), waves(right)),
    }
    batch = one_batch(lm, [rows[i] for i in fits])
    state = answer_states(lm, batch)
    whole = lambda tensor: tensor.double().cpu().numpy()  # noqa: E731
    tables = {"stream": whole(state.stream)[None], "attention": whole(state.attention), "mlp": whole(state.mlp)}
    heads = whole(state.heads)
    share = {}
    for name, account in accounts.items():
        share[name] = {kind: np.array([account.shares(t) for t in found]) for kind, found in tables.items()}
        share[name]["heads"] = np.array(
            [[account.shares(heads[i, :, j]) for j in range(lm.num_heads)] for i in range(lm.num_layers)]
        )
    kept = prompt_pairs(lm, config, where, ids, pairs, seed, operate, both=True)
    clean, corrupt = operate(kept.a, kept.b), operate(kept.other_a, kept.other_b)
    good = one_batch(lm, prompt_tokens(lm, config, template, kept.a.tolist(), kept.b.tolist()))
    bad = one_batch(lm, prompt_tokens(lm, config, template, kept.other_a.tolist(), kept.other_b.tolist()))
    own, other = answer_states(lm, good), answer_states(lm, bad)
    each = lambda hidden: answer_difference(lm, hidden, ids, clean, corrupt)  # noqa: E731
    value = lambda hidden: float(each(hidden).mean())  # noqa: E731
    with torch.inference_mode():
        low, high = value(lm.norm(other.stream)), value(lm.norm(own.stream))
        told = is_told(each(lm.norm(own.stream)), each(lm.norm(other.stream)))
        regained = lambda hidden: (value(hidden) - low) / (high - low) if told else np.nan  # noqa: E731
        direct = {kind: np.array([regained(lm.norm(other.stream + getattr(own, kind)[i] - getattr(other, kind)[i])) for i in range(lm.num_layers)])
                  for kind in ("attention", "mlp")}  # fmt: skip
        effects = {kind: np.array([regained(final_with_module(lm, bad, kind, i, getattr(own, kind)[i])) for i in range(lm.num_layers)])
                   for kind in ("attention", "mlp")}  # fmt: skip
        paths = np.full((2 * lm.num_layers, 2 * lm.num_layers), np.nan)
        corrupt_outputs = torch.stack([other.attention, other.mlp], 1).flatten(0, 1)
        for sender in range(2 * lm.num_layers - 1):
            i, kind = sender // 2, ("attention", "mlp")[sender % 2]
            written = outputs_along_paths(lm, bad, kind, i, getattr(own, kind)[i], other)
            first = sender + (2 if lm.is_parallel and kind == "attention" else 1)
            for receiver in range(first, 2 * lm.num_layers):
                paths[sender, receiver] = regained(
                    lm.norm(other.stream + written[receiver] - corrupt_outputs[receiver])
                )
        direct["heads"], effects["heads"] = (np.full((lm.num_layers, lm.num_heads), np.nan) for _ in range(2))
        is_mixed_last = lm.family.attention in lm.family.heads  # no norm between the heads' matrix and the stream
        most = np.argsort(-np.abs(effects["attention"]))[: max(1, ALL_HEADS // lm.num_heads)]
        for done, i in enumerate(most):
            for j in range(lm.num_heads):
                effects["heads"][i, j] = regained(final_with_head(lm, bad, int(i), j, own.heads[i, :, j]))
            progress(done + 1, len(most))
        for i in range(lm.num_layers if is_mixed_last else 0):
            mixer = lm.head_mixers[i]
            for j in range(lm.num_heads):
                change = torch.zeros_like(own.heads[i])
                change[:, j] = own.heads[i, :, j] - other.heads[i, :, j]
                written = mixer(change.flatten(1)) - mixer(torch.zeros_like(change).flatten(1))
                direct["heads"][i, j] = regained(lm.norm(other.stream + written))
    return AnswerBuilders(
        template=TEMPLATES[config.operation, config.form][template], prompts=len(fits), pairs=len(kept.a), is_right_only=kept.is_right_only,
        operands={kind: found[..., 0] for kind, found in share["any"].items()}, sum={kind: found[..., 1] for kind, found in share["any"].items()},
        helix_operands={kind: found[..., 0] for kind, found in share["helix"].items()}, helix_sum={kind: found[..., 1] for kind, found in share["helix"].items()},
        direct=direct, total=effects, paths=paths,
    )  # fmt: skip
