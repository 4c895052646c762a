"""The claims of Zhou et al. 2024 that a preset can grade, each with its control.

To add a claim: a function Study -> readings, and one `Claim` in CLAIMS. Values published for GPT-2-XL stand beside ours, never
in one column: the models differ in size, data and range.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from epicycle.analysis.ablation import nearest_controls
from epicycle.analysis.embedding import named_periods, smallest_high_p
from epicycle.analysis.explain import Explanation
from epicycle.fourier.bands import HIGH_PERIOD
from epicycle.studies.ledger import Claim, Entry, Reading, grade
from epicycle.studies.zhou2024 import Study

OUTLIERS = (2.0, 2.5, 10 / 3, 5.0, 10.0)
LEVEL = 0.01
"""p-value below which a period counts as beyond its null."""


def _arm(study: Study, arm: str) -> Iterator[tuple[int, Explanation]]:
    for seed in study.preset.seeds:
        if (arm, seed) in study.explanations:
            yield seed, study.explanations[arm, seed]


def _accuracy(found: Explanation) -> float:
    assert found.ablations is not None
    return found.ablations.row("none", "none")["accuracy"]


def fine_tuned(study: Study) -> list[Reading]:
    """P1: test accuracy of the pre-trained and tuned arm; control: scratch with the same seed."""
    scratch = {seed: _accuracy(found) for seed, found in _arm(study, "scratch")}
    return [
        Reading(seed, _accuracy(found), scratch.get(seed), _accuracy(found) >= 0.99)
        for seed, found in _arm(study, "pretrained")
    ]


def refinement(study: Study) -> list[Reading]:
    """P2: accuracy within 10 less exact accuracy half way up; control: within 10 by the best constant answer."""
    readings = []
    for seed, found in _arm(study, "pretrained"):
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


def _bins(period: np.ndarray) -> np.ndarray:
    """Frequencies whose period is nearest to one of the outliers."""
    return np.unique([int(np.argmin(np.abs(1 / period - 1 / t))) for t in OUTLIERS])


def _sparsity(found: Explanation) -> tuple[float, float]:
    """Share of the high band's power of all module logits that lies at the outlier periods, and their share of its bins."""
    spectra = found.modules
    assert spectra is not None
    power = (spectra.attention**2 + spectra.mlp**2).sum(0)
    high = spectra.period <= HIGH_PERIOD + 1e-9
    bins = _bins(spectra.period)
    return float(power[bins].sum() / power[high].sum()), len(bins) / int(high.sum())


def sparsity(study: Study) -> list[Reading]:
    """P4: share of high-band power of module logits at the outlier periods; control: the same in the scratch arm."""
    scratch = {seed: _sparsity(found)[0] for seed, found in _arm(study, "scratch")}
    readings = []
    for seed, found in _arm(study, "pretrained"):
        share, chance = _sparsity(found)
        readings.append(Reading(seed, share, scratch.get(seed), share >= 3 * chance, f"{chance:.3f} of the bins"))
    return readings


def division_of_labour(study: Study) -> list[Reading]:
    """P5: smallest, over layers, of (low over high power in MLP logits) / (the same in attention logits)."""
    readings = []
    scratch = {seed: _least_ratio(found) for seed, found in _arm(study, "scratch")}
    for seed, found in _arm(study, "pretrained"):
        value = _least_ratio(found)
        readings.append(Reading(seed, value, scratch.get(seed), value > 1))
    return readings


def _least_ratio(found: Explanation) -> float:
    spectra = found.modules
    assert spectra is not None
    high = spectra.period <= HIGH_PERIOD + 1e-9
    low_to_high = lambda table: (table[:, ~high] ** 2).sum(1) / (table[:, high] ** 2).sum(1)  # noqa: E731
    return float((low_to_high(spectra.mlp) / low_to_high(spectra.attention)).min())


def superposition(study: Study) -> list[Reading]:
    """P6: share of test questions whose five largest waves peak at the answer; control: their single largest wave."""
    readings = []
    for seed, found in _arm(study, "pretrained"):
        spectra = found.modules
        assert spectra is not None
        readings.append(
            Reading(seed, float(spectra.top_waves[4]), float(spectra.top_waves[0]), bool(spectra.top_waves[4] >= 0.9))
        )
    return readings


def _row(found: Explanation, modules: str, band: str) -> dict[str, Any]:
    assert found.ablations is not None
    return found.ablations.row(modules, band)


def _worst(row: dict[str, Any]) -> float:
    """Lowest accuracy among the controls that are most like the removal."""
    return min(nearest_controls(row)["accuracy"])


