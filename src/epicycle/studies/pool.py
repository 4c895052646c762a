"""One ledger of several: readings of seeds that were trained in different places, graded together.

Of a seed that several ledgers have, readings that say the same count once. Those that differ all count: two ledgers that contradict each
other, and one that was still open at a step by which the other's run had grokked, are two trainings of one seed (versions and, before the
compiled step was the same on all, processors round differently), and to keep one of them would choose by the outcome. Readings are pooled only where statement, rule and the settings that
they depend on are the same.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle._files import atomic
from epicycle.runs.directory import Run, create_run
from epicycle.runs.provenance import provenance
from epicycle.studies.furuta2024 import closure
from epicycle.studies.ledger import Claim, Entry, Reading, grade
from epicycle.studies.stored import Graded, Ledger, Training, read_ledger


class Pooled(NamedTuple):
    """A claim graded on the readings of several ledgers: the ledger of each reading, what is not pooled, and whether its rule is today's.

    `elsewhere`: verdict and name of each ledger that is not pooled.
    """

    entry: Entry
    ledgers: tuple[str, ...]
    apart: tuple[str, ...]
    rerun: str
    is_current: bool
    elsewhere: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object of the ledger, where each reading names the one that it is from."""
        found = self.entry.as_json()
        readings = [reading | {"ledger": name} for reading, name in zip(found["readings"], self.ledgers, strict=True)]
        return found | {"readings": readings, "apart": list(self.apart), "rerun": self.rerun}


def make_pool(
    ledgers: Sequence[Ledger], root: Path | str, given: dict[str, Any], files: Sequence[str], claims: Sequence[str]
) -> Run:
    """A run directory with a copy of every ledger; not finished yet.

    Args:
        ledgers: What is pooled.
        root: Directory of all runs.
        given: What the user typed.
        files: The ledgers' files, as the user named them.
        claims: Ids of the claims that are asked for; all if empty.
    """
    values = {"kind": "study", "paper": ledgers[0].paper, "claims": list(claims),
              "pooled": [{"name": each.name, "sha256": each.sha256} for each in ledgers]}  # fmt: skip
    run = create_run(Path(root), f"{ledgers[0].paper}-pooled", values, given, provenance())
    with run.lock():
        for i, each in enumerate(ledgers):
            with atomic(run.path / "ledgers" / f"{i}.json") as scratch:
                scratch.write_bytes(each.content)
        run.update(files=list(files))
    return run


def read_pool(run: Run) -> list[Ledger]:
    """The ledgers that a run directory holds, in the order in which they were given."""
    names = [each["name"] for each in run.record()["config"]["resolved"]["pooled"]]
    return [read_ledger(run.path / "ledgers" / f"{i}.json", name) for i, name in enumerate(names)]


def pooled(ledgers: Sequence[Ledger], claims: Sequence[Claim]) -> list[Pooled]:
    """Every claim of some ledgers, graded on the readings of all that share its statement, rule and settings, in the order of their numbers.

    Where ledgers differ in these, those are pooled that are of today's rule, if any are; that have as many seeds as a verdict needs; that
    looked longest before weights are read; that have the most seeds; that looked longest. What the others say is named.

    Args:
        ledgers: Of one paper.
        claims: The paper's claims, as they are graded now.
    """
    now = {claim.id: claim for claim in claims}
    names = dict.fromkeys(each.claim.id for ledger in ledgers for each in ledger.graded)
    return [_pool(name, ledgers, now.get(name)) for name in sorted(names, key=_order)]


