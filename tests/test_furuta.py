"""The claims of Furuta et al. 2024 on made-up runs whose verdict is known, and one small study from training to page."""

import json
import math
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from epicycle.cli.main import main
from epicycle.errors import ConfigError
from epicycle.report.ledger import verdict_sentences, verdict_tiles
from epicycle.report.sweep import success
from epicycle.runs.directory import create_run, list_runs
from epicycle.studies import furuta2024, furuta2024_spectra
from epicycle.studies import furuta2024_accuracy as accuracy
from epicycle.studies.furuta2024 import (
    PRESETS,
    Study,
    closure,
    config,
    hindered,
    scratch,
    source_of,
    transfer,
    wanted_runs,
)
from epicycle.studies.furuta2024_claims import CELLS, CLAIMS, HELPED, claims_of, ledger
from epicycle.studies.furuta2024_published import FRACTIONS, SCRATCH, SMALLEST, SOURCES, published_cell
from epicycle.studies.ledger import Reading, grade
from epicycle.sweep.grid import Condition
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.tasks.operation_names import OPERATIONS
from epicycle.training.config import to_dict

PRESET = PRESETS["full"]


def curve(begin, end, half, steps):
    """From begin to end, half way at `half`, on a logarithmic axis of steps."""
    return begin + (end - begin) / (1 + (half / np.maximum(steps, 1)) ** 4)


def made(
    root, condition, seed, *, first=None, trained=5_000, every=None, best=None, halves=None, ends=None, tasks=None
):
    """A finished run with a history that was never trained: accuracies rise and measures move as asked."""
    values = config(condition, seed, PRESET)
    run = create_run(root, values.name, to_dict(values), {}, {"threads": 1, "device": "cpu", "revision": "abc"})
    every = every or (100 if trained < 200_000 else 1000)
    steps = np.arange(0, trained + 1, every)
    best = (1.0 if first else 0.3) if best is None else best
    accuracy = curve(0.01, best, (first or trained) / 3.2, steps)
    if first:
        accuracy = np.where(steps >= first, np.maximum(accuracy, 0.995), np.minimum(accuracy, 0.985))
    names = [(site, name) for site in ("W_E", "W_L") for name in ("ffd", "fcr", "bias")]
    begin = {"ffd": 1.0, "fcr": 0.93, "bias": 0.01}
    series = {
        key: curve(
            begin[key[1]],
            (ends or {}).get(key, begin[key[1]]),
            (halves or {}).get(key, (first or trained) / 3.2),
            steps,
        )
        for key in names
    }
    lines = []
    for i, step in enumerate(steps):
        additive = {
            site: {name: float(series[site, name][i]) for name in ("ffd", "fcr", "bias")} for site in ("W_E", "W_L")
        }
        line = {
            "step": int(step),
            "train_accuracy": 1.0,
            "test_accuracy": float(accuracy[i]),
            "measures": {"weights": {"additive": additive}},
        }
        if tasks:
            line["tasks"] = {name: {"test_accuracy": 0.995 if at and step >= at else 0.5} for name, at in tasks.items()}
        lines.append(line)
    run.append_history(*lines)
    last = {"train_loss": 1e-7, "test_loss": 1e-6, "train_accuracy": 1.0, "test_accuracy": float(accuracy[-1])}
    run.update(status="finished", outcome="grokked" if first else "memorised", final=last,
               steps={"memorised": 100, "first": first, "sustained": first, "stable": first, "trained": trained})  # fmt: skip
    return run


@pytest.fixture
def study(tmp_path):
    """Makes a study of some conditions: what(condition, seed) -> how the run is made, or None for no run.

    A source groks when its formula does, and is trained for as long as sources are.
    """

    def build(conditions, what):
        everything = closure(list(conditions))
        for condition in everything:
            for seed in PRESET.seeds:
                is_source = condition.source is None and condition.steps is not None
                options = what(condition._replace(steps=None) if is_source else condition, seed)
                if options is not None and is_source:
                    options = options | {"trained": condition.steps, "every": 1000}
                if options is not None:
                    made(tmp_path, condition, seed, **options)
        own = create_run(tmp_path, "study", {"kind": "study"}, {}, {})
        return Study(own, PRESET, everything)

    return build


PLUS, MINUS, TIMES = accuracy.PLUS, accuracy.MINUS, accuracy.TIMES


def four(monkeypatch):
    """Studies of four seeds."""
    monkeypatch.setattr(sys.modules[__name__], "PRESET", PRESET._replace(seeds=(0, 1, 2, 3)))


def claim_named(name):
    """The one with this very id: C15 alone, not C15b."""
    (found,) = [claim for claim in claims_of([name]) if claim.id == name]
    return found


def verdict(name, study):
    return grade(claim_named(name), study)


@pytest.mark.parametrize(
    ("first", "trained", "expected"),
    [(2000, 5000, "confirmed"), (None, 300_000, "refuted"), (None, 8_000, "undetermined")],
)
def test_groks_is_told_only_at_the_papers_length(study, first, trained, expected):
    found = verdict("C1a", study([PLUS], lambda c, s: {"first": first, "trained": trained}))
    assert found.verdict == expected
    reading = found.readings[0]
    assert reading.control == pytest.approx(0.31, abs=0.02)  # symmetry: 30 % of the swaps were trained on
    assert (reading.value >= 0.99) == (first is not None)


def test_one_seed_is_no_verdict_and_a_missing_run_is_said(study):
    found = verdict("C1a", study([PLUS], lambda c, s: {"first": 2000} if s == 0 else None))
    assert found.verdict == "undetermined"
    assert "not run: a + b" in found.reason


@pytest.mark.parametrize(
    ("first", "trained", "expected"),
    [(None, 300_000, "confirmed"), (9000, 12_000, "refuted"), (None, 100_000, "undetermined")],
)
def test_failing_is_told_only_at_the_papers_length(study, first, trained, expected):
    condition = scratch("a^2 + a*b + b^2")
    what = lambda c, s: {"first": first, "trained": trained, "best": 1.0 if first else 0.36}  # noqa: E731
    assert verdict("C8a", study([condition], what)).verdict == expected


@pytest.mark.parametrize(
    ("best", "trained", "expected"),
    [(0.36, 300_000, "confirmed"), (0.5, 300_000, "refuted"), (0.5, 1_000, "refuted"), (0.2, 300_000, "refuted"), (0.2, 100_000, "undetermined")],
)  # fmt: skip
def test_failing_ends_where_the_paper_has_it(study, best, trained, expected):
    """Published 34 %: five points above it are too many at any time, five below only at the end, and not where it is asked whether it fails."""
    found = study([scratch("a^2 + a*b + b^2")], lambda c, s: {"trained": trained, "best": best})
    assert verdict("C8d", found).verdict == expected
    assert verdict("C8a", found).verdict == ("confirmed" if (best, trained) == (0.2, 300_000) else expected)


def test_one_counterexample_tells_whatever_the_others_do(study):
    """Of several conditions some were not run, or not long enough: what one of them shows for certain is enough, no more."""
    claim = claim_named("J59")
    first, second, *_ = claim.conditions
    failed = study(
        claim.conditions, lambda c, s: {first: {"trained": 300_000, "best": 0.6}, second: {"first": 2000}}.get(c)
    )
    found = grade(claim, failed)
    assert found.verdict == "refuted" and found.readings[0].value == pytest.approx(0.6, abs=0.01)
    assert "not run: a*b mod 59" in found.readings[0].note
    claim = claim_named("C7a")
    first, second, *_ = claim.conditions
    grokked = study(
        claim.conditions, lambda c, s: {first: {"first": 2000}, second: {"trained": 100_000, "best": 0.6}}.get(c)
    )
    found = grade(claim, grokked)
    assert found.verdict == "refuted" and found.readings[0].value >= 0.99 and "not run" in found.readings[0].note


