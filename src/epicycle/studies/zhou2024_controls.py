"""Controls C1 to C11 that the paper lacks, and what its critics measure: Study -> one reading per seed."""

import numpy as np

from epicycle.analysis.explain import Explanation
from epicycle.analysis.statistics import rank_correlation
from epicycle.studies.ledger import Reading
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_measures import LEVEL, accuracy, of_arm, removal

PUBLISHED_ORDER = {("none", "none"): 0.9974, ("attn", "low"): 0.9912, ("mlp", "high"): 0.9810, ("attn", "high"): 0.7836, ("mlp", "low"): 0.3589,
                   ("both", "high"): 0.2708, ("both", "low"): 0.0594}  # fmt: skip
"""Accuracies of Table 1; only their order is compared."""
DIFFERENCE = 0.1


def _pairs(study: Study, name: str) -> list[tuple[int, Explanation, Explanation]]:
    """(seed, tuned model, the same explained another way)."""
    return [
        (seed, found, study.variants[name, seed])
        for seed, found in of_arm(study, "pretrained")
        if (name, seed) in study.variants
    ]


def _costs(found: Explanation, over: str) -> tuple[float, float] | None:
    """Accuracy lost without the MLPs' low band less that lost without attention's, and the same for the high band, attention less MLPs."""
    rows = {(m, b): removal(found, m, b) for m in ("attn", "mlp") for b in ("low", "high")}
    if any("refused" in row for row in rows.values()):
        return None
    whole = removal(found, "none", "none")[over]
    lost = {key: whole - row[over] for key, row in rows.items()}
    return lost["mlp", "low"] - lost["attn", "low"], lost["attn", "high"] - lost["mlp", "high"]


def beyond_random_subspaces(study: Study, modules: str, band: str) -> list[Reading]:
    """C1: accuracy without a band; control: the lowest of all random subspaces of its rank, anywhere or inside the row space of W_U."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        row = removal(found, modules, band)
        if "refused" in row:
            readings.append(Reading(seed, None, None, None, row["refused"]))
            continue
        lowest = {kind: min(values["accuracy"]) for kind, values in row["controls"].items()}
        readings.append(Reading(seed, row["accuracy"], min(lowest.values()), row["accuracy"] < min(lowest.values()) - DIFFERENCE,
                                ", ".join(f"{kind}: {value:.3f}" for kind, value in lowest.items())))  # fmt: skip
    return readings


def same_division(study: Study, names: tuple[str, ...], usually: str = "", over: str = "accuracy") -> list[Reading]:
    """C2 to C5: by how much the low band costs the MLPs more than attention, explained another way; control: explained as usual.

    `usually` names the variant that stands for the usual, where it is not the explanation itself. `over`: accuracy over the whole vocabulary, or
    number_accuracy over the numbers of the table, where these are fewer than the answers the model may give.

    Holds if both contrasts (low: MLPs against attention; high: attention against MLPs) keep their sign or move by at most 0.1 in every
    variant. Told only where one of them is at least 0.1 to begin with, and every variant could be removed.
    """
    readings = []
    if not any(name in names for name, _ in study.variants):
        return readings
    for seed, found in of_arm(study, "pretrained"):
        usual = _costs(study.variants.get((usually, seed), found), over)
        others = {name: study.variants[name, seed] for name in names if (name, seed) in study.variants}
        if usual is None or len(others) < len(names):
            readings.append(Reading(seed, None, None, None, "not run" if usual else "a band was refused"))
            continue
        costs = {name: value for name, other in others.items() if (value := _costs(other, over)) is not None}
        if len(costs) < len(others) or max(map(abs, usual)) < DIFFERENCE:
            gone = ", ".join(sorted(set(others) - set(costs)))
            readings.append(
                Reading(seed, None, None, None, f"refused in {gone}" if gone else "no division of labour to keep")
            )
            continue
        same = all(
            abs(own - before) <= DIFFERENCE or own * before > 0
            for pair in costs.values()
            for own, before in zip(pair, usual, strict=True)
        )
        worst = min(costs, key=lambda name: costs[name][0])
        note = "; ".join(
            f"{name}: low {low:+.2f}, high {high:+.2f}" for name, (low, high) in {"usual": usual, **costs}.items()
        )
        readings.append(Reading(seed, costs[worst][0], usual[0], same, note, worst))
    return readings


def decimal_periods(study: Study) -> list[Reading]:
    """C6: accuracy without the harmonics of period 10; control: the lowest without those of 7, 9 or 11, which take about as many dimensions."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        assert found.ablations is not None
        rows = {row["period"]: row for row in found.ablations.periods}
        others = {t: rows[t]["accuracy"] for t in (7, 9, 11) if t in rows}
        if 10 not in rows or not others:
            readings.append(Reading(seed, None, None, None, "refused, or too few numbers"))
            continue
        value = rows[10]["accuracy"]
        readings.append(Reading(seed, value, min(others.values()), value < min(others.values()) - DIFFERENCE,
                                ", ".join(f"{t}: {a:.3f}" for t, a in others.items()) + f"; rank {rows[10]['rank']}"))  # fmt: skip
    return readings