def _pool(name: str, ledgers: Sequence[Ledger], now: Claim | None) -> Pooled:
    groups: dict[str, list[tuple[Ledger, Graded]]] = {}
    for ledger in ledgers:
        for each in ledger.graded:
            if each.claim.id == name:
                key = json.dumps([each.claim.statement, each.claim.rule, ledger.setting], sort_keys=True)
                groups.setdefault(key, []).append((ledger, each))

    def rank(group: list[tuple[Ledger, Graded]]) -> tuple[bool, bool, bool, tuple[int, ...], int, int]:
        there = [(ledger, r) for ledger, each in group for r in each.readings if r.missing != "all"]
        bound, seeds = max((ledger.bound for ledger, _ in there), default=0), len({r.seed for _, r in there})
        least = now.least if now else group[0][1].claim.least
        read = tuple(group[0][0].setting.get(key, 0) for key in ("min_steps", "weights read up to step"))
        return bool(there), _is_same(group[0][1].claim, now), seeds >= least, read, seeds, bound

    best = max(groups.values(), key=rank)
    first = best[0][1].claim
    claim = now if now is not None and _is_same(first, now) else first._replace(least=now.least if now else first.least, conditions=now.conditions if now else ())  # fmt: skip
    run = [(ledger, each) for ledger, each in best if each.verdict != "not run"] or best
    by_seed: dict[int, list[tuple[Ledger, Reading]]] = {}
    for ledger, each in run:
        for reading in each.readings:
            by_seed.setdefault(reading.seed, []).append((ledger, reading))
    chosen = [one for seed in sorted(by_seed) for one in _distinct(claim, by_seed[seed])]
    left = [one for group in groups.values() if group is not best for one in group if one[1].verdict != "not run"]
    apart = [
        f"{each.verdict} in {ledger.name}, which is not pooled: {_difference(ledger, each.claim, best[0][0], first)}"
        for ledger, each in left
    ]
    if now is not None and not _is_same(first, now) and chosen:
        apart.append(f"today it is another: {now.statement} Rule: {now.rule}")
    unit = "seeds" if len(chosen) == len(by_seed) else f"trainings of {len(by_seed)} seeds"
    entry = grade(claim._replace(measure=lambda _: [reading for _, reading in chosen]), None, unit=unit)
    rerun = max(run, key=lambda one: one[0].bound)[1].rerun
    names = tuple(ledger.name for ledger, _ in chosen)
    elsewhere = tuple((each.verdict, ledger.name) for ledger, each in left)
    return Pooled(entry, names, tuple(apart), rerun, _is_same(first, now), elsewhere)


def _is_same(claim: Claim, now: Claim | None) -> bool:
    return now is not None and (claim.statement, claim.rule) == (now.statement, now.rule)


def _difference(ledger: Ledger, claim: Claim, other: Ledger, its: Claim) -> str:
    """Why a ledger's readings are not pooled with another's."""
    if claim.rule != its.rule:
        return f"its rule is {claim.rule}"
    if claim.statement != its.statement:
        return f"it says: {claim.statement}"
    names = [key for key in {**other.setting, **ledger.setting} if ledger.setting.get(key) != other.setting.get(key)]
    return "its settings are others: " + ", ".join(f"{key} {ledger.setting.get(key)}" for key in names)


def _distinct(claim: Claim, readings: Sequence[tuple[Ledger, Reading]]) -> list[tuple[Ledger, Reading]]:
    """The readings of one seed that count: one of each outcome, and one that is open although another's run had grokked by then.

    What is open otherwise may be the beginning of the same training, and counts only where nothing is final; what can tell nothing counts
    only where nothing is decided, and what is not there where nothing else is.
    """
    there = [one for one in readings if one[1].missing != "all"]
    final = [one for one in there if one[1].holds is not None or not one[1].is_censored]
    open_ = sorted((one for one in there if one not in final), key=lambda one: -_looked(claim, *one))
    if not final:
        return [next(iter([*open_, *readings]))]
    decided = [
        next(one for one in final if one[1].holds is holds)
        for holds in (True, False)
        if holds in [reading.holds for _, reading in final]
    ]
    apart = [
        (ledger, reading._replace(note=f"{reading.note} (another training of this seed had grokked by then)"))
        for ledger, reading in open_
        if any(_went_apart(claim, ledger, other, reading.seed) for other, _ in final)
    ]
    return [*(decided or final[:1]), *apart[:1]]


def _own(claim: Claim, ledger: Ledger, seed: int) -> list[Training]:
    """Trainings of a claim's conditions and of their sources."""
    formulas = {(c.formulas, c.modulus) for c in claim.conditions} | {
        ((c.source,), c.modulus) for c in claim.conditions
    }
    return [one for one in ledger.trainings if one.seed == seed and (one.condition.formulas, one.condition.modulus) in formulas and
            (one.condition in claim.conditions or one.condition.steps is not None)]  # fmt: skip