def test_a_seed_that_was_not_looked_at_long_enough_is_not_left_out(study, monkeypatch):
    """Four seeds: three grok, one has not by 100,000 steps; to leave it out would choose by the outcome."""
    monkeypatch.setattr(sys.modules[__name__], "PRESET", PRESET._replace(seeds=(0, 1, 2, 3)))
    found = verdict(
        "C1b",
        study(
            [MINUS], lambda c, s: {"trained": 100_000, "best": 0.9} if s == 1 else {"first": 20_000, "trained": 22_000}
        ),
    )
    assert (
        found.verdict == "undetermined"
        and "the rule holds in 3 of 3 seeds; 1 of 4 were not looked at long enough" in found.reason
    )


def test_a_seed_that_cannot_tell_is_left_out(study, tmp_path, monkeypatch):
    """Of four seeds one did not learn in the paper's time: what learning does is told by the others. Not so if it was stopped before."""
    monkeypatch.setattr(sys.modules[__name__], "PRESET", PRESET._replace(seeds=(0, 1, 2, 3)))
    learned = {"first": 20_000, "trained": 40_000, "ends": {("W_E", "ffd"): 0.1}}
    for trained, expected in ((300_000, "confirmed"), (100_000, "undetermined")):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        found = study(
            [MINUS], lambda c, s, n=trained: {"trained": n, "best": 0.9, "every": 1000} if s == 1 else learned
        )
        assert verdict("C11b", found).verdict == expected


def test_what_was_run_tells_nothing_of_what_was_not(study):
    claim = claim_named("J59")
    some = study(claim.conditions, lambda c, s: {"first": 2000} if c in claim.conditions[:3] else None)
    assert grade(claim, some).verdict == "undetermined" and "not run" in grade(claim, some).reason
    claim = claim_named("C7a")
    some = study(
        claim.conditions, lambda c, s: {"trained": 300_000, "best": 0.88} if c in claim.conditions[:3] else None
    )
    assert grade(claim, some).verdict == "undetermined" and "not run" in grade(claim, some).reason


@pytest.mark.parametrize(
    ("bound", "how", "expected"),
    [
        (20_000, {"trained": 20_000, "best": 0.36}, "looked at up to 20,000"),  # not grokked within a bound of its own
        (20_000, {"first": 6_000, "trained": 10_000}, "0 of 3 hold"),  # ended where the longer run would, too
        (
            7_000,
            {"first": 6_000, "trained": 7_000},
            "0 of 3 hold",
        ),  # grokked, and cut off before the longer run would end
    ],
)
def test_a_run_of_a_smaller_bound_stands_in(tmp_path, monkeypatch, bound, how, expected):
    """Nothing is trained: what ended earlier tells as much as it can, and no more."""
    condition = scratch("a^2 + a*b + b^2")
    monkeypatch.setattr(sys.modules[__name__], "PRESET", PRESET._replace(max_steps=bound))
    for seed in PRESET.seeds:
        made(tmp_path, condition, seed, **how)
    longer = PRESETS["full"]
    own = create_run(tmp_path, "study", {"kind": "study"}, {}, {})
    assert not Study(own, longer, (condition,)).runs(condition)  # only where it is asked for
    claim = claim_named("C8a")
    found = grade(claim, Study(own, longer, (condition,), stand_ins=True))
    said = "0 of 3 hold" if found.verdict == "refuted" else found.reason
    assert expected in said
    study = Study(own, longer, (condition,), stand_ins=True)
    assert (study.ended(condition, 0) is None) == (bound == 7_000)  # its weights are those of step 7,000, not 10,000
    if expected.startswith("looked"):
        for steps in (5_000, 50_000):  # the one that got furthest is taken
            monkeypatch.setattr(sys.modules[__name__], "PRESET", PRESET._replace(max_steps=steps))
            made(tmp_path, condition, 0, trained=steps, best=0.36)
        study = Study(own, longer, (condition,), stand_ins=True)
        assert study.finished(condition, 0).record()["steps"]["trained"] == 50_000
        shorter = Study(own, longer._replace(max_steps=30_000), (condition,), stand_ins=True)
        assert shorter.finished(condition, 0).record()["steps"]["trained"] == 20_000


def test_order(study):
    at = {PLUS: 2600, TIMES: 4000, MINUS: 20_000}
    assert verdict("C2a", study(at, lambda c, s: {"first": at[c], "trained": at[c] + 2000})).verdict == "confirmed"


def test_order_refuted(study):
    at = {PLUS: 2600, TIMES: 4000, MINUS: 3000}
    found = verdict("C2a", study(at, lambda c, s: {"first": at[c], "trained": at[c] + 2000}))
    assert found.verdict == "refuted"
    assert (found.readings[0].value, found.readings[0].control) == (3000, 2600)


@pytest.mark.parametrize(("end", "expected"), [(0.1, "confirmed"), (0.79, "confirmed"), (0.95, "refuted")])
def test_falling(study, end, expected):
    found = verdict("C11a", study([PLUS], lambda c, s: {"first": 2000, "ends": {("W_E", "ffd"): end}}))
    assert found.verdict == expected
    assert found.readings[0].value == pytest.approx(end, abs=0.01)
    assert found.readings[0].control == pytest.approx(1.0)


def test_staying(study):
    kept = study([PLUS], lambda c, s: {"first": 2000, "ends": {("W_E", "fcr"): 0.88 if s else 0.5}})
    found = verdict("C12a", kept)
    assert found.verdict == "undetermined"
    assert (
        "2 of 3 seeds" in found.reason and "21% to 94%" in found.reason
    )  # z = 1.96: (2 + z^2/2 -+ z sqrt(2/3 + z^2/4)) / (3 + z^2)


def test_moves_say_which_thresholds_they_fit(study):
    """FFD of W_E falls to 0.3, FCR of W_L to 0.6 (0.65 of 0.93): by 0.8 the latter does not stay, by 0.3 to 0.65 all is as expected."""
    power = scratch("a^5 + b^5")
    ends = {("W_L", "ffd"): 0.3, ("W_L", "fcr"): 0.93 * 0.65}
    found = study(
        [power, scratch("a^7 + b^7"), PLUS],
        lambda c, s: {"first": 500, "ends": ends if c == power else {("W_E", "ffd"): 0.9}},
    )
    reading = verdict("C14b", found).readings[0]
    assert reading.holds is False
    assert (
        "FFD(W_L) 1.000 to 0.300, FCR(W_L) 0.930 to 0.605, as expected by thresholds from 0.30 to 0.65" in reading.note
    )
    assert (
        "a^7 + b^7, r = 0.3: FFD(W_L) 1.000 to 1.000, FCR(W_L) 0.930 to 0.930, as expected by no threshold"
        in reading.note
    )
    assert "as expected by thresholds from 0.90" in verdict("C11a", found).readings[0].note
    assert "as expected by thresholds to 1.00" in verdict("C12a", found).readings[0].note


def test_dense_means_exactly_one(study):
    found = study([TIMES], lambda c, s: {"first": 4000, "ends": {("W_E", "ffd"): 1.0 if s < 2 else 0.98}})
    readings = verdict("C11c", found).readings
    assert [r.holds for r in readings] == [True, True, False]