def order_of_numbers(study: Study) -> list[Reading]:
    """C7: largest share of a module's logits that n mod 10 explains; control: in random order of the numbers, or of random vectors, the larger."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        r = found.residues
        assert r is not None
        value = float(max(r.share("attention", 10).max(), r.share("mlp", 10).max()))
        order, anyhow = float(max(r.attention_shuffled.max(), r.mlp_shuffled.max())), r.anyhow(10)
        holds = value > 2 * max(order, 0) and value > anyhow
        readings.append(
            Reading(seed, value, max(order, anyhow), holds, f"random order {order:.3f}, random vectors {anyhow:.3f}")
        )
    return readings


def beyond_token_frequency(study: Study) -> list[Reading]:
    """C8: worst p-value of the periods 2, 2.5, 5 and 10 in the pre-trained embedding when what token frequency explains is kept."""
    readings = []
    for seed, found in study.embeddings.items():
        spectrum = found.spectrum
        if "token frequency" not in spectrum.p_single:
            readings.append(Reading(seed, None, None, None, "how often numbers occurred is not known"))
            continue
        at = [int(np.argmin(np.abs(spectrum.frequency - spectrum.rows / t))) for t in (2, 2.5, 5, 10)]
        p = float(spectrum.p_single["token frequency"][at].max())
        readings.append(Reading(seed, p, float(spectrum.p_single["within decades"][at].max()), p <= LEVEL))
    return readings


def table_order(study: Study) -> list[Reading]:
    """C10: rank correlation of the seven accuracies of Table 1 with the published ones; control: largest rank correlation of the same in random order."""
    readings, generator = [], np.random.default_rng(0)
    for seed, found in of_arm(study, "pretrained"):
        rows = {key: removal(found, *key) for key in PUBLISHED_ORDER}
        kept = [key for key, row in rows.items() if "refused" not in row]
        if len(kept) < 5:
            readings.append(Reading(seed, None, None, None, "too many removals were refused"))
            continue
        ours, theirs = [rows[key]["accuracy"] for key in kept], [PUBLISHED_ORDER[key] for key in kept]
        value = rank_correlation(ours, theirs)
        dealt = [rank_correlation(generator.permutation(ours), theirs) for _ in range(999)]
        readings.append(
            Reading(
                seed,
                value,
                float(np.quantile(dealt, 0.95)),
                value >= 0.8 and value > float(np.quantile(dealt, 0.95)),
                ", ".join(f"{m} {b} {a:.3f}" for (m, b), a in zip(kept, ours, strict=True)),
            )
        )
    return readings


def operand_order(study: Study) -> list[Reading]:
    """C11: accuracy with the larger operand first, which questions to train on never have; control: with the smaller first."""
    readings = []
    for seed, found, other in _pairs(study, "swapped"):
        usual, swapped = accuracy(found), accuracy(other)
        holds = swapped >= usual - 0.05 if usual >= 0.5 else None
        readings.append(
            Reading(seed, swapped, usual, holds, "" if usual >= 0.5 else "too little is answered to lose anything")
        )
    return readings


def separable(study: Study) -> list[Reading]:
    """F1: kappa of the last digit read from the pre-trained embedding on held-out numbers; control: 95 % of shuffled labels."""
    readings = []
    for seed, found in study.embeddings.items():
        at = found.geometry.at(10)
        power = ", ".join(
            f"{t}: {found.geometry.at(t)['phi_share']:.3f} / {found.geometry.at(t)['linear']:.2f}"
            for t in (2, 5, 10, 7)
        )
        readings.append(
            Reading(
                seed,
                at["linear"],
                at["control_level"],
                at["linear"] > at["control_level"] and at["linear"] >= 0.5,
                f"share of power / kappa at T = {power}",
            )
        )
    return readings


def helix_carries(study: Study) -> list[Reading]:
    """K1: best effect of a held-out helix put in the operand's place, over layers where the whole vector has one; control: of the same with the numbers shuffled."""
    if all(found.helix is None for _, found in of_arm(study, "pretrained")):
        return []
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        h = found.helix
        if h is None or not np.isfinite(h.effect["full"]).any():
            readings.append(Reading(seed, None, None, None, "no helix was fitted, or the answers cannot be told apart"))
            continue
        read = np.nan_to_num(h.effect["full"]) >= 0.5  # layers after which the operand is still looked at
        if not read.any():
            readings.append(Reading(seed, None, None, None, "the operand is read nowhere"))
            continue
        gain = np.where(read, h.effect["helix"] - h.effect["shuffled helix"], -np.inf)
        layer = int(gain.argmax())
        value, control, full = (float(h.effect[kind][layer]) for kind in ("helix", "shuffled helix", "full"))
        readings.append(Reading(seed, value, control, value >= control + 0.5 * (full - control),
                                f"before layer {layer + 1}; whole vector {full:.2f}, polynomial {h.effect['polynomial'][layer]:.2f}"))  # fmt: skip
    return readings