def _looked(claim: Claim, ledger: Ledger, reading: Reading) -> int:
    """Steps of a reading's shortest run without a grok."""
    return min((one.trained for one in _own(claim, ledger, reading.seed) if one.first is None), default=ledger.bound)


def _went_apart(claim: Claim, open_: Ledger, decided: Ledger, seed: int) -> bool:
    """Whether a run without a grok was followed beyond the step by which the other ledger's run of the same condition had grokked."""
    grokked = {one.condition: one.first for one in _own(claim, decided, seed) if one.first is not None}
    return any(
        one.first is None and one.trained >= grokked.get(one.condition, math.inf) for one in _own(claim, open_, seed)
    )


def _order(claim: str) -> tuple[str, int, str]:
    """C2a before C10: letters, number, rest."""
    found = re.match(r"([A-Za-z]*)(\d{0,9})(.*)", claim, re.DOTALL | re.ASCII)
    letters, digits, rest = found.groups() if found else (claim, "", "")
    return letters, int(digits or 0), rest


def trainings(ledgers: Sequence[Ledger]) -> list[Training]:
    """Every training once, as far as any ledger followed it: a run cut at a fixed step is the beginning of a longer one.

    Versions round differently, so that one seed can go several ways: runs that grokked at different steps are different trainings, and so
    is one without a grok that was looked at beyond those steps.
    """
    found: dict[tuple[Any, ...], list[Training]] = {}
    for ledger in ledgers:
        for one in ledger.trainings:
            found.setdefault((one.condition._replace(steps=None), one.seed, one.source), []).append(one)
    kept = [training for several in found.values() for training in _ways(several)]
    return sorted(kept, key=lambda one: (bool(one.condition.parts), one.label, one.seed, one.first or math.inf))


def looking_at(found: Sequence[Pooled], training: Training, ledgers: Sequence[Ledger]) -> list[str]:
    """Ids of the claims with a reading of a training, or of what was trained on its weights; of today's rule, since it names what is looked at.

    The ledger of the reading has the training, or a beginning of it.
    """
    own = training.condition._replace(steps=None)
    having = {ledger.name for ledger in ledgers if any(_is_beginning(one, training) for one in ledger.trainings)}
    return [each.entry.claim.id for each in found if each.is_current and own in [c._replace(steps=None) for c in closure(each.entry.claim.conditions)]
            and any(r.seed == training.seed and r.missing != "all" and name in having for name, r in zip(each.ledgers, each.entry.readings, strict=True))]  # fmt: skip


def _is_beginning(one: Training, whole: Training) -> bool:
    """Whether a training of one ledger is, as far as it goes, the one that another followed further."""
    same = (one.condition._replace(steps=None), one.seed, one.source) == (whole.condition._replace(steps=None), whole.seed, whole.source)  # fmt: skip
    return same and (one.first == whole.first or (one.first is None and one.trained < (whole.first or math.inf)))


def ungraded(found: Sequence[Pooled], claims: Sequence[Claim]) -> list[str]:
    """Ids of the paper's claims that none of some ledgers has graded, cells of a table as their number: C3a, 94 of T1."""
    graded = {each.entry.claim.id for each in found if each.entry.verdict != "not run"}
    missing = [claim.id for claim in claims if claim.id not in graded]
    cells = [name.partition(":")[0] for name in missing if ":" in name]
    return [name for name in missing if ":" not in name] + [
        f"{cells.count(table)} of {table}" for table in dict.fromkeys(cells)
    ]


def _ways(several: Sequence[Training]) -> list[Training]:
    """The longest of each step of grokking, and the longest without one that had none beyond all of these."""
    by_first: dict[int | None, Training] = {}
    for one in sorted(several, key=lambda one: one.trained):
        by_first[one.first] = one
    without = by_first.pop(None, None)
    if without is not None and without.trained >= max(filter(None, by_first), default=0):
        return [*by_first.values(), without]
    return list(by_first.values())