def test_parity(study):
    powers = [scratch(f"a^{n} + b^{n}") for n in range(2, 8)]
    odd = lambda c: int(c.formulas[0][2]) % 2  # noqa: E731
    ends = lambda c: {("W_E", "ffd"): 0.4 if odd(c) else 0.9, ("W_E", "fcr"): 0.8 if odd(c) else 0.3}  # noqa: E731
    found = verdict("C15", study(powers, lambda c, s: {"first": 3000, "ends": ends(c)}))
    assert found.verdict == "confirmed"
    assert (found.readings[0].value, found.readings[0].control) == pytest.approx((0.4, 0.9), abs=0.02)


def test_parity_is_not_told_by_a_mean(study, tmp_path):
    """One odd n as dense as the even ones: the mean over odd n is still lower."""
    powers = [scratch(f"a^{n} + b^{n}") for n in range(2, 8)]
    lone = lambda c: c.formulas[0].startswith(("a^5", "a^7"))  # noqa: E731
    odd = lambda c: int(c.formulas[0][2]) % 2  # noqa: E731
    ends = lambda c: {("W_E", "ffd"): 0.4 if lone(c) else 0.9, ("W_E", "fcr"): 0.8 if odd(c) else 0.3}  # noqa: E731
    found = study(powers, lambda c, s: {"first": 3000, "ends": ends(c)})
    assert verdict("C15b", found).verdict == "refuted"
    assert verdict("C15", found).verdict == "confirmed"  # of those that need a rule the odd ones are sparse


@pytest.mark.parametrize(("shift", "expected"), [(1, "confirmed"), (0, "refuted")])
def test_sine_is_used_where_the_embedding_is_that_of_a_shifted_product(study, shift, expected):
    """W_E planted as even characters of a + shift: cosine alone without the shift, bent to both sides with it."""
    condition, p = scratch("a*b + a + b"), 97
    exponent, power = np.zeros(p, int), 1
    for i in range(p - 1):
        exponent[power], power = i, power * 5 % p  # 5 is a primitive root modulo 97
    even = np.stack([np.cos(2 * np.pi * k * exponent / (p - 1)) for k in (2, 8, 14)], 1)
    even[0] = 0
    table = np.roll(even, -shift, axis=0)
    found = study([condition], lambda c, s: {"first": 3000})
    for seed in PRESET.seeds:
        found.finished(condition, seed).save_checkpoint(5000, {"embed.W_E": torch.from_numpy(table.T.copy())})
    entry = grade(claim_named("C22"), Study(found.run, PRESET, (condition,)))
    assert entry.verdict == expected
    assert (entry.readings[0].value == 1) == bool(shift)  # an even function has no sine
    assert 0.5 <= entry.readings[0].control < 0.9
    assert ("after the shift 0.000" in entry.readings[0].note) == bool(shift)


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, "confirmed"), (1.5, "confirmed"), (1.9, "undetermined"), (3.0, "refuted")]
)
def test_inflections_are_together_within_a_factor_of_two(study, factor, expected):
    at = {PLUS: 2000, TIMES: 6000, scratch("a^2 + b^2"): 9000}
    found = study(
        at,
        lambda c, s: {
            "first": at[c],
            "trained": 30_000,
            "ends": {("W_E", "ffd"): 0.1},
            "halves": {("W_E", "ffd"): at[c] / 3.2 * factor},
        },
    )
    assert verdict("C18a", found).verdict == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 100), (100, 200), None),  # anything from at once to a factor of two
        ((200, 300), (200, 300), True),
        ((500, 600), (1100, 1200), None),
        ((500, 600), (1300, 1400), False),
        ((6000, 6100), (11_800, 11_900), True),
        ((6000, 6100), None, False),
    ],
)
def test_half_times_are_known_to_an_evaluation(first, second, expected):
    from epicycle.studies.furuta2024_times import _near

    assert _near(first, second) is expected and _near(second, first) is expected


def test_a_run_that_may_grok_yet_is_not_left_out_of_inflections(study):
    at = {PLUS: 2000, TIMES: 6000, scratch("a^2 + b^2"): 9000}
    falls = {"ends": {("W_E", "ffd"): 0.1}}
    late = study(at, lambda c, s: {"first": None if (c, s) == (TIMES, 1) else at[c], "trained": 30_000, **falls})
    found = verdict("C18a", late)
    assert found.verdict == "undetermined" and found.readings[1].is_censored
    assert "a*b, r = 0.3: not by 30,000" in found.reason


def test_controls_are_those_of_seeds_with_a_value(study):
    found = study(
        [PLUS, TIMES, MINUS],
        lambda c, s: {
            "first": None if (c, s) == (MINUS, 1) else 10_000 if c == MINUS else 1_000 * (s + 1),
            "trained": 40_000,
        },
    )
    values = verdict("C2a", found).as_json()
    assert values["measured"] == 10_000 and values["control"] == 2_000  # of seeds 0 and 2


def test_what_does_not_grok_must_not_fall(study):
    conditions = [scratch("a^2 + a*b + b^2"), scratch("2*a + b")]
    still = study(conditions, lambda c, s: {"trained": 300_000})
    assert verdict("C18b", still).verdict == "confirmed"
    assert verdict("C17", still).verdict == "confirmed"


def test_what_does_not_grok_and_falls(study):
    conditions = [scratch("a^2 + a*b + b^2"), scratch("2*a + b")]
    falling = study(
        conditions, lambda c, s: {"trained": 300_000, "ends": {("W_L", "fcr"): 0.3} if c == conditions[0] else None}
    )
    found = verdict("C18b", falling)
    assert found.verdict == "refuted"
    assert found.readings[0].value == 0.5
    assert "a^2 + a*b + b^2, r = 0.3 (FCR(W_L) 0.93 to 0.31)" in found.readings[0].note
    trained = {conditions[0]: 300_000, conditions[1]: 10_000}
    alone = study(conditions, lambda c, s: {"trained": trained[c], "ends": {("W_L", "fcr"): 0.3}})
    assert verdict("C18b", alone).verdict == "refuted"  # the other cannot take it back
    missing = study(conditions[:1], lambda c, s: {"trained": 300_000, "ends": {("W_L", "fcr"): 0.3}})
    assert verdict("C18b", missing).verdict == "refuted"
    early = study(conditions, lambda c, s: {"trained": 10_000, "ends": {("W_L", "fcr"): 0.3}})
    assert verdict("C18b", early).verdict == "undetermined"


def test_control_of_what_falls_is_the_same_table_shuffled(study):
    """A table that is even in n has no sine at all, and shuffled as much as cosine."""
    condition, p = scratch("a^2 + a*b + b^2"), 97
    found = study([condition], lambda c, s: {"trained": 300_000, "ends": {("W_E", "fcr"): 0.0}})
    noise = np.random.default_rng(0).normal(size=(p, 128))
    even = noise + noise[-np.arange(p) % p]
    wave = np.cos(2 * np.pi * 3 * np.arange(p)[:, None] / p) * noise[:1]
    for seed, table in enumerate((even, wave, noise)):
        tables = {"embed.W_E": table, "unembed.W_U": np.eye(p), "blocks.0.mlp.W_out": noise}
        # columns of W_E and W_U are numbers
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(t.T if name == "embed.W_E" else t))
            for name, t in tables.items()
        }
        found.finished(condition, seed).save_checkpoint(300_000, tensors)
    readings = verdict("C18b", found).readings
    assert [r.value for r in readings] == [0.0] * 3
    assert [r.control for r in readings] == [
        1.0,
        0.0,
        1.0,
    ]  # one channel, shuffled, is one-sided by chance


