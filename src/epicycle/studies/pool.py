"""One ledger of several: readings of seeds that were trained in different places, graded together.

Of a seed that several ledgers have, readings that say the same count once. Those that differ all count: two ledgers that contradict each
other, and one that was still open at a step by which the other's run had grokked, are two trainings of one seed (processors round
differently), and to keep one of them would choose by the outcome. Readings are pooled only where statement, rule and the settings that
they depend on are the same.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from epicycle._files import atomic
from epicycle.errors import ConfigError
from epicycle.runs.directory import Run, create_run
from epicycle.runs.provenance import provenance
from epicycle.studies.furuta2024 import LATE
from epicycle.studies.ledger import Claim, Entry, Reading, Verdict, grade
from epicycle.sweep.grid import Condition, condition_of


class Training(NamedTuple):
    """A run as a ledger has it. `source` is the SHA-256 of the checkpoint that its frozen weights came from."""

    ledger: str
    condition: Condition
    seed: int
    source: str | None
    first: int | None
    trained: int
    accuracy: float

    @property
    def label(self) -> str:
        """How tables name it, whatever step it was cut at."""
        return self.condition._replace(steps=None).label

    def as_json(self) -> dict[str, Any]:
        """Steps, and test accuracy at the end."""
        return {"label": self.label, "seed": self.seed, "grokked_at": self.first, "trained_for": self.trained, "test_accuracy": self.accuracy, "ledger": self.ledger}  # fmt: skip


class Graded(NamedTuple):
    """A claim as a ledger graded it."""

    claim: Claim
    verdict: str
    readings: tuple[Reading, ...]
    rerun: str


class Ledger(NamedTuple):
    """What a study wrote beside its page.

    `bound`: steps after which a run was given up, 0 where all are trained equally long. `setting`: what readings depend on besides their
    seed and how long runs were looked at.
    """

    name: str
    paper: str
    bound: int
    setting: dict[str, Any]
    graded: tuple[Graded, ...]
    trainings: tuple[Training, ...]
    command: str
    revision: str
    content: bytes

    @property
    def seeds(self) -> list[int]:
        """Seeds of its readings."""
        return sorted({reading.seed for each in self.graded for reading in each.readings})

    def as_json(self) -> dict[str, Any]:
        """What a page says of it."""
        return {"name": self.name, "bound": self.bound, "seeds": self.seeds, "claims": len(self.graded), "revision": self.revision, "command": self.command,
                "sha256": hashlib.sha256(self.content).hexdigest()}  # fmt: skip


class Pooled(NamedTuple):
    """A claim graded on the readings of several ledgers: the ledger of each reading, and what is not pooled."""

    entry: Entry
    ledgers: tuple[str, ...]
    apart: tuple[str, ...]
    rerun: str

    def as_json(self) -> dict[str, Any]:
        """The object of the ledger, where each reading names the one that it is from."""
        found = self.entry.as_json()
        readings = [reading | {"ledger": name} for reading, name in zip(found["readings"], self.ledgers, strict=True)]
        return found | {"readings": readings, "apart": list(self.apart), "rerun": self.rerun}


def read_ledgers(paths: Sequence[Path | str]) -> list[Ledger]:
    """The ledgers of one paper: the report.json of studies, or their directories.

    Raises:
        ConfigError: A file is no ledger of seeds, two have one name, they are of different papers, or one is given twice.
    """
    found: list[Ledger] = []
    for path in map(Path, paths):
        ledger = _read(path)
        if same := [other for other in found if other.content == ledger.content]:
            raise ConfigError(f"got {path}, which is {same[0].name} again; expected each ledger once. Leave one out.")
        if ledger.name in [other.name for other in found]:
            raise ConfigError(
                f"got two ledgers named {ledger.name}; expected different names, which readings are told apart by. Rename {path}."
            )
        found.append(ledger)
    papers = {ledger.paper for ledger in found}
    if len(papers) > 1:
        raise ConfigError(f"got ledgers of {' and '.join(sorted(papers))}; expected one paper. Pool each by itself.")
    return found


def _read(path: Path, name: str = "") -> Ledger:
    try:
        path = path / "report.json" if path.is_dir() else path
        name = name or (path.resolve().parent.name if path.name == "report.json" else path.stem)
        content = path.read_bytes()
        return _parsed(_text(name), json.loads(content), content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"got {str(path)!r}; expected the report.json of a finished `epicycle reproduce furuta2024` or `zhou2024`, with readings by seed ({error!r}). Name such a file."
        ) from error


def _parsed(name: str, numbers: Mapping[str, Any], content: bytes) -> Ledger:
    preset = numbers["preset"]
    if isinstance(preset, str):
        paper, bound = _text(numbers["config"]["paper"]), 0
        if paper != "zhou2024" or "seeds" not in numbers["config"]:
            raise ValueError("no study of seeds")
        beside = ("kind", "paper", "name", "seeds", "arms", "extras")
        setting = {key: value for key, value in numbers["config"].items() if key not in beside}
    else:
        paper, bound, least = "furuta2024", _count(preset["max_steps"]), _count(preset["min_steps"])
        setting = {"min_steps": least, "hold_evaluations": _count(preset["hold_evaluations"]),
                   "weights read up to step": min(max(LATE.values()) * least, bound)}  # fmt: skip
    graded = tuple(map(_graded, _list(numbers["claims"])))
    if not graded:
        raise ValueError("no claims")
    trainings = tuple(_training(name, run) for run in _list(numbers.get("runs", [])))
    revision = _text(numbers["provenance"].get("revision") or "installed")[:12]
    return Ledger(name, paper, bound, setting, graded, trainings, _text(numbers.get("command", "")), revision, content)


def _graded(entry: Mapping[str, Any]) -> Graded:
    readings = tuple(map(_reading, _list(entry["readings"])))
    if len({reading.seed for reading in readings}) < len(readings):
        raise ValueError(f"one seed twice in {entry['id']}")
    if entry["verdict"] not in get_args(Verdict):
        raise ValueError(f"verdict {entry['verdict']!r}")
    what = next((reading.what for reading in readings if reading.value is not None), "")
    measured = _text(entry["measured_is"]).removesuffix(f" ({what})")
    name, statement, source, published = (_text(entry[key]) for key in ("id", "statement", "source", "published"))
    control, rule = _text(entry["control_is"]), _text(entry["rule"])
    claim = Claim(name, statement, source, published, measured, control, rule, "more seeds, or more steps", lambda _: ())  # fmt: skip
    return Graded(claim, entry["verdict"], readings, _text(entry.get("rerun", "")))


def _reading(values: Mapping[str, Any]) -> Reading:
    holds, is_censored, missing = values["holds"], values.get("is_censored", False), values.get("missing", "")
    if not (holds is None or isinstance(holds, bool)) or not isinstance(is_censored, bool) or missing not in ("", "some", "all"):  # fmt: skip
        raise ValueError(f"holds {holds!r}, is_censored {is_censored!r}, missing {missing!r}")
    value, control = (None if values[key] is None else _number(values[key]) for key in ("value", "control"))
    note, what = _text(values["note"]), _text(values.get("what", ""))
    return Reading(_count(values["seed"]), value, control, holds, note, what, is_censored, missing)


def _training(ledger: str, run: Mapping[str, Any]) -> Training:
    condition = condition_of(run["condition"])
    fraction, modulus = _number(condition.fraction), _count(condition.modulus)
    texts = [_text(each) for each in (*condition.formulas, *condition.parts, condition.source or "")]
    steps, source = run["steps"], run.get("source") or {}
    first = None if steps["first"] is None else _count(steps["first"])
    _ = fraction, modulus, texts, None if condition.steps is None else _count(condition.steps)
    sha = None if source.get("sha256") is None else _text(source["sha256"])
    accuracy = _number(run["final"]["test_accuracy"])
    return Training(ledger, condition, _count(run["seed"]), sha, first, _count(steps["trained"]), accuracy)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r:.80} is no printable text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"{value!r:.80} is no whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.80} is no number")
    return float(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.80} is no list")
    return value


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
              "pooled": [{"name": each.name, "sha256": hashlib.sha256(each.content).hexdigest()} for each in ledgers]}  # fmt: skip
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
    return [_read(run.path / "ledgers" / f"{i}.json", name) for i, name in enumerate(names)]


def pooled(ledgers: Sequence[Ledger], claims: Sequence[Claim]) -> list[Pooled]:
    """Every claim of some ledgers, graded on the readings of all that share its statement, rule and settings, in the order of their numbers.

    Where ledgers differ in these, those are pooled that have the most seeds (of equals those that looked longest): of today's rule if any
    are; what the others say is named.

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

    def rank(group: list[tuple[Ledger, Graded]]) -> tuple[bool, bool, int, int]:
        there = [(ledger, r) for ledger, each in group for r in each.readings if r.missing != "all"]
        bound = max((ledger.bound for ledger, _ in there), default=0)
        return bool(there), _is_same(group[0][1].claim, now), len({r.seed for _, r in there}), bound

    best = max(groups.values(), key=rank)
    first = best[0][1].claim
    claim = now if now is not None and _is_same(first, now) else first._replace(least=now.least if now else first.least, conditions=now.conditions if now else ())  # fmt: skip
    run = [(ledger, each) for ledger, each in best if each.verdict != "not run"] or best
    by_seed: dict[int, list[tuple[Ledger, Reading]]] = {}
    for ledger, each in run:
        for reading in each.readings:
            by_seed.setdefault(reading.seed, []).append((ledger, reading))
    chosen = [one for seed in sorted(by_seed) for one in _distinct(claim, by_seed[seed])]
    apart = [
        f"{each.verdict} in {ledger.name}, which is not pooled: {_difference(ledger, each.claim, best[0][0], first)}"
        for group in groups.values()
        if group is not best
        for ledger, each in group
        if each.verdict != "not run"
    ]
    if now is not None and not _is_same(first, now) and chosen:
        apart.append(f"today it is another: {now.statement} Rule: {now.rule}")
    unit = "seeds" if len(chosen) == len(by_seed) else f"trainings of {len(by_seed)} seeds"
    entry = grade(claim._replace(measure=lambda _: [reading for _, reading in chosen]), None, unit=unit)
    rerun = max(run, key=lambda one: one[0].bound)[1].rerun
    return Pooled(entry, tuple(ledger.name for ledger, _ in chosen), tuple(apart), rerun)


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

    Processors round differently, so that one seed can go two ways: where one training grokked and another was still looked at after that
    step without a grok, both are there.
    """
    found: dict[tuple[Any, ...], list[Training]] = {}
    for ledger in ledgers:
        for one in ledger.trainings:
            found.setdefault((one.condition._replace(steps=None), one.seed, one.source), []).append(one)
    kept = [training for several in found.values() for training in _ways(several)]
    return sorted(kept, key=lambda one: (bool(one.condition.parts), one.label, one.seed))


def _ways(several: Sequence[Training]) -> list[Training]:
    """The longest that grokked, and the longest that had not by then; else the longest."""
    with_grok = [one for one in several if one.first is not None]
    if not with_grok:
        return [max(several, key=lambda one: one.trained)]
    best = max(with_grok, key=lambda one: one.trained)
    others = [one for one in several if one.first is None and one.trained >= (best.first or 0)]
    return [best, *([max(others, key=lambda one: one.trained)] if others else [])]
