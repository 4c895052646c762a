"""What claims P11 to P13 of Zhou et al. 2024 read off number embeddings alone: Study -> one reading per seed."""

from collections.abc import Iterator

from epicycle.analysis.embedding import PERIODS, named_periods, smallest_high_p
from epicycle.analysis.explain import Explanation
from epicycle.studies.ledger import Reading
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_measures import LEVEL, of_arm


def _tables(study: Study, name: str) -> Iterator[tuple[int, Explanation]]:
    """Explanations of an arm by seed, for what the number table alone decides: parts of one model's questions share it, so it is read once."""
    found = of_arm(study, name)
    return found if study.preset is not None else (each for each in found if each[0] == study.seeds[0])


def _is_outlier(at: dict[str, float]) -> bool:
    return at["place"] <= 10 and at["p_value"] <= LEVEL


def outlier_periods(study: Study) -> list[Reading]:
    """P11: worst place of the periods 2, 2.5, 5 and 10 in the pre-trained embedding; control: their worst p-value."""
    readings = []
    for seed, found in study.embeddings.items():
        assert found.spectrum is not None
        at = named_periods(found.spectrum)
        place, p = max(a["place"] for a in at), max(a["p_value"] for a in at)
        readings.append(Reading(seed, float(place), p, all(map(_is_outlier, at))))
    return readings


def kept_by_tuning(study: Study) -> list[Reading]:
    """P11: worst place, after tuning everything, of those of the periods that were outliers before; control: their worst place before."""
    readings = []
    for seed, found in _tables(study, "pretrained"):
        base = study.embeddings.get(seed)
        if base is None:
            readings.append(Reading(seed, None, None, None, "the model before tuning is not there"))
            continue
        assert found.spectrum is not None and base.spectrum is not None
        pairs = list(zip(PERIODS, named_periods(base.spectrum), named_periods(found.spectrum), strict=True))
        note = "; ".join(
            f"period {period:g}: place {before['place']:.0f} (p = {before['p_value']:.2g}) to {after['place']:.0f} (p = {after['p_value']:.2g})"
            for period, before, after in pairs
        )
        were = [(before, after) for _, before, after in pairs if _is_outlier(before)]
        if not were:
            readings.append(Reading(seed, None, None, None, f"no outlier before. {note}"))
            continue
        places = [max(each["place"] for each in side) for side in zip(*were, strict=True)]
        readings.append(
            Reading(seed, float(places[1]), float(places[0]), all(_is_outlier(after) for _, after in were), note)
        )
    return readings


def clusters(study: Study) -> list[Reading]:
    """P12: agreement of ten clusters of the pre-trained embedding with magnitude or with multiples of ten, the smaller; control: of dealt clusters."""
    readings = []
    for seed, found in study.embeddings.items():
        at = found.map
        pairs = {
            "magnitude": (at.agreement_magnitude, at.level_magnitude),
            "multiples of ten": (at.agreement_multiple_of_10, at.level_multiple_of_10),
        }
        name = min(pairs, key=lambda each: pairs[each][0])
        readings.append(Reading(seed, *pairs[name], all(value > level for value, level in pairs.values()),
                                "; ".join(f"{n} {value:.3f} ({level:.3f})" for n, (value, level) in pairs.items()), name))  # fmt: skip
    return readings


def no_outliers_from_scratch(study: Study) -> list[Reading]:
    """P13: smallest family-wise p-value of the high band in the embedding trained from scratch; control: in the pre-trained one."""
    readings = []
    for seed, found in _tables(study, "scratch"):
        spectrum, other = found.spectrum, (study.embeddings.get(seed) or next(iter(study.embeddings.values()))).spectrum
        assert spectrum is not None and other is not None
        p, period = smallest_high_p(spectrum)
        readings.append(Reading(seed, p, smallest_high_p(other)[0], p > 0.05, f"period {period:.3g}"))
    return readings
