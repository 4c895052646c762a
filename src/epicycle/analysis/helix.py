"""Are operands carried as a helix, does the model use it, and which heads and MLPs turn operands into their sum?"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch

from epicycle.errors import ConfigError
from epicycle.fourier.helix import HELIX_PERIODS, Design, fit, held_out, helix_design, levels, nested, polynomial_design
from epicycle.models.language import LanguageModel
from epicycle.models.patching import (
    answer_states,
    final_with_head,
    final_with_module,
    final_with_stream,
    one_batch,
    stream_at,
)
from epicycle.models.stream import encode, full_pass
from epicycle.results import Result
from epicycle.tasks.prompts import TEMPLATES, PromptConfig, prompt_task

KINDS = ("full", "helix", "circles", "polynomial", "principal components", "shuffled helix")
"""What is put at the operand's place: the whole vector, or its part in a description of as many columns."""
MIN_PAIRS = 20
ALL_HEADS = 256
"""Models with more heads have total effects for those of the layers whose attention matters most."""

Progress = Callable[[int, int], None]
Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]


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


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AnswerBuilders(Result):
    """Who brings the operands to the answer position and who writes their sum there.

    `operands` and `sum` (by `stream`, `attention`, `mlp`, `heads`): share of the variance, over prompts, that any function of a plus any of b
    explains, and what any function of the answer adds to it; adjusted, 0 is chance; NaN with too few prompts. `helix_operands`, `helix_sum`:
    the same with helices instead of any function. `direct`: share of the difference between two prompts' answers that is
    regained when the clean output is only added to the final stream; `total`: when it replaces the corrupt output and all later layers see it.
    Arrays (layers,), heads (layers, heads); NaN where a head was not run, or where a norm behind attention leaves no direct path.

    Effects of single modules need not add up to 1: modules stand in for each other.
    """

    schema: ClassVar[int] = 1
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


class Operand(NamedTuple):
    """Prompts of one template: tokens for (a, b), and where a's last token stands."""

    template: int
    length: int
    position: int
    usable: np.ndarray


def _tokens(
    lm: LanguageModel, config: PromptConfig, template: int, a: Sequence[int], b: Sequence[int]
) -> list[list[int]]:
    task = prompt_task(config)
    return encode(lm, [task.text(int(x), int(y), template) for x, y in zip(a, b, strict=True)])


def _is_told(clean: np.ndarray, corrupt: np.ndarray) -> bool:
    """Whether clean and corrupt prompts give different answers at all: by three standard errors. If not, shares of the difference mean nothing."""
    change = clean - corrupt
    return float(change.mean()) > 3 * float(change.std() / len(change) ** 0.5)


def find_operand(lm: LanguageModel, config: PromptConfig, template: int) -> Operand:
    """Where the first operand's last token stands, and which numbers give prompts of the commonest length.

    Raises:
        ConfigError: The first operand does not change the tokens in one place only.
    """
    numbers = np.arange(config.largest_operand + 1)
    rows = _tokens(lm, config, template, numbers.tolist(), [config.largest_operand] * len(numbers))
    lengths = np.array([len(row) for row in rows])
    length = int(np.bincount(lengths).argmax())
    usable = numbers[lengths == length]
    table = np.array([rows[n] for n in usable])
    changing = np.flatnonzero((table != table[0]).any(0))
    if not len(changing):
        raise ConfigError(
            "got prompts that do not change with the first operand; expected its tokens among them. Choose another --form."
        )
    return Operand(template, length, int(changing[-1]), usable)


def _difference(
    lm: LanguageModel, hidden: torch.Tensor, ids: np.ndarray, clean: np.ndarray, corrupt: np.ndarray
) -> np.ndarray:
    """Logit of the clean answer less that of the corrupt one, per prompt."""
    rows, bias = lm.number_readout(ids)
    logits = lm.capped(hidden.float() @ rows.T + bias).cpu().numpy()
    index = np.arange(len(logits))
    return logits[index, clean].astype(float) - logits[index, corrupt]


class _Pairs(NamedTuple):
    """Clean (a, b) and corrupt (a', b') prompts with different answers; `is_right_only` if the model answers all of them."""

    a: np.ndarray
    b: np.ndarray
    other_a: np.ndarray
    other_b: np.ndarray
    is_right_only: bool


def _pairs(
    lm: LanguageModel,
    config: PromptConfig,
    where: Operand,
    ids: np.ndarray,
    count: int,
    seed: int,
    operate: Answer,
    *,
    both: bool,
) -> _Pairs:
    """Pairs that differ in a (or in both operands), smaller operand first as in training, preferably answered right."""
    generator = np.random.default_rng(seed)
    n = where.usable
    drawn = generator.choice(n, (40 * count, 4))
    a, other = np.minimum(drawn[:, 0], drawn[:, 1]), np.minimum(drawn[:, 2], drawn[:, 1])
    b = drawn[:, 1]
    other_b = np.maximum(drawn[:, 2], drawn[:, 3]) if both else b
    other = np.minimum(drawn[:, 2], drawn[:, 3]) if both else other
    a, b = np.minimum(a, b), np.maximum(a, b)
    one, two = operate(a, b), operate(other, other_b)
    good = np.flatnonzero((one != two) & (np.maximum(one, two) < len(ids)))[: 4 * count]
    rows = _tokens(lm, config, where.template, [*a[good], *other[good]], [*b[good], *other_b[good]])
    fits = np.array([len(row) == where.length for row in rows]).reshape(2, -1).all(0)
    good = good[fits]
    if len(good) < MIN_PAIRS:
        raise ConfigError(
            f"got {len(good)} pairs of prompts of one length; expected at least {MIN_PAIRS}. Use a larger range of operands."
        )
    tokens = torch.tensor(
        _tokens(lm, config, where.template, [*a[good], *other[good]], [*b[good], *other_b[good]]), device=lm.device
    )
    readout, bias = lm.number_readout(ids)
    given = np.concatenate(
        [(full_pass(lm, part).float() @ readout.T + bias).argmax(1).cpu().numpy() for part in tokens.split(128)]
    )
    right = (given == np.concatenate([one[good], two[good]])).reshape(2, -1).all(0)
    kept = good[right][:count] if right.sum() >= MIN_PAIRS else good[:count]
    return _Pairs(a[kept], b[kept], other[kept], other_b[kept], bool(right.sum() >= MIN_PAIRS))


