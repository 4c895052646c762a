"""What the claims P1 to P18 of Zhou et al. 2024 measure: Study -> one reading per seed, a number with its control and whether the rule holds."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from epicycle.analysis.ablation import nearest_controls
from epicycle.analysis.explain import Explanation
from epicycle.fourier.bands import HIGH_PERIOD
from epicycle.studies.ledger import Reading
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_presets import HALF, PROMPTED

OUTLIERS = (2.0, 2.5, 10 / 3, 5.0, 10.0)
LEVEL = 0.01
"""p-value below which a period counts as beyond its null."""


def of_arm(study: Study, arm: str) -> Iterator[tuple[int, Explanation]]:
    """Explanations of an arm, seed by seed; nothing if it was not run."""
    for seed in study.seeds:
        if (arm, seed) in study.explanations:
            yield seed, study.explanations[arm, seed]


def accuracy(found: Explanation) -> float:
    """Share of questions answered, over the whole vocabulary."""
    assert found.ablations is not None
    return found.ablations.row("none", "none")["accuracy"]


def fine_tuned(study: Study) -> list[Reading]:
    """P1: test accuracy of the pre-trained and tuned arm; control: scratch with the same seed."""
    scratch = {seed: accuracy(found) for seed, found in of_arm(study, "scratch")}
    return [
        Reading(seed, accuracy(found), scratch.get(seed), accuracy(found) >= 0.99)
        for seed, found in of_arm(study, "pretrained")
    ]


def refinement(study: Study) -> list[Reading]:
    """P2: accuracy within 10 less exact accuracy half way up; control: within 10 by the best constant answer."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        assert found.lens is not None
        half = (len(found.lens.exact) - 1) // 2
        if half < 1:
            readings.append(Reading(seed, None, None, None, "one layer has no middle"))
            continue
        gap = float(found.lens.within_10[half] - found.lens.exact[half])
        guess = found.lens.guess_within_10
        readings.append(
            Reading(seed, gap, guess, gap >= 0.3 and found.lens.within_10[half] > 2 * guess, f"layer {half}")
        )
    return readings


def outlier_bins(period: np.ndarray) -> np.ndarray:
    """Frequencies whose period is nearest to one of the outliers."""
    return np.unique([int(np.argmin(np.abs(1 / period - 1 / t))) for t in OUTLIERS])


def _at_outliers(magnitudes: np.ndarray, period: np.ndarray) -> float:
    """Share of the high band's power at the outlier periods."""
    power = (np.atleast_2d(magnitudes) ** 2).sum(0)
    return float(power[outlier_bins(period)].sum() / power[period <= HIGH_PERIOD + 1e-9].sum())


def high_share(found: Explanation) -> tuple[float, float, float]:
    """Share of the high band's power of all module logits at the outlier periods, and two things to hold it against.

    Returns:
        The share; the outlier periods' share of the bins; the larger share that vectors drawn at random have through the same unembedding.
    """
    m = found.modules
    assert m is not None
    high = int((m.period <= HIGH_PERIOD + 1e-9).sum())
    anyhow = max(_at_outliers(m.random_isotropic, m.period), _at_outliers(m.random_rows, m.period))
    return _at_outliers(np.concatenate([m.attention, m.mlp]), m.period), len(outlier_bins(m.period)) / high, anyhow


def _sparse(seed: int, found: Explanation, *, needs: float = 0.0) -> Reading:
    """Holds if the share is three times that of the bins and above what the unembedding gives to any vector; told from `needs` accuracy on."""
    share, chance, anyhow = high_share(found)
    right = accuracy(found)
    holds = share >= 3 * chance and share > anyhow if right >= needs else None
    seen = found.facts["questions"]["trained_on"]
    known = f", {seen:.0%} of them of pairs it has seen solved" if seen else ""
    return Reading(seed, share, anyhow, holds, f"{chance:.3f} of the bins; answers {right:.1%}{known}")


def sparsity(study: Study) -> list[Reading]:
    """P4: share of high-band power of module logits at the outlier periods; control: of random vectors through the same unembedding."""
    return [_sparse(seed, found) for seed, found in of_arm(study, "pretrained")]


def division_of_labour(study: Study) -> list[Reading]:
    """P5: smallest, over layers, of (low over high power in MLP logits) / (the same in attention logits)."""
    readings = []
    scratch = {seed: _least_ratio(found) for seed, found in of_arm(study, "scratch")}
    for seed, found in of_arm(study, "pretrained"):
        value = _least_ratio(found)
        readings.append(Reading(seed, value, scratch.get(seed), value > 1))
    return readings


def _least_ratio(found: Explanation) -> float:
    spectra = found.modules
    assert spectra is not None
    high = spectra.period <= HIGH_PERIOD + 1e-9
    low_to_high = lambda table: (table[:, ~high] ** 2).sum(1) / (table[:, high] ** 2).sum(1)  # noqa: E731
    return float((low_to_high(spectra.mlp) / low_to_high(spectra.attention)).min())


