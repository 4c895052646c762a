"""Rates, censored times and paired comparisons against closed forms and worked examples."""

import math

import numpy as np
import pytest

from epicycle.analysis.statistics import paired, rate, time_to_event
from epicycle.errors import DataError


@pytest.mark.parametrize(("count", "total"), [(0, 3), (3, 3), (2, 3), (17, 50), (0, 1)])
def test_wilson_interval_is_its_formula(count, total):
    z = 1.959963984540054
    p = count / total
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    found = rate(count, total)
    assert (found.low, found.high) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-12)
    assert found.share == p


def test_three_of_three_is_not_certainty():
    assert rate(3, 3).low == pytest.approx(1 / (1 + 1.959963984540054**2 / 3))  # 0.4385


def test_kaplan_meier_by_hand():
    """Events at 3, 5, 5, 8; censored at 6 and 10: 1, 5/6, 1/2, 1/2 x 1/2."""
    found = time_to_event([3, 5, 5, None, 8, None], [3, 5, 5, 6, 8, 10])
    at = dict(zip(found.steps.tolist(), found.survival.tolist(), strict=True))
    assert at[3] == pytest.approx(5 / 6)
    assert at[5] == pytest.approx(1 / 2)
    assert at[8] == pytest.approx(1 / 4)
    assert (found.events, found.censored, found.median) == (4, 2, 5)
    assert found.restricted_mean == pytest.approx(3 + 2 * 5 / 6 + 3 / 2 + 2 / 4)
    areas = {3: 2 * 5 / 6 + 3 / 2 + 2 / 4, 5: 3 / 2 + 2 / 4, 8: 2 / 4}
    variance = areas[3] ** 2 / (6 * 5) + areas[5] ** 2 * 2 / (5 * 3) + areas[8] ** 2 / (2 * 1)
    assert found.standard_error == pytest.approx(math.sqrt(variance))


def test_without_censoring_it_is_the_sample():
    times = np.random.default_rng(0).integers(1, 1000, 40).astype(float)
    found = time_to_event(list(times), list(times))
    assert found.restricted_mean == pytest.approx(times.mean())
    assert found.median == np.sort(times)[19]
    assert found.standard_error == pytest.approx(
        times.std() / math.sqrt(40), rel=1e-9
    )  # Greenwood: the population's deviation
    cut = time_to_event(list(times), list(times), horizon=300)
    assert cut.restricted_mean == pytest.approx(np.minimum(times, 300).mean())


def test_censoring_is_not_an_event():
    never = time_to_event([None, None], [1000, 500])
    assert (never.median, never.restricted_mean, never.events) == (None, 1000, 0)
    wrong = np.mean([100, 1000])  # what counting the censored run's length as its time would give
    half = time_to_event([100, None], [100, 1000])
    assert half.restricted_mean == wrong  # the same here, where the horizon is the censoring
    early = time_to_event([100, None, 900], [100, 200, 900])
    assert early.restricted_mean == pytest.approx(
        100 + 800 * 2 / 3
    )  # the run lost at 200 is shared out, not counted as 200


def test_paired_seeds():
    found = paired([100, 200, None, None, 300], [200, 100, 50, None, None], [900] * 5, [900] * 5)
    assert (found.pairs, found.only_a, found.only_b) == (5, 1, 1)
    assert (found.earlier_a, found.earlier_b) == (2, 2)
    assert found.p_outcome == found.p_time == 1.0
    assert found.median_ratio == np.median([2.0, 0.5])
    six = paired([1.0] * 6, [2.0] * 6, [9] * 6, [9] * 6)
    assert six.p_time == pytest.approx(2 / 64)
    assert paired([None], [None], [9], [9]).p_time == 1.0


def test_a_run_that_was_stopped_before_the_others_event_tells_nothing():
    """Watched for 5,000 steps without the event, against 100,000 with it: neither is known to be earlier."""
    short = paired([None] * 6, [100_000] * 6, [5_000] * 6, [101_000] * 6)
    assert (short.pairs, short.undecided, short.earlier_b, short.only_b, short.p_time) == (0, 6, 0, 0, 1.0)
    long = paired([None] * 6, [100_000] * 6, [100_000] * 6, [101_000] * 6)
    assert (long.pairs, long.earlier_b) == (6, 6)
    assert (long.only_b, long.p_outcome) == (0, 1.0)  # whether it would have happened by 101,000 is not known
    level = paired([None] * 6, [100_000] * 6, [101_000] * 6, [101_000] * 6)
    assert (level.only_b, level.p_outcome) == (6, pytest.approx(2 / 64))
    mixed = paired([200, None], [None, 300], [900, 900], [100, 900])
    assert (mixed.pairs, mixed.undecided, mixed.earlier_b) == (1, 1, 1)


@pytest.mark.parametrize("call", [lambda: rate(1, 0), lambda: rate(4, 3), lambda: time_to_event([], []), lambda: time_to_event([1], [1, 2]),
                                  lambda: time_to_event([5], [5], horizon=9), lambda: paired([1], [], [9], []), lambda: paired([], [], [], []), lambda: paired([1], [1], [9], [])])  # fmt: skip
def test_what_cannot_be_said_is_refused(call):
    with pytest.raises(DataError):
        call()