def _contrast(study: Study, harmful: tuple[str, str], harmless: tuple[str, str]) -> list[Reading]:
    """Accuracy lost by one removal; holds if it is at least 0.1 more than by the other and than by every control of its own."""
    readings = []
    for seed, found in _arm(study, "pretrained"):
        a, b = _row(found, *harmful), _row(found, *harmless)
        if "refused" in a or "refused" in b:
            readings.append(Reading(seed, None, None, None, a.get("refused") or b["refused"]))
            continue
        holds = a["accuracy"] < b["accuracy"] - 0.1 and a["accuracy"] < _worst(a) - 0.1
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
    for seed, found in _arm(study, "pretrained"):
        row = _row(found, modules, band)
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
    """P10: parity of the answers with period 2 alone kept."""
    readings = []
    for seed, found in _arm(study, "pretrained"):
        assert found.ablations is not None
        keep = next(row for row in found.ablations.keeps if row["period"] == 2.0)
        if "refused" in keep:
            readings.append(Reading(seed, None, None, None, keep["refused"]))
        else:
            random = [control["parity"] for control in keep["control"]]
            readings.append(
                Reading(
                    seed,
                    keep["parity"],
                    float(np.mean(random)),
                    keep["parity"] >= 0.95 and keep["parity"] > max(random),
                )
            )
    return readings


def _places(explanations: Iterable[tuple[int, Explanation]]) -> list[Reading]:
    """Worst place and worst p-value of the named periods, per seed."""
    readings = []
    for seed, found in explanations:
        assert found.spectrum is not None
        at = named_periods(found.spectrum)
        place, p = max(a["place"] for a in at), max(a["p_value"] for a in at)
        readings.append(Reading(seed, float(place), p, place <= 10 and p <= LEVEL))
    return readings


def outlier_periods(study: Study) -> list[Reading]:
    """P11: worst place of the periods 2, 2.5, 5 and 10 in the pre-trained embedding; control: their worst p-value."""
    return _places(study.embeddings.items())


def kept_by_tuning(study: Study) -> list[Reading]:
    """P11: the same after fine-tuning everything."""
    return _places(_arm(study, "pretrained"))


def no_outliers_from_scratch(study: Study) -> list[Reading]:
    """P13: smallest family-wise p-value of the high band in the embedding trained from scratch; control: in the pre-trained one."""
    readings = []
    for seed, found in _arm(study, "scratch"):
        spectrum, other = found.spectrum, study.embeddings[seed].spectrum
        assert spectrum is not None and other is not None
        p, period = smallest_high_p(spectrum)
        readings.append(Reading(seed, p, smallest_high_p(other)[0], p > 0.05, f"period {period:.3g}"))
    return readings


def near_misses_from_scratch(study: Study) -> list[Reading]:
    """P13: share of the errors from scratch that are at most two; control: share of multiples of ten among them."""
    readings = []
    for seed, found in _arm(study, "scratch"):
        errors = _row(found, "none", "none")["errors"]
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


def _rescue(study: Study, arm: str) -> list[Reading]:
    scratch = {seed: _accuracy(found) for seed, found in _arm(study, "scratch")}
    readings = []
    for seed, found in _arm(study, arm):
        if seed not in scratch:
            readings.append(Reading(seed, _accuracy(found), None, None, "no scratch arm to compare with"))
        else:
            readings.append(
                Reading(seed, _accuracy(found), scratch[seed], _accuracy(found) >= 0.99 and scratch[seed] < 0.95)
            )
    return readings


def rescue(study: Study) -> list[Reading]:
    """P14: test accuracy with the frozen pre-trained embedding; control: from scratch at equal steps."""
    return _rescue(study, "frozen-embedding")


def rescue_needs_numbers(study: Study) -> list[Reading]:
    """C9: test accuracy with a frozen random embedding of the same row lengths; holds if it does not rescue."""
    scratch = {seed: _accuracy(found) for seed, found in _arm(study, "scratch")}
    return [
        Reading(seed, _accuracy(found), scratch.get(seed), _accuracy(found) < 0.95)
        for seed, found in _arm(study, "random-embedding")
    ]


def planted_rescues(study: Study) -> list[Reading]:
    """C9: test accuracy with frozen hand-made waves; control: from scratch."""
    return _rescue(study, "planted-embedding")