def test_speed_of_transfer_with_censoring(study):
    onto, base = transfer("a*b", "a + b", "body"), PLUS
    other, rival = transfer("a + b", "a*b", "body"), TIMES
    first = {onto: 500, base: 2600, other: 900, rival: 4000}
    found = verdict("C25", study(first, lambda c, s: {"first": first[c] + (1000 * s if not c.parts else 0)}))
    assert found.verdict == "confirmed"
    assert [r.value for r in found.readings] == [900 / 4000, 900 / 5000, 900 / 6000]  # the least favourable of the two
    assert [r.control for r in found.readings] == [5000 / 4000, 6000 / 5000, 4000 / 6000]


def test_least_favourable_is_one_that_does_not_hold(study):
    onto, other = transfer("a*b", "a + b", "body"), transfer("a + b", "a*b", "body")
    first = {onto: 3000, PLUS: 2600, other: None, TIMES: 4000}
    found = verdict("C25", study(first, lambda c, s: {"first": first[c], "trained": 3500 if c == other else 9000}))
    assert found.verdict == "refuted"
    assert found.readings[0].value == pytest.approx(3000 / 2600)
    first[onto] = 500
    found = verdict("C25", study(first, lambda c, s: {"first": first[c], "trained": 3500 if c == other else 9000}))
    assert found.verdict == "undetermined" and found.readings[0].is_censored
    assert (found.readings[0].value, found.readings[0].what) == (3500 / 4000, "at least: not grokked yet")


@pytest.mark.parametrize(("trained", "expected"), [(100_000, "confirmed"), (3_000, "undetermined")])
def test_hurting_needs_a_long_enough_look(study, trained, expected):
    claim = claim_named("C24a")
    hurt = lambda c: bool(c.parts)  # noqa: E731
    found = study(
        claim.conditions, lambda c, s: {"first": None if hurt(c) else 2600, "trained": trained if hurt(c) else 5000}
    )
    assert grade(claim, found).verdict == expected


@pytest.mark.parametrize(("power", "expected"), [("6", "confirmed"), ("7", "refuted")])
def test_what_looking_up_answers_is_no_grok(study, power, expected):
    """a^n + b^n with n = 3, 4, 6 has so few classes of operands that 99 % needs no rule; n = 5 and 7 need one."""
    powers = [scratch(f"a^{n} + b^{n}") for n in range(3, 8)]
    first = lambda c: None if c.formulas[0][2] == power else 2000  # noqa: E731
    found = verdict("C5b", study(powers, lambda c, s: {"first": first(c), "trained": 300_000, "every": 1000}))
    assert found.verdict == expected
    assert found.readings[0].note.count("tells nothing: looking up gives") == 3
    assert found.readings[0].control == pytest.approx(0.32, abs=0.02)


def test_hurting_is_trained_twice_as_long_as_its_target_and_after_its_source(tmp_path):
    claim = claim_named("C24a")
    steps = {(c.source, c.formulas[0]): config(c, 0, PRESET).schedule.max_steps for c in claim.conditions if c.source}
    assert steps == {
        ("a*b", "a + b"): 20_000, ("a*b", "a - b"): 80_000, ("a + b", "a*b"): 20_000, ("a - b", "a*b"): 20_000
    }  # fmt: skip
    hurt = hindered("a - b", "a*b")
    needed = lambda: [c.seed for c in wanted_runs([hurt], PRESET, tmp_path)]  # noqa: E731
    assert needed() == [0, 1, 2]
    made(tmp_path, source_of(hurt), 0, first=None, trained=40_000)
    assert needed() == [1, 2]


@pytest.mark.parametrize(
    ("value", "expected"), [(math.log(1.5), "confirmed"), (math.log(1.1), "refuted"), (-1.0, "refuted")]
)
def test_cosine_bias(study, value, expected):
    found = study([TIMES], lambda c, s: {"first": 4000, "ends": {("W_E", "bias"): value, ("W_L", "bias"): 2.0}})
    assert verdict("C21a", found).verdict == expected


def test_mixtures(study):
    three = Condition(("a + b", "a - b", "a*b"), 0.6)
    tasks = {"a + b": 2000, "a - b": 3000, "a*b": 4000}
    assert verdict("C30b", study([three], lambda c, s: {"first": 4000, "tasks": tasks})).verdict == "confirmed"


def test_mixtures_in_another_order(study):
    three = Condition(("a + b", "a - b", "a*b"), 0.6)
    tasks = {"a + b": 2000, "a - b": 4500, "a*b": 4000}
    assert verdict("C30b", study([three], lambda c, s: {"first": 4500, "tasks": tasks})).verdict == "refuted"


def test_labels_do_not_tell(study):
    """That no difference is seen among 35 formulas does not exclude a large one."""
    found = verdict("C35", study([], lambda c, s: None))
    assert (found.verdict, found.cause) == ("undetermined", "nothing to tell by")
    assert all(0.05 < r.value <= 1 for r in found.readings)


def test_labels_that_tell(study, monkeypatch):
    """Were the formulas that grok those with fewest labels, it would be seen; were they a thousand at random, a large difference would be excluded."""
    few = [f"({a})^{n}" for a in ("a + b", "a - b") for n in (2, 3, 4, 6)] + [f"a^{n} + b^{n}" for n in (2, 3, 4, 6)]
    monkeypatch.setattr(furuta2024_spectra, "GENERALISES", set(few))
    assert verdict("C35", study([], lambda c, s: None)).verdict == "refuted"
    generator = np.random.default_rng(0)
    low, high = furuta2024_spectra._intervals(*generator.normal(size=(2, 500, 3)), generator)
    assert (
        (low > 0.5 - furuta2024_spectra.LARGE).all()
        and (low < high).all()
        and (high < 0.5 + furuta2024_spectra.LARGE).all()
    )
    assert high - low == pytest.approx(
        2 * 1.645 / np.sqrt(12) * np.sqrt(4 / 1000), rel=0.15
    )  # normal limit of the statistic


def test_every_claim_is_complete_and_its_conditions_are_known():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    formulas = {text for family in OPERATIONS.values() for text in family.values()}
    for claim in CLAIMS:
        assert claim.statement.endswith(".") and claim.rule and claim.measured and claim.source and claim.measure
        for condition in claim.conditions:
            assert set(condition.formulas) <= formulas, condition
            assert condition.source is None or condition.source in formulas
    numbers = {int("".join(c for c in claim.id if c.isdigit())) for claim in CLAIMS}
    assert numbers >= {1, 2, 4, 5, 6, 7, *range(11, 20), 21, 23, 24, 25, 26, 27, 29, 30, 31, 34, 35}
    assert set(PRESETS["quick"].claims) <= {claim.id for claim in CLAIMS}
    assert len(PRESETS["quick"].claims) >= 12
    assert {c.id for c in claims_of(["C1", "C11c"])} == {"C1a", "C1b", "C1c", "C11c"}


def test_sources_come_with_their_targets():
    found = closure([transfer("a + b", "2*a + b", "embedding"), transfer("a + b", "a*b", "body")])
    assert found[0] == scratch("a + b")._replace(steps=10_000) and len(found) == 3
    values = config(found[1], 1, PRESET)
    source = config(found[0], 1, PRESET)
    assert (source.schedule.max_steps, source.schedule.hold_evaluations) == (10_000, 0)
    assert (
        config(closure([transfer("a - b", "a*b", "body")])[0], 0, PRESET).schedule.max_steps == 40_000
    )  # as in the released code
    assert (
        values.schedule.min_steps,
        config(PLUS, 0, PRESET).schedule.min_steps,
        config(MINUS, 0, PRESET).schedule.min_steps,
    ) == (0, 10_000, 40_000)
    every = {each.label: config(each, 0, PRESET).schedule.evaluate_every for each in (PLUS, MINUS, found[0], found[2])}
    assert list(every.values()) == [10, 100, 100, 100]  # finely where it is asked what came first
    assert values.frozen.source.startswith(source.name)
    assert values.task.split_seed == source.task.split_seed == values.seed == 1