def mlps_build(study: Study) -> list[Reading]:
    """K2: largest share of an MLP output that the answer adds to the operands, in the first layer where any module has a tenth; control: of attention there."""
    if all(found.builders is None for _, found in of_arm(study, "pretrained")):
        return []
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        b = found.builders
        if b is None or not np.isfinite(b.sum["mlp"]).any():
            readings.append(Reading(seed, None, None, None, "not run, or too few questions"))
            continue
        first = np.flatnonzero(np.maximum(b.sum["mlp"], b.sum["attention"]) >= 0.1)
        if not len(first):
            readings.append(Reading(seed, None, None, None, "no module writes the answer"))
            continue
        layer = int(first[0])
        value, control = float(b.sum["mlp"][layer]), float(b.sum["attention"][layer])
        readings.append(Reading(seed, value, control, value >= 0.1 > control, f"layer {layer + 1}. {b.sentence()}"))
    return readings


def digit_moves(study: Study) -> list[Reading]:
    """L1: share of answers whose last digit moves by five with the mean of the first operand's last digit, before layer 1; control: a random step."""
    if all(found.turn is None for _, found in of_arm(study, "pretrained")):
        return []
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        t = found.turn
        if t is None or t.swapped[0] < 0.5:
            readings.append(
                Reading(seed, None, None, None, "the whole vector of another number does not move the answer either")
            )
            continue
        value, control = float(t.digit[0]), float(t.random[0])
        readings.append(
            Reading(
                seed,
                value,
                control,
                value >= 0.5 and value > control + 0.1,
                f"period 10 alone {t.circle[0]:.2f}, whole vector {t.swapped[0]:.2f}",
            )
        )
    return readings
