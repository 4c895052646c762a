"""A claim as data, its verdict, and the ledger of all of them.

A verdict is given on at least three seeds. Where what is measured and what was published stand together, they are in fields of
their own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from epicycle.analysis.statistics import rate

Verdict = Literal["confirmed", "refuted", "undetermined", "not run"]
Cause = Literal["", "seeds disagree", "runs missing", "runs too short", "nothing to tell by", "too few seeds"]
"""Why a claim is undetermined. The first is known, and no further reading can confirm or refute it; the others are not known yet."""
MIN_SEEDS = 3


def whole(name: str) -> str:
    """The claim that a part belongs to: P8 for P8a."""
    return name.rstrip("abcdefgh")


def names_of(name: str) -> set[str]:
    """What a claim can be asked for by: P8a by P8, a cell of a table by the table's name, C11 by C."""
    table = name.partition(":")[0]
    return {name, whole(name), table, whole(table).rstrip("0123456789")}


class Reading(NamedTuple):
    """What one seed shows of a claim: a number, its control, and whether the rule holds; None where it cannot be told."""

    seed: int
    value: float | None
    control: float | None
    holds: bool | None
    note: str = ""
    what: str = ""
    """Which quantity the value is, where a claim has several; values of different ones are never averaged."""
    is_censored: bool = False
    """True if more of the same run could tell: such a seed is no exception that may be left out."""
    missing: Literal["", "some", "all"] = ""
    """Whether some of the runs that it needs are not there, or none is."""


class Claim(NamedTuple):
    """A statement of a paper in our words, and how it is graded.

    `measure(study)` gives one reading per seed. `rule` says when a reading holds. `needs` says what else would settle it.
    """

    id: str
    statement: str
    source: str
    published: str
    measured: str
    control: str
    rule: str
    needs: str
    measure: Callable[[Any], Sequence[Reading]] | None
    conditions: tuple[Any, ...] = ()
    """What has to be run for it, where the study is made of separate conditions."""
    least: int = MIN_SEEDS
    """Readings that a verdict needs; 1 where seeds of training have no part in it."""


class Entry(NamedTuple):
    """One line of the ledger."""

    claim: Claim
    verdict: Verdict
    readings: tuple[Reading, ...]
    reason: str

    @property
    def needs(self) -> str:
        """What would settle it; nothing where it is settled."""
        if self.verdict in ("confirmed", "refuted"):
            return ""
        if not self.readings:
            return self.claim.needs
        open_ = [r for r in self.readings if r.holds is None]
        absent = [str(r.seed) for r in open_ if r.missing]
        short = [str(r.seed) for r in open_ if r.is_censored and not r.missing]
        wanted = [f"the missing runs of seed {', '.join(absent)}"] if absent else []
        wanted += [f"longer training of seed {', '.join(short)}"] if short else []
        if self.cause == "seeds disagree":
            wanted.append("more seeds, which can only narrow how often it holds")
        return ", ".join(wanted) or self.claim.needs

    @property
    def brief(self) -> str:
        """The reason up to the notes of single seeds, and what would settle it where that does not say so already."""
        reason = self.reason.partition(". ")[0]
        is_said = self.cause == "seeds disagree" or self.needs in ("", reason)
        return reason if is_said else f"{reason}; would be settled by {self.needs}"

    @property
    def cause(self) -> Cause:
        """Why it is undetermined, the first of what applies; nothing if it is not."""
        open_ = [r for r in self.readings if r.holds is None]
        if self.verdict != "undetermined":
            return ""
        if {r.holds for r in self.readings} >= {True, False}:
            return "seeds disagree"
        if any(r.missing for r in open_):
            return "runs missing"
        if any(r.is_censored for r in open_):
            return "runs too short"
        return "nothing to tell by" if open_ else "too few seeds"

    def as_json(self) -> dict[str, Any]:
        """The object of `epicycle reproduce --json`; `interval` is the range over seeds.

        Both are None where seeds show different quantities: then only the readings say something. Controls are those of the seeds that
        have a value.
        """
        told = [r for r in self.readings if r.value is not None]
        is_one = len({r.what for r in told}) <= 1
        values = [r.value for r in told if r.value is not None] if is_one else []
        controls = [r.control for r in told if r.control is not None] if is_one else []
        return {
            "id": self.claim.id,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "verdict": self.verdict,
            "cause": self.cause,
            "reason": self.reason,
            "needs": self.needs,
            "published": self.claim.published,
            "measured": float(np.mean(values)) if values else None,
            "measured_is": self.claim.measured + (f" ({told[0].what})" if values and told[0].what else ""),
            "interval": [min(values), max(values)] if values else None,
            "control": float(np.mean(controls)) if controls else None,
            "control_is": self.claim.control,
            "rule": self.claim.rule,
            "seeds": len([r for r in self.readings if r.holds is not None]),
            "readings": [r._asdict() for r in self.readings],
        }


def grade(claim: Claim, study: Any, *, least: int | None = None, unit: str = "seeds") -> Entry:
    """Verdict of one claim: confirmed if the rule holds in every seed of at least three, refuted if in none, else undetermined.

    Seeds that cannot tell anything (a run that did not learn has nothing to follow) are left out; where one was only not looked at
    long enough, there is no verdict.

    Args:
        claim: What is graded.
        study: What its measure reads.
        least: Readings that a verdict needs; what the claim says if None.
        unit: What a reading is of, if not a seed.
    """
    if claim.measure is None:
        return Entry(claim, "not run", (), claim.needs)
    if claim.least == 1:
        unit = "readings"  # nothing is trained
    least = claim.least if least is None else least
    readings = tuple(claim.measure(study))
    if not readings:
        return Entry(claim, "not run", (), claim.needs)
    if all(r.missing == "all" for r in readings):
        return Entry(claim, "not run", readings, "; ".join(dict.fromkeys(r.note for r in readings)))
    told = [r for r in readings if r.holds is not None]
    censored = [r for r in readings if r.holds is None and r.is_censored]
    holds = sum(bool(r.holds) for r in told)
    if censored and len(told) >= least:
        return Entry(
            claim,
            "undetermined",
            readings,
            f"the rule holds in {holds} of {len(told)} {unit}; {len(censored)} of {len(readings)} were not looked at long enough or are not there, and leaving them out would choose by the outcome. {censored[0].note}",
        )
    if len(told) < least:
        notes = "; ".join(dict.fromkeys(r.note for r in readings if r.note))
        return Entry(
            claim,
            "undetermined",
            readings,
            f"{len(told)} of {len(readings)} {unit} could be read{f' (the rule holds in {holds})' if told else ''}, {least} {'is' if least == 1 else 'are'} needed. {notes or claim.needs}",
        )
    often = rate(holds, len(told))
    is_sample = least > 1  # one reading that needs no seeds is no draw of anything
    possible = f"; a share of {often.low:.0%} to {often.high:.0%} (95 %, Wilson) is possible" * is_sample
    if holds == len(told):
        return Entry(claim, "confirmed", readings, f"the rule holds in {holds} of {len(told)} {unit}{possible}")
    if holds == 0:
        return Entry(claim, "refuted", readings, f"the rule holds in none of {len(told)} {unit}{possible}")
    narrow = f", and more {unit} would narrow it" * is_sample
    said = f"the rule holds in {holds} of {len(told)} {unit}, so neither always nor never{possible}{narrow}"
    return Entry(claim, "undetermined", readings, said)