def _usable_periods(periods: Sequence[float] | None, span: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if periods is not None:
        return tuple(periods), ()  # the design refuses those that are too long
    return tuple(t for t in HELIX_PERIODS if t <= span), tuple(t for t in HELIX_PERIODS if t > span)


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
    chosen, left_out = _usable_periods(periods, int(numbers.max() - numbers.min()) + 1)
    helix, circles = helix_design(numbers, chosen), helix_design(numbers, chosen, linear=False)
    columns = helix.columns.shape[1]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(numbers))
    designs: dict[str, Design] = {
        "helix": helix, "circles": circles, "polynomial": polynomial_design(numbers, columns),
        "shuffled helix": helix._replace(columns=helix.columns[order]),
    }  # fmt: skip
    tokens = torch.tensor(
        _tokens(lm, config, template, numbers.tolist(), [int(numbers.max())] * len(numbers)), device=lm.device
    )
    table = torch.cat([stream_at(lm, part, where.position) for part in tokens.split(128)], 1).double().cpu().numpy()
    operate = answer or (np.add if config.operation == "add" else np.multiply)
    kept = _pairs(lm, config, where, ids, pairs, seed, operate, both=False)
    clean, corrupt = operate(kept.a, kept.b), operate(kept.other_a, kept.other_b)
    asked = [
        torch.tensor(_tokens(lm, config, template, first.tolist(), kept.b.tolist()), device=lm.device)
        for first in (kept.a, kept.other_a)
    ]
    differences = [_difference(lm, full_pass(lm, each), ids, clean, corrupt) for each in asked]
    ends = [float(each.mean()) for each in differences]
    layers = layers if _is_told(*differences) else ()
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
                moved = float(_difference(lm, hidden, ids, clean, corrupt).mean())
                effect[kind][layer] = (moved - ends[1]) / (ends[0] - ends[1])
        progress(layer + 1, lm.num_layers)
    return NumberHelix(
        template=TEMPLATES[config.operation, config.form][template], numbers=len(numbers), periods=chosen, left_out=left_out,
        unidentifiable=helix.unidentifiable, columns=columns, chance=columns / (len(numbers) - 1), pairs=len(kept.a), is_right_only=kept.is_right_only,
        clean_difference=ends[0], corrupt_difference=ends[1], explained=explained, ahead=ahead, effect=effect,
    )  # fmt: skip


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

    Source: Kantamneni and Tegmark 2025, section 5; path to the logits alone: Wang et al. 2022 (arXiv 2211.00593).
    """
    where = find_operand(lm, config, template)
    generator = np.random.default_rng(seed)
    drawn = np.unique(np.sort(generator.choice(where.usable, (3 * prompts, 2)), axis=1), axis=0)
    drawn = generator.permutation(drawn)
    rows = _tokens(lm, config, template, drawn[:, 0].tolist(), drawn[:, 1].tolist())
    fits = [i for i, row in enumerate(rows) if len(row) == where.length][:prompts]
    a, b = drawn[fits].T
    chosen, _ = _usable_periods(periods, int(where.usable.max() - where.usable.min()) + 1)
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
    kept = _pairs(lm, config, where, ids, pairs, seed, operate, both=True)
    clean, corrupt = operate(kept.a, kept.b), operate(kept.other_a, kept.other_b)
    good = one_batch(lm, _tokens(lm, config, template, kept.a.tolist(), kept.b.tolist()))
    bad = one_batch(lm, _tokens(lm, config, template, kept.other_a.tolist(), kept.other_b.tolist()))
    own, other = answer_states(lm, good), answer_states(lm, bad)
    each = lambda hidden: _difference(lm, hidden, ids, clean, corrupt)  # noqa: E731
    value = lambda hidden: float(each(hidden).mean())  # noqa: E731
    with torch.inference_mode():
        low, high = value(lm.norm(other.stream)), value(lm.norm(own.stream))
        is_told = _is_told(each(lm.norm(own.stream)), each(lm.norm(other.stream)))
        regained = lambda hidden: (value(hidden) - low) / (high - low) if is_told else np.nan  # noqa: E731
        direct = {kind: np.array([regained(lm.norm(other.stream + getattr(own, kind)[i] - getattr(other, kind)[i])) for i in range(lm.num_layers)])
                  for kind in ("attention", "mlp")}  # fmt: skip
        effects = {kind: np.array([regained(final_with_module(lm, bad, kind, i, getattr(own, kind)[i])) for i in range(lm.num_layers)])
                   for kind in ("attention", "mlp")}  # fmt: skip
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
        direct=direct, total=effects,
    )  # fmt: skip