def test_a_source_of_several_is_trained_once_and_first(tmp_path, monkeypatch):
    swept = []
    monkeypatch.setattr(furuta2024, "sweep", lambda configs, *_, **__: swept.append([each.name for each in configs]))
    wanted = closure([transfer("a - b", target, "body") for target in ("a + b", "a*b")])
    furuta2024.reproduce("full", wanted, tmp_path, seeds=[5])
    assert swept[0] == ["a-b-p97-seed5"]
    assert swept[1] == ["a-b-p97-seed5", "a+b-p97-frozen-body-seed5", "ab-p97-frozen-body-seed5"]


def test_published_tables():
    assert published_cell("a^2 + a*b + b^2", 0.3) == "34 %"
    assert published_cell("a^2 + a*b + b^2", 0.8) == "groks"
    assert published_cell("a + b", 0.3) == "groks"
    assert published_cell("a + b", 0.35) == published_cell("a + 5*b", 0.3) == published_cell("a+b", 0.3) == ""
    assert all(len(row) == len(FRACTIONS) for row in SCRATCH.values())
    assert len(SMALLEST) == 16 and all(len(row) == 7 for row in SMALLEST.values())
    for formula, row in SMALLEST.items():  # the paper's two tables agree on what groks from scratch
        smallest = next((r for r in FRACTIONS if published_cell(formula, r) == "groks"), None)
        assert smallest == row[6]