_XL = "GPT-2-XL, numbers 0..520"
CLAIMS: tuple[Claim, ...] = (
    Claim("P1", "A pre-trained model tuned on sums answers nearly all held-out ones.", "section 3, Table 1", f"0.9974 ({_XL})",
          "test accuracy, pre-trained and tuned", "from scratch", "at least 0.99", "three seeds", fine_tuned),
    Claim("P2", "Half way up the layers the answer is near before it is exact.", "section 3.1, Fig. 1a", "layers 20 to 30 of 48, no number",
          "accuracy within 10 less exact accuracy, middle layer", "best constant answer within 10",
          "a gap of at least 0.3, and within 10 more than twice the guess", "a deeper model", refinement),
    Claim("P4", "In the high band, module logits are sparse: their power is at periods 2, 2.5, 3.3, 5 and 10.", "section 3.2, Fig. 3",
          "shown, not measured", "share of high-band power at those periods", "from scratch", "three times their share of the bins",
          "three seeds", sparsity),
    Claim("P5", "MLP logits lean more to low frequencies than attention logits, layer by layer.", "section 3.2, Fig. 3", "shown, not measured",
          "least ratio over layers", "from scratch", "above 1", "three seeds", division_of_labour),
    Claim("P6", "Five waves of the final logits already sum to a peak at the answer.", "section 3.2, Fig. 4", "one example",
          "share of test questions", "the largest wave alone", "at least 0.9", "three seeds", superposition),
    Claim("P8a", "Low frequencies of the MLPs matter; those of attention do not.", "section 3.3, Table 1",
          f"without them 0.3589, attention's 0.9912 ({_XL})", "accuracy without the MLPs' low band", "random subspaces of the same rank",
          "0.1 below attention's and below every control", "a wider model", low_lives_in_mlps),
    Claim("P8b", "High frequencies of attention matter; those of the MLPs do not.", "section 3.3, Table 1",
          f"without them 0.7836, the MLPs' 0.9810 ({_XL})", "accuracy without attention's high band", "random subspaces of the same rank",
          "0.1 below the MLPs' and below every control", "a wider model", high_lives_in_attention),
    Claim("P9a", "Without the MLPs' low band, errors are multiples of ten.", "section 3.3, Fig. 20", f"all ({_XL})",
          "share of errors", "errors paired at random", "at least 0.9", "a model that errs", errors_without_low),
    Claim("P9b", "Without attention's high band, errors are below six.", "section 3.3, Fig. 21", f"all ({_XL})", "share of errors", "none",
          "at least 0.9", "a model that errs", errors_without_high),
    Claim("P10", "Period 2 alone gives the parity of the answer.", "App. B, Fig. 10", f"0.9959 ({_XL})", "parity with only that wave kept",
          "random subspaces of the same rank", "at least 0.95, and above every control", "a width of more than one and a half times the numbers", parity_alone),
    Claim("P11a", "Pre-trained number embeddings have outliers at periods 2, 2.5, 5 and 10.", "section 4.1, Fig. 5", "shown, no test",
          "worst place by share without the trend", "worst p-value within decades", f"all in the top ten with p <= {LEVEL}", "three seeds",
          outlier_periods),
    Claim("P11b", "Tuning leaves these outliers in place.", "App. D, Fig. 14", "shown, no test", "worst place by share without the trend",
          "worst p-value within decades", f"all in the top ten with p <= {LEVEL}", "three seeds", kept_by_tuning),
    Claim("P13a", "An embedding trained from scratch on sums has no outlier in the high band.", "section 4.2, Fig. 7a", "shown, no test",
          "smallest family-wise p-value of the high band", "the same, pre-trained", "above 0.05", "three seeds", no_outliers_from_scratch),
    Claim("P13b", "From scratch, wrong answers are within two of the right one.", "section 4.2, App. F, Fig. 22", f"all ({_XL})",
          "share of errors", "share of multiples of ten", "at least 0.9", "a model that errs", near_misses_from_scratch),
    Claim("P14", "Frozen pre-trained embeddings rescue a model trained from scratch.", "section 4.2, Fig. 7b",
          "1.00 in five of five seeds, scratch 0.5395 (GPT-2-small)", "test accuracy", "from scratch, equal steps",
          "at least 0.99, scratch below 0.95", "three seeds", rescue),
    Claim("C9a", "It is not freezing that rescues: random rows of the same lengths do not.", "control the paper lacks", "not in the paper",
          "test accuracy", "from scratch", "below 0.95", "three seeds", rescue_needs_numbers),
    Claim("C9b", "Waves planted by hand rescue as well.", "control the paper lacks", "not in the paper", "test accuracy", "from scratch",
          "at least 0.99, scratch below 0.95", "three seeds", planted_rescues),
    Claim("P3", "Single modules answer modulo 2 or modulo 10.", "section 3.1, Figs. 1, 2", "layers 33, 40, 45", "", "", "",
          "a test of residues per module", None),
    Claim("P7", "Low frequencies alone miss the answer, high ones alone hit it modulo their period.", "App. C, Figs. 12, 13", "one example", "",
          "", "", "phase errors per component", None),
    Claim("P12", "Number embeddings cluster by magnitude and by being a multiple of ten.", "section 4.1, Fig. 5b", "shown", "", "", "",
          "a null for the agreement of clusters", None),
    Claim("P15", "Prompted models show the same outliers.", "section 4.3", "GPT-J 93 %, Phi-2 73 % multiples of ten", "", "", "",
          "a model that adds from examples", None),
    Claim("P16", "The second format gives the same pictures.", "App. C.3", "shown", "", "", "", "arms trained on `a,b+`", None),
    Claim("P17", "Multiplication gives sparse spectra too.", "App. C.2", "0.7458", "", "", "", "arms trained on products", None),
    Claim("P18", "Models do not merely remember.", "section 3", "interpretive", "", "", "", "an operational form", None),
)  # fmt: skip


def ledger(study: Study) -> list[Entry]:
    """Every claim with its verdict."""
    return [grade(claim, study) for claim in CLAIMS]