def periodic_modules(study: Study) -> list[Reading]:
    """P3: largest share, over MLPs, of the logits that n mod 10 explains; control: of random vectors through the same unembedding.

    Holds if that is at least 0.2, above its control and twice the best of n mod 3, 7, 9, 11 in that MLP, and in most attention layers n mod 10 explains
    more than the control and more than twice theirs.
    """
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        r = found.residues
        assert r is not None
        best = int(r.share("mlp", 10).argmax())
        value, other, anyhow = float(r.share("mlp", 10)[best]), float(r.control("mlp")[best]), r.anyhow(10)
        attention = r.share("attention", 10) > np.maximum(2 * np.maximum(r.control("attention"), 0), anyhow)
        holds = value >= 0.2 and value > max(2 * other, anyhow) and attention.mean() > 0.5
        note = (
            f"MLP {best + 1}, best of 3, 7, 9, 11: {other:.3f}; {attention.sum()} of {len(attention)} attention layers"
        )
        readings.append(Reading(seed, value, anyhow, bool(holds), note))
    return readings


def phases(study: Study) -> list[Reading]:
    """P7: share of questions whose longest wave peaks within half a number of the answer; control: the same for period 2."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        p = found.phases
        assert p is not None
        value, control = float(p.hit[p.at(float(p.period[0]))]), float(p.hit[p.at(2.0)])
        errors = ", ".join(f"T = {t:g}: {p.error[p.at(t)]:.2g}" for t in (float(p.period[0]), 10.0, 5.0, 2.0))
        readings.append(
            Reading(seed, value, control, value < 0.5 and control >= 0.95, f"median distance in numbers: {errors}")
        )
    return readings


def superposition(study: Study) -> list[Reading]:
    """P6: share of test questions whose five largest waves peak at the answer; control: their single largest wave."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        spectra = found.modules
        assert spectra is not None
        readings.append(
            Reading(seed, float(spectra.top_waves[4]), float(spectra.top_waves[0]), bool(spectra.top_waves[4] >= 0.9))
        )
    return readings


def removal(found: Explanation, modules: str, band: str) -> dict[str, Any]:
    """What was lost without a band of some modules."""
    assert found.ablations is not None
    return found.ablations.row(modules, band)


def _worst(row: dict[str, Any]) -> float:
    """Lowest accuracy among the controls that are most like the removal."""
    return min(nearest_controls(row)["accuracy"])


def _contrast(study: Study, harmful: tuple[str, str], harmless: tuple[str, str]) -> list[Reading]:
    """Accuracy lost by one removal.

    Holds if it is at least 0.1 more than by the other and by every control of its own, and the other costs less than 0.1.
    """
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        a, b = removal(found, *harmful), removal(found, *harmless)
        if "refused" in a or "refused" in b:
            readings.append(Reading(seed, None, None, None, a.get("refused") or b["refused"]))
            continue
        is_harmless = b["accuracy"] >= accuracy(found) - 0.1
        holds = a["accuracy"] < b["accuracy"] - 0.1 and a["accuracy"] < _worst(a) - 0.1 and is_harmless
        readings.append(
            Reading(
                seed, a["accuracy"], a["control_accuracy"], bool(holds), f"{' '.join(harmless)}: {b['accuracy']:.4f}"
            )
        )
    return readings


def low_lives_in_mlps(study: Study) -> list[Reading]:
    """P8: accuracy without the low band of the MLPs, against attention's and against random subspaces."""
    return _contrast(study, ("mlp", "low"), ("attn", "low"))


def high_lives_in_attention(study: Study) -> list[Reading]:
    """P8: accuracy without the high band of attention, against the MLPs' and against random subspaces."""
    return _contrast(study, ("attn", "high"), ("mlp", "high"))


def _errors(study: Study, modules: str, band: str, kind: str, control: str | None) -> list[Reading]:
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        row = removal(found, modules, band)
        if "refused" in row:
            readings.append(Reading(seed, None, None, None, row["refused"]))
            continue
        errors = row["errors"]
        if errors["wrong"] < 10:
            readings.append(Reading(seed, None, None, None, f"only {errors['wrong']} wrong answers"))
            continue
        readings.append(
            Reading(
                seed,
                errors[kind],
                errors[control] if control else None,
                errors[kind] >= 0.9,
                f"{errors['wrong']} wrong",
            )
        )
    return readings


def errors_without_low(study: Study) -> list[Reading]:
    """P9: share of errors that are multiples of ten without the MLPs' low band; control: errors paired at random."""
    return _errors(study, "mlp", "low", "multiples_of_10", "expected_multiples_of_10")


def errors_without_high(study: Study) -> list[Reading]:
    """P9: share of errors below six without attention's high band."""
    return _errors(study, "attn", "high", "below_6", None)