def test_from_training_to_the_page(tmp_path, capsys, browse, monkeypatch):
    plain = furuta2024.config

    def modulo_11(condition, seed, chosen):
        return plain(condition._replace(modulus=11, fraction=0.6), seed, chosen)

    monkeypatch.setattr(furuta2024, "config", modulo_11)
    monkeypatch.setattr(furuta2024, "SOURCE_STEPS", {"a + b": 300, "a*b": 300})
    words = [
        "reproduce",
        "furuta2024",
        "--only",
        "C1,C25,C11",
        "--max-steps",
        "300",
        "--seeds",
        "3",
        "--out",
        str(tmp_path),
        "--threads",
        "2",
    ]
    assert main([*words, "--plan", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert len(planned["runs"]) == 21  # five conditions, and two sources
    assert [(c["id"], len(c["runs"])) for c in planned["claims"]][:2] == [("C1a", 3), ("C1b", 3)]
    assert not list_runs(tmp_path)
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [c["id"] for c in found["claims"]] == ["C1a", "C1b", "C1c", "C11a", "C11b", "C11c", "C11d", "C11e", "C25"]
    for claim in found["claims"]:
        assert {"id", "verdict", "published", "measured", "seeds", "interval"} <= set(claim)
    assert "of which 21 are to do" in said.err
    page = next(tmp_path.glob("furuta2024*/report.html"))
    done = browse(page, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert "Transfer" in done.stdout and "Ledger" in done.stdout
    before = page.with_suffix(".json").read_text()
    assert main(["report", str(page.parent)]) == 0
    assert page.with_suffix(".json").read_text() == before
    assert main([*words, "--json"]) == 0
    assert "of which 0 are to do" in capsys.readouterr().err
    longer = [word if word != "300" else "90000" for word in words]
    assert main([*longer, "--no-train", "--json"]) == 0  # nothing is trained: the same runs, as far as they got
    said = capsys.readouterr()
    again = json.loads(said.out)
    assert "9 claims, 15 of 21 runs are there" in said.err  # the sources had not grokked: nothing was taken from them
    assert [c["readings"] for c in again["claims"]] == [c["readings"] for c in found["claims"]]
    page = json.loads(Path(again["report"]).with_suffix(".json").read_text())
    assert "--no-train" in page["command"] and "--no-train" not in page["claims"][0]["rerun"]
    assert main(["report", str(Path(again["report"]).parent)]) == 0
    assert json.loads(Path(again["report"]).with_suffix(".json").read_text()) == page


def test_bad_input(tmp_path, capsys):
    for words, said in (
        (["--only", "C99"], "C99"),
        (["--max-steps", "0"], "--max-steps 0"),
        (["--max-steps", "333"], "Try 300"),
        (["--seeds", "0"], "--seeds 0"),
        (["--arms", "scratch"], "--arms"),
        (["--no-train"], "without a finished run"),
        (["--no-train", "--plan"], "expected one of them"),
    ):
        assert main(["reproduce", "furuta2024", "--out", str(tmp_path), *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["reproduce", "zhou2024", "--plan", "--out", str(tmp_path)]) == 2
    assert main(["reproduce", "zhou2024", "--no-train", "--out", str(tmp_path)]) == 2
    with pytest.raises(ConfigError):
        furuta2024.preset("desk")
    assert not list(tmp_path.iterdir())


def test_ledger_of_nothing(study):
    entries = ledger(study([], lambda c, s: None), claims_of(["C1", "C23", "C30"]))
    assert {e.verdict for e in entries} == {"not run"}
    assert all("not run: a" in e.reason and e.needs == "the missing runs of seed 0, 1, 2" for e in entries)


def test_what_would_settle_a_claim_is_said(study):
    how = {0: {"first": 2000}, 1: {"trained": 300_000, "best": 0.5}, 2: {"trained": 8_000, "best": 0.5}}
    found = verdict("C1a", study([PLUS], lambda c, s: how[s]))
    needs = "longer training of seed 2, more seeds, which can only narrow how often it holds"
    assert (found.verdict, found.needs, found.cause) == ("undetermined", needs, "seeds disagree")
    assert found.as_json()["needs"] == found.needs


def test_the_terminal_says_once_what_would_settle_a_claim():
    claim = CLAIMS[0]._replace(needs="more of it", measure=lambda readings: readings)
    runs = lambda *holds: [Reading(seed, 1.0, None, each, "run. by run") for seed, each in enumerate(holds)]  # noqa: E731
    said = lambda readings: grade(claim, readings).brief  # noqa: E731
    assert said([]) == "more of it"
    assert said(runs(True, None, True)).endswith("3 are needed; would be settled by more of it")
    assert "settled" not in said(runs(True, False, True)) and "more seeds would narrow it" in said(
        runs(True, False, True)
    )
    assert "run by run" not in said(runs(True, True, True)) and "settled" not in said(runs(True, True, True))


def test_seeds_that_disagree_are_counted_apart_from_seeds_that_cannot_tell(study):
    grokked = {TIMES: {0: 2000, 1: 3000, 2: 4000}, PLUS: {0: 2000, 1: None, 2: 2500}}

    def how(condition, seed):
        first = grokked.get(condition, {}).get(seed)
        return {"first": first, "trained": 100 if condition == MINUS else 300_000, "best": 0.5}

    entries = ledger(study([PLUS, TIMES, MINUS], how), claims_of(["C1"]))
    assert [e.cause for e in entries] == ["seeds disagree", "runs too short", ""]
    assert (
        "1 are confirmed, 0 refuted, 2 undetermined (1: seeds disagree, 1: runs too short)"
        in verdict_sentences(entries, "")[0]
    )
    assert verdict_tiles(entries)[2].note == "1: seeds disagree, 1: runs too short"


@pytest.mark.parametrize("name", ["C2b", "C20", "C33"])
def test_no_seed_that_was_stopped_early_is_left_out(study, monkeypatch, name):
    """Four seeds: three hold, one was stopped before it grokked."""
    four(monkeypatch)
    claim = claim_named(name)
    half = {0.3: 2000, 0.5: 400}
    good = lambda c: {"first": 3000, "ends": {("W_E", "ffd"): 0.1}, "halves": {("W_E", "ffd"): half.get(c.fraction, 1)}}  # noqa: E731
    if name == "C33":
        maps = {"additive": np.arange(16.0).reshape(4, 4) ** 2}
        circuits = [SimpleNamespace(logit_heat_map={"additive": sign * maps["additive"]}) for sign in (1, 1, -1)]
    made_study = study(claim.conditions, lambda c, s: {"trained": 8_000, "best": 0.5} if s == 3 else good(c))
    if name == "C33":
        made_study.grok = lambda *place: SimpleNamespace(circuits=circuits)
    found = grade(claim, made_study)
    assert sum(bool(r.holds) for r in found.readings) == 3
    assert found.verdict == "undetermined" and "not looked at long enough" in found.reason


@pytest.mark.parametrize(("looked", "expected"), [(8_000, "undetermined"), (60_000, "confirmed")])
def test_a_rival_that_was_looked_at_for_less_time_is_not_slower(study, looked, expected):
    claim = claim_named("C25")
    what = lambda c, s: {"first": 50_000, "trained": 52_000} if c.source else {"trained": looked, "best": 0.5}  # noqa: E731
    made_study = study(claim.conditions, what)
    for condition in (PLUS, TIMES):  # what weights are taken from had grokked
        for seed in PRESET.seeds:
            source = made_study.finished(condition._replace(steps=10_000), seed)
            source.update(steps=source.record()["steps"] | {"first": 3000})
    assert grade(claim, made_study).verdict == expected


@pytest.mark.parametrize(("best", "expected"), [((0.55, 0.16), "confirmed"), ((0.75, 0.16), "refuted")])
def test_never_is_at_most_what_was_published(study, best, expected):
    """C10: 67 % and 18 % at the best; to be worse than that is no exception."""
    claim = claim_named("C10")
    ends = dict(zip(claim.conditions, best, strict=True))
    assert grade(claim, study(claim.conditions, lambda c, s: {"trained": 300_000, "best": ends[c]})).verdict == expected


def test_parts_of_the_logits():
    """A clock on two frequencies: keys alone give all, the rest gives chance; a planted third wave is found to matter, random planes are not."""
    from epicycle.analysis.decomposition import decompose

    p = 31
    a, b, c = np.ogrid[:p, :p, :p]
    wave = lambda k, sign=1: np.cos(2 * np.pi * k * (a + sign * b - c) / p)  # noqa: E731
    labels = np.add.outer(np.arange(p), np.arange(p)) % p
    clock = 20.0 * (wave(3) + wave(7))
    found = decompose(clock, labels, (3, 7), "sum")
    assert found.losses["key"] == pytest.approx(found.losses["key + non-key + residual"], rel=1e-9)
    assert (found.losses["non-key"], found.losses["residual"]) == pytest.approx((math.log(p), math.log(p)))
    assert found.dependent == () and (np.abs(found.controls) < 1).all()
    assert len(found.controls) == 19 * (
        15 - 2
    )  # one of 13 planes that mean nothing is above all of them in one run of twenty
    leaning = decompose(clock + 4.0 * wave(5), labels, (3, 7), "sum")
    assert leaning.dependent == (5,)
    by_distance = lambda *parts: sum(s * np.cos(2 * np.pi * k * np.arange(p) / p) for s, k in parts)  # noqa: E731
    loss = lambda logits: float(np.log(np.exp(logits - logits[0]).sum()))  # noqa: E731
    rise = loss(by_distance((20, 7), (4, 5))) - loss(by_distance((20, 3), (20, 7), (4, 5)))
    assert leaning.rises[np.flatnonzero(leaning.frequency == 3)[0]] == pytest.approx(rise, rel=1e-9)
    labels = np.subtract.outer(np.arange(p), np.arange(p)) % p
    difference = decompose(20.0 * (wave(3, -1) + wave(7, -1)), labels, (3, 7), "difference")
    assert difference.losses["key"] == pytest.approx(found.losses["key"], rel=1e-6)
    wrong = decompose(20.0 * (wave(3, -1) + wave(7, -1)), labels, (3, 7), "sum")
    assert wrong.losses["residual"] == pytest.approx(
        difference.losses["key"], rel=1e-6
    )  # all of it lies outside the planes of the sum


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (2, 3)])
def test_parts_of_a_linear_formula_are_those_of_its_answer(alpha, beta):
    """However it is spelled; for a + b the planes of the sum."""
    from epicycle.analysis.decomposition import decompose

    p = 31
    a, b, c = np.ogrid[:p, :p, :p]
    wave = lambda k: np.cos(2 * np.pi * k * (alpha * a + beta * b - c) / p)  # noqa: E731
    labels = (alpha * a + beta * b)[..., 0] % p
    logits = 20.0 * (wave(3) + wave(7)) + 4.0 * wave(5)
    found = decompose(logits, labels, (3, 7), "answer", controls=20)
    assert found.losses["key + non-key"] == pytest.approx(found.losses["key + non-key + residual"], rel=1e-9)
    assert found.dependent == (5,) and found.losses["residual"] == pytest.approx(math.log(p))
    others = decompose(logits, labels, (3, 7), "sum", controls=20)
    if alpha == beta:
        assert others.losses == pytest.approx(found.losses) and others.rises == pytest.approx(found.rises, abs=1e-12)
    else:
        assert others.losses["key"] == pytest.approx(math.log(p))  # nothing of it lies there


def test_parts_of_a_product_and_of_none():
    from epicycle.analysis.decomposition import decompose
    from epicycle.errors import DataError
    from epicycle.fourier.bases import multiplicative

    p, basis = 31, multiplicative(31)
    labels = np.outer(np.arange(p), np.arange(p)) % p
    rows = lambda k: basis.rows[[basis.cosine[k - 1], basis.sine[k - 1]]]  # noqa: E731
    wave = lambda k: 15 * np.einsum("fab,fc->abc", rows(k)[:, labels], rows(k))  # noqa: E731  cos of a distance of logarithms
    logits = 20.0 * (wave(2) + wave(7)) + 4.0 * wave(5)
    found = decompose(logits, labels, (2, 7), "answer", basis=basis, controls=20)
    assert found.basis == "multiplicative" and found.dependent == (5,)
    inside = logits[1:, 1:].reshape(-1, p), labels[1:, 1:].reshape(-1)
    top = np.log(np.exp(inside[0]).sum(1)) - inside[0][np.arange(900), inside[1]]  # nothing is outside the planes
    assert found.losses["key + non-key"] == pytest.approx(top.mean(), rel=1e-9)
    squares = (np.arange(p)[:, None] ** 2 + np.arange(p) ** 2) % p
    with pytest.raises(DataError, match="so that their waves overlap"):
        decompose(logits, squares, (2, 7), "answer")


@pytest.mark.parametrize(
    ("text", "p", "basis"),
    [
        ("a/b", 23, "multiplicative"),
        ("a^2*b^2", 17, "multiplicative"),
        ("a^3 + 2*b", 31, "additive"),
        ("2*a + 2*b", 8, "additive"),
    ],
)
def test_formulas_that_take_their_answers_equally_often_have_parts(text, p, basis):
    """A quotient has no answer where b is 0, squares have waves of one phase, a^3 + 2b is not linear: the parts add up to all logits' loss."""
    from epicycle.analysis.decomposition import decompose
    from epicycle.fourier.bases import BASES

    task = modular_task(TaskConfig(formulas=(text,), modulus=p))
    labels = np.full((p, p), -1)
    labels[tuple(task.operands.T)] = np.where(task.defined[0], task.labels[0], -1)
    logits = np.random.default_rng(0).standard_normal((p, p, p))
    found = decompose(logits, labels, (), "answer", basis=BASES[basis](p), controls=3)
    inside = np.outer(BASES[basis](p).support, BASES[basis](p).support)
    flat, right = logits[inside], labels[inside]
    values = np.unique(right)
    means = {v: flat[right == v].mean(0) for v in values}
    kept = np.stack([means[v] for v in right])  # waves of the answer are all functions of it
    loss = np.log(np.exp(kept).sum(1)) - kept[np.arange(len(kept)), right]
    assert found.losses["non-key"] == pytest.approx(loss.mean(), rel=1e-9)


def test_cells_of_the_tables(study):
    claim = claim_named("A5:2*a + b")
    assert [c.fraction for c in claim.conditions] == list(FRACTIONS)
    smallest = {0: 0.5, 1: 0.4, 2: 0.9}  # published: 0.5
    some = study(
        claim.conditions, lambda c, s: {"first": 2000} if c.fraction >= smallest[s] - 1e-9 else {"trained": 300_000}
    )
    assert [(r.value, r.holds) for r in grade(claim, some).readings] == [(0.5, True), (0.4, True), (0.9, False)]
    body = re.sub(r"<[^>]+>", "|", success(some).body)
    assert re.search(r"smallest r that groks\W+from scratch\W+2\*a \+ b\W+0\.9 \(0\.4\)", body)
    assert re.search(r"published\W+from scratch\W+2\*a \+ b\W+0\.5\W", body)
    assert len(claims_of(["T1"])) == 96 and len(claims_of(["A5"])) == 35


@pytest.mark.parametrize("claim", [*CLAIMS, *HELPED, *CELLS[::20]], ids=lambda claim: claim.id)
def test_every_graded_claim_can_be_asked_for_alone(claim, tmp_path, capsys):
    """The ledger names a command that runs just that one."""
    words = ["reproduce", "furuta2024", "--preset", "full", "--only", claim.id, "--no-train", "--out", str(tmp_path)]
    assert main(words) == (0 if not claim.conditions else 2)
    assert "got claim" not in capsys.readouterr().err
    assert {c.id for c in claims_of(["C", "J"])} == {c.id for c in CLAIMS} | {"C28a", "C28b"}


def test_a_cell_that_was_looked_at_too_shortly_says_so(study):
    claim = claim_named("T1:2*a + b:a*b:PG-E")
    found = grade(
        claim, study([TIMES, *claim.conditions], lambda c, s: {"first": 4000} if c == TIMES else {"trained": 50_000})
    )
    assert found.verdict == "undetermined" and "less than 300,000" in found.reason


def test_mixtures_that_help_and_plateau(study):
    claim = claim_named("C32")
    best = lambda c: {"tasks": dict.fromkeys(c.formulas)} if len(c.formulas) > 1 else {}  # noqa: E731
    found = grade(claim, study(claim.conditions, lambda c, s: {"trained": 300_000, "best": 0.1, **best(c)}))
    assert found.verdict == "confirmed"
    assert found.readings[0].value == pytest.approx(0.5 - 0.1, abs=0.02)


def test_nothing_is_said_of_what_was_hardly_trained(study):
    conditions = [scratch("a^2 + a*b + b^2"), scratch("2*a + b"), TIMES, PLUS, scratch("a + b", 0.5)]
    short = study(conditions, lambda c, s: {"trained": 8_000})
    for name in ("C11c", "C17", "C18b", "C20", "C2b"):
        assert verdict(name, short).verdict == "undetermined", name
    assert verdict("C33", short).verdict == "not run"


def test_no_fall_is_not_the_earliest_fall(study):
    found = study(
        [PLUS, scratch("a + b", 0.5)],
        lambda c, s: {"first": 2000, "ends": {("W_E", "ffd"): 0.1} if c == PLUS else None},
    )
    assert verdict("C20", found).verdict == "refuted"  # it grokked without a fall, so that this comes never
    assert verdict("C20", found).readings[0].value is None


def test_only_what_falls_falls_earlier(study):
    found = study(
        [PLUS, scratch("a + b", 0.5)],
        lambda c, s: {"first": 2000, "ends": {("W_E", "ffd"): 0.1} if c != PLUS or s == 2 else None},
    )
    readings = verdict("C20", found).readings
    assert [(r.holds, r.control is None) for r in readings] == [(True, True), (True, True), (False, False)]


def test_never_is_not_nearly_nine_tenths(study):
    claim = claim_named("A5:a^3 + a*b^2 + b")  # published: never
    late = study(claim.conditions, lambda c, s: {"first": 2000} if c.fraction == 0.9 else {"trained": 300_000})
    assert grade(claim, late).verdict == "refuted"


def test_a_source_that_had_not_grokked_tells_nothing(study):
    claim = claim_named("C26a")
    poor = study([MINUS, *claim.conditions], lambda c, s: {"trained": 300_000})
    found = grade(claim, poor)
    assert found.verdict == "undetermined" and "source had not grokked" in found.reason


def test_what_a_poor_source_would_tell_is_not_trained(study, tmp_path):
    onto = transfer("a - b", "a + b", "body")
    study([onto], lambda c, s: {"first": 20_000 if s else None} if c == MINUS else None)
    stage = furuta2024.wanted_runs(closure([onto]), PRESET, tmp_path)
    assert [(c.seed, c.frozen is not None) for c in stage] == [(0, False), (1, False), (2, False), (1, True), (2, True)]


def test_frozen_bodies_of_a_grokked_source(study):
    claim = claim_named("C26a")
    found = study(
        [MINUS, *claim.conditions],
        lambda c, s: {"first": 20_000, "trained": 22_000} if c == MINUS else {"trained": 300_000},
    )
    assert grade(claim, found).verdict == "confirmed"


def test_a_diverged_run_does_not_end_the_ledger(study):
    found = study([TIMES], lambda c, s: {"first": 4000})
    for seed in PRESET.seeds:
        found.finished(TIMES, seed).append_history({"step": 5100, "test_accuracy": 0.0, "train_accuracy": 0.0})
    again = Study(found.run, PRESET, (TIMES,))
    assert verdict("C11c", again).verdict == "confirmed"
    assert verdict("C12c", again).verdict == "refuted"


def test_a_study_of_before_there_was_a_choice_finds_its_transfers(tmp_path):
    """They were drawn by the checkpoint, and are other runs than those of today."""
    transfers = {seed: transfer("a + b", "2*a + b", "embedding") for seed in PRESET.seeds}
    run = furuta2024._study_run(PRESET, tuple(transfers.values()), tmp_path, None, ["C27a"])
    record = run.record()
    for drawn_by in ("run", "checkpoint"):
        found = furuta2024.read_study(run).configs
        assert {each.frozen.drawn_by for each in found.values() if each.frozen} == {drawn_by}
        del record["config"]["resolved"]["drawn_by"]
        run.update(config=record["config"])
        record["config"]["resolved"]["drawn_by"] = "run"


def test_moduli_are_kept_apart(tmp_path):
    stored = [
        furuta2024._study_run(PRESET, tuple(claims_of([name])[0].conditions), tmp_path, None, [name])
        for name in ("J59", "J113")
    ]
    assert stored[0].id != stored[1].id
    assert {c.modulus for c in furuta2024.read_study(stored[0]).conditions} == {59}
    moved = closure([transfer("a + b", "a*b", "body")._replace(modulus=59)])
    assert moved[0] == scratch("a + b")._replace(modulus=59, steps=10_000)


def test_no_source_helps_is_graded_both_ways(study):
    """Prose and table disagree in the paper: a table with exactly its four exceptions refutes one and confirms the other."""
    prose, table = claims_of(["C28"])
    known = set(table.published.split("; "))
    assert len(known) == 4

    def what(condition, seed):
        row = SMALLEST[condition.formulas[0]]
        smallest = row[-1]
        if condition.parts:
            smallest = row[SOURCES.index((condition.source, condition.parts[0]))]
        is_there = smallest is not None and condition.fraction >= smallest - 1e-9
        return {"first": 900} if is_there else {"trained": 300_000, "every": 100_000}

    rows = ("a^2 - b",)  # one row is enough for the counting, and quick to make
    conditions = [c for c in prose.conditions if c.formulas[0] in rows]
    made = study([*(scratch(s) for s in ("a + b", "a*b", "a - b")), *conditions],
                 lambda c, seed: {"first": 900} if c.formulas[0] not in rows else what(c, seed))  # fmt: skip
    cells = [(f"a^2 - b with the {part} of {source}", [c for c in conditions if (c.source, *c.parts) == (source, part)],
              [c for c in conditions if not c.parts]) for source, part in SOURCES[:-1]]  # fmt: skip
    readings = [
        accuracy.helped(cells, exceptions, made, 0)
        for exceptions in ((), [name for name in known if name.startswith("a^2 - b ")])
    ]
    assert [r.holds for r in readings] == [False, True]
    assert [(r.value, r.control) for r in readings] == [(2.0, 3.0)] * 2


def test_different_quantities_are_never_averaged(study):
    """A claim of several parts: seed 0 fails at one part, the others at another; no mean over both."""
    claim = claim_named("C14c")
    made = study(
        claim.conditions,
        lambda c, seed: {
            "first": 900,
            "ends": {
                ("W_L", "fcr"): 0.5 if (c.formulas[0] == "a^3 + b^3") == (seed == 0) else 0.9,
                ("W_L", "ffd"): 0.1,
            },
        },
    )
    entry = grade(claim, made)
    values = entry.as_json()
    assert len({r.what for r in entry.readings}) > 1
    assert values["measured"] is None and values["interval"] is None and values["control"] is None
    assert all(r["what"] and r["value"] is not None for r in values["readings"])


def test_a_short_stand_in_for_a_source_is_not_a_source_that_failed(study, monkeypatch):
    """Three seeds hold; the source of the fourth got 2,000 of its 10,000 steps."""
    four(monkeypatch)
    claim = claim_named("C27b")
    source = source_of(claim.conditions[0])
    found = study(claim.conditions, lambda c, s: {"first": 3000} if s < 3 or not c.parts else None)
    for seed in PRESET.seeds:
        run = found.finished(source, seed)
        run.update(steps=run.record()["steps"] | ({"first": 3000} if seed < 3 else {"first": None, "trained": 2000}))
    entry = grade(claim, found)
    assert entry.verdict == "undetermined" and [r.holds for r in entry.readings] == [True, True, True, None]


def test_unequal_bounds_leave_no_seed_out(study, monkeypatch):
    """C36, fourth seed: neither grokked, and the one from 50 % was looked at for 20,000 steps alone."""
    four(monkeypatch)
    claim = claim_named("C36")
    half = scratch("a + b", 0.5)
    short = lambda c, s: {"trained": 20_000 if c == half else 300_000, "best": 0.5}  # noqa: E731
    good = lambda c, s: {"first": 800 if c == half else 2600}  # noqa: E731
    assert (
        grade(claim, study(claim.conditions, lambda c, s: good(c, s) if s < 3 else short(c, s))).verdict
        == "undetermined"
    )


@pytest.mark.parametrize(("looked", "holds"), [(300_000, False), (5_000, False), (1_000, None)])
def test_hurting_is_refuted_by_a_grok_that_scratch_never_had(study, looked, holds):
    frozen, rival = scratch("a + b", 0.4), PLUS
    what = lambda c, s: {"first": 3000} if c == frozen else {"trained": looked, "best": 0.5, "every": 500}  # noqa: E731
    found = accuracy.faster(frozen, rival, study([frozen, rival], what), 0, factor=2, is_slower=True)
    assert (found.holds, found.is_censored) == (holds, holds is None)


def test_a_poor_source_does_not_hide_runs_that_were_stopped_early(study, monkeypatch):
    four(monkeypatch)
    claim = claim_named("C26b")
    failing = claim.conditions[0].source
    how = lambda c, s: {"trained": 20_000 if s == 3 else 300_000, "best": 0.5} if c.source else {"first": 3000}  # noqa: E731
    found = study(claim.conditions, how)
    for c in {source_of(c) for c in claim.conditions}:
        for seed in PRESET.seeds:
            run = found.finished(c, seed)
            first = None if seed == 3 and c.formulas == (failing,) else 3000
            run.update(steps=run.record()["steps"] | {"first": first, "trained": c.steps})
    entry = grade(claim, found)
    assert entry.verdict == "undetermined" and entry.readings[3].is_censored


def test_a_mixture_is_learned_at_one_evaluation(study, tmp_path):
    """Every formula is at 0.995 once, never all at the same time: value, rule and verdict agree that it was not learned."""
    claim = claim_named("C30a")
    [condition] = claim.conditions
    found = study([condition], lambda c, s: {"trained": 300_000, "every": 1000, "tasks": dict.fromkeys(c.formulas)})
    for seed in PRESET.seeds:
        file = found.finished(condition, seed).path / "history.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for i, name in enumerate(condition.formulas):
            lines[10 + i]["tasks"][name]["test_accuracy"] = 0.995
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = grade(claim, Study(found.run, PRESET, (condition,)))
    assert entry.verdict == "confirmed" and entry.readings[0].value == 0.5


def test_what_is_certain_is_told_whatever_else_was_not_run(study):
    late = {PLUS: {"trained": 8_000, "best": 0.5}, TIMES: {"first": 4000}, MINUS: {"first": 50_000, "trained": 52_000}}
    assert verdict("C2a", study([PLUS, TIMES, MINUS], lambda c, s: late[c])).verdict == "refuted"
    claim = claim_named("C5b")
    decide = {scratch(f"a^{n} + b^{n}") for n in (5, 7)}
    some = study(claim.conditions, lambda c, s: {"first": 3000} if c in decide else None)
    assert grade(claim, some).verdict == "confirmed"


def test_what_ended_too_early_to_be_read_is_not_called_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PRESET", PRESET._replace(max_steps=7_000))
    for seed in PRESET.seeds:
        made(tmp_path, PLUS, seed, first=6_000, trained=7_000, ends={("W_E", "ffd"): 0.1})
    study = Study(create_run(tmp_path, "study", {"kind": "study"}, {}, {}), PRESETS["full"], (PLUS,), stand_ins=True)
    assert grade(claims_of(["C1a"])[0], study).verdict == "confirmed"
    entry = grade(claims_of(["C11a"])[0], study)
    assert entry.verdict == "undetermined" and "ended at 7,000, before the step at which it is read" in entry.reason
    assert entry.needs == "longer training of seed 0, 1, 2"