def parity_alone(study: Study) -> list[Reading]:
    """P10: parity of the answers with period 2 alone kept; over half of the numbers where the width does not allow all."""
    readings = []
    for seed, found in of_arm(study, "pretrained"):
        half = study.variants.get((HALF, seed), found)
        assert found.ablations is not None and half.ablations is not None
        whole, part = (
            next(row for row in ablations.keeps if row["period"] == 2.0)
            for ablations in (found.ablations, half.ablations)
        )
        keep = part if "refused" in whole else whole
        if "refused" in keep:
            readings.append(Reading(seed, None, None, None, keep["refused"]))
            continue
        random = [control["parity"] for control in keep["control"]]
        holds = keep["parity"] >= 0.95 and keep["parity"] > max(random)
        what = f"answers below {half.ablations.numbers}" if keep is not whole else ""
        readings.append(Reading(seed, keep["parity"], float(np.mean(random)), holds, "", what))
    return readings


def near_misses_from_scratch(study: Study) -> list[Reading]:
    """P13: share of the errors from scratch that are at most two; control: share of multiples of ten among them."""
    readings = []
    for seed, found in of_arm(study, "scratch"):
        errors = removal(found, "none", "none")["errors"]
        if errors["wrong"] < 10:
            readings.append(Reading(seed, None, None, None, f"only {errors['wrong']} wrong answers"))
            continue
        readings.append(
            Reading(
                seed,
                errors["below_3"],
                errors["multiples_of_10"],
                errors["below_3"] >= 0.9,
                f"mean size {errors['mean_size']:.2f}",
            )
        )
    return readings


def rescue_by(study: Study, name: str) -> list[Reading]:
    """P14, C9: test accuracy of an arm; control: from scratch at equal steps."""
    scratch = {seed: accuracy(found) for seed, found in of_arm(study, "scratch")}
    readings = []
    for seed, found in of_arm(study, name):
        if seed not in scratch:
            readings.append(Reading(seed, accuracy(found), None, None, "no scratch arm to compare with"))
        else:
            readings.append(
                Reading(seed, accuracy(found), scratch[seed], accuracy(found) >= 0.99 and scratch[seed] < 0.95)
            )
    return readings


def rescue(study: Study) -> list[Reading]:
    """P14: test accuracy with the frozen pre-trained embedding; control: from scratch at equal steps."""
    return rescue_by(study, "frozen-embedding")


def rescue_needs_numbers(study: Study) -> list[Reading]:
    """C9: test accuracy with a frozen random embedding of the same row lengths; holds if it does not rescue."""
    scratch = {seed: accuracy(found) for seed, found in of_arm(study, "scratch")}
    return [
        Reading(seed, accuracy(found), scratch.get(seed), accuracy(found) < 0.95)
        for seed, found in of_arm(study, "random-embedding")
    ]


def planted_rescues(study: Study) -> list[Reading]:
    """C9: test accuracy with frozen hand-made waves; control: from scratch."""
    return rescue_by(study, "planted-embedding")


def _variant(study: Study, name: str) -> list[tuple[int, Explanation]]:
    return [(seed, study.variants[name, seed]) for seed in study.seeds if (name, seed) in study.variants]


def prompted_outliers(study: Study) -> list[Reading]:
    """P15: as P4 for the untuned model after four solved sums; told only of a model that adds."""
    return [_sparse(seed, found, needs=0.5) for seed, found in _variant(study, PROMPTED)]


def prompted_errors(study: Study) -> list[Reading]:
    """P15: share of the prompted model's errors that are multiples of ten; control: errors paired at random. Told only of a model that adds."""
    readings = []
    for seed, found in _variant(study, PROMPTED):
        errors, right = removal(found, "none", "none")["errors"], accuracy(found)
        value, control = errors["multiples_of_10"], errors["expected_multiples_of_10"]
        is_told = errors["wrong"] >= 10 and right >= 0.5
        readings.append(
            Reading(
                seed, value, control, value >= 0.7 if is_told else None, f"{errors['wrong']} wrong, answers {right:.1%}"
            )
        )
    return readings


def other_task(study: Study, name: str) -> list[Reading]:
    """P16, P17: as P4 for the model tuned on another task; told only if it learned it."""
    return [_sparse(seed, found, needs=0.5) for seed, found in _variant(study, name)]


def not_remembered(study: Study) -> list[Reading]:
    """P18: test accuracy; control: accuracy on questions it was trained on."""
    trained = {
        seed: accuracy(found)
        for seed, found in _variant(study, "training questions")
        if found.facts["questions"]["trained_on"] == 1
    }
    return [Reading(seed, accuracy(found), trained[seed], accuracy(found) >= 0.9 and accuracy(found) >= trained[seed] - 0.05)
            for seed, found in of_arm(study, "pretrained") if seed in trained]  # fmt: skip
