"""One ledger of several: readings of seeds that were trained in different places, graded together.

A seed counts once. Where several ledgers have it, the reading counts that is final rather than open, then the one whose runs were looked
at longest, then the first given; never the one that says a certain thing. What other ledgers say otherwise is named. Readings are pooled
only where the rule and the settings that they depend on are the same.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle._files import atomic
from epicycle.errors import ConfigError
from epicycle.runs.directory import Run, create_run
from epicycle.runs.provenance import provenance
from epicycle.studies.ledger import Claim, Entry, Reading, grade
from epicycle.sweep.grid import condition_of


class Ledger(NamedTuple):
    """The numbers that a study wrote beside its page, by the name of their file."""

    name: str
    numbers: dict[str, Any]
    content: bytes

    @property
    def paper(self) -> str:
        """Whose claims they are."""
        return "furuta2024" if isinstance(self.numbers["preset"], dict) else self.numbers["config"]["paper"]

    @property
    def bound(self) -> int:
        """Steps after which a run was given up; 0 where all are trained equally long."""
        preset = self.numbers["preset"]
        return preset["max_steps"] if isinstance(preset, dict) else 0

    @property
    def setting(self) -> dict[str, Any]:
        """What readings depend on besides their seed and how long runs were looked at."""
        preset = self.numbers["preset"]
        if isinstance(preset, dict):
            return {name: preset[name] for name in ("min_steps", "hold_evaluations")}
        return {name: value for name, value in self.numbers["config"].items() if name not in ("name", "seeds")}

    @property
    def seeds(self) -> list[int]:
        """Seeds of its readings."""
        return sorted({reading["seed"] for entry in self.numbers["claims"] for reading in entry["readings"]})


class Pooled(NamedTuple):
    """A claim graded on the readings of several ledgers: the ledger of each reading, and what others say otherwise."""

    entry: Entry
    ledgers: tuple[str, ...]
    otherwise: tuple[str, ...]
    rerun: str
    """The shell command of the ledger that ran it longest; empty where it has none."""

    def as_json(self) -> dict[str, Any]:
        """The object of the ledger, where each reading names the one that it is from."""
        found = self.entry.as_json()
        readings = [reading | {"ledger": name} for reading, name in zip(found["readings"], self.ledgers, strict=True)]
        return found | {"readings": readings, "otherwise": list(self.otherwise), "rerun": self.rerun}


class Training(NamedTuple):
    """A run as far as any ledger followed it: the summary that the ledger has of it."""

    ledger: str
    run: dict[str, Any]

    @property
    def first(self) -> int | None:
        """Step at which it grokked."""
        return self.run["steps"]["first"]

    @property
    def trained(self) -> int:
        """Steps it was trained for."""
        return self.run["steps"]["trained"]


def read_ledgers(paths: Sequence[Path | str]) -> list[Ledger]:
    """The ledgers of one paper.

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


def _read(path: Path) -> Ledger:
    path = path / "report.json" if path.is_dir() else path
    try:
        content = path.read_bytes()
        ledger = Ledger(
            path.resolve().parent.name if path.name == "report.json" else path.stem, json.loads(content), content
        )
        _check(ledger)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"got {path}; expected the report.json of a finished `epicycle reproduce furuta2024` or `zhou2024`, with readings by seed. Name such a file."
        ) from error
    return ledger


def _check(ledger: Ledger) -> None:
    """Touch all that is read later, so that what is missing is said at once."""
    _ = ledger.paper, ledger.bound, ledger.setting, ledger.numbers["provenance"].get("revision")
    if "config" in ledger.numbers:
        _ = ledger.numbers["config"]["seeds"]  # a study of given models has none
    for entry in ledger.numbers["claims"]:
        _ = _claim(entry, None), entry["verdict"], _readings(entry)
    for run in ledger.numbers.get("runs", []):
        _ = (
            condition_of(run["condition"]),
            run["seed"],
            run["label"],
            run["steps"]["first"],
            run["steps"]["trained"],
            run["final"]["test_accuracy"],
        )


def make_pool(
    ledgers: Sequence[Ledger], root: Path | str, given: dict[str, Any], files: Sequence[str], claims: Sequence[str]
) -> Run:
    """A run directory with a copy of every ledger.

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
        for each in ledgers:
            with atomic(run.path / "ledgers" / f"{each.name}.json") as scratch:
                scratch.write_bytes(each.content)
        run.update(status="finished", outcome="reproduced", files=list(files))
    return run


def read_pool(run: Run) -> list[Ledger]:
    """The ledgers that a run directory holds, in the order in which they were given."""
    names = [each["name"] for each in run.record()["config"]["resolved"]["pooled"]]
    return read_ledgers([run.path / "ledgers" / f"{name}.json" for name in names])


def pooled(ledgers: Sequence[Ledger], claims: Sequence[Claim]) -> list[Pooled]:
    """Every claim of some ledgers, graded on the readings of all that share its rule and settings, in the order of their numbers.

    Args:
        ledgers: Of one paper.
        claims: The paper's claims, as they are graded now. A claim that all ledgers graded by an older rule is pooled by that.
    """
    now = {claim.id: claim for claim in claims}
    names = dict.fromkeys(entry["id"] for ledger in ledgers for entry in ledger.numbers["claims"])
    return [_pool(name, ledgers, now.get(name)) for name in sorted(names, key=_order)]


def _pool(name: str, ledgers: Sequence[Ledger], now: Claim | None) -> Pooled:
    groups: dict[str, list[tuple[Ledger, dict[str, Any]]]] = {}
    for ledger in ledgers:
        for entry in ledger.numbers["claims"]:
            if entry["id"] == name:
                key = json.dumps([entry["rule"], ledger.setting], sort_keys=True)
                groups.setdefault(key, []).append((ledger, entry))

    def rank(group: list[tuple[Ledger, dict[str, Any]]]) -> tuple[bool, bool, int]:
        was_run = any(entry["verdict"] != "not run" for _, entry in group)
        return was_run, now is not None and group[0][1]["rule"] == now.rule, max(ledger.bound for ledger, _ in group)

    best = max(groups.values(), key=rank)
    claim = _claim(best[-1][1], now)
    by_seed: dict[int, list[tuple[Ledger, Reading]]] = {}
    for ledger, entry in best:
        for reading in _readings(entry):
            by_seed.setdefault(reading.seed, []).append((ledger, reading))
    chosen = [max(by_seed[seed], key=lambda one: _weight(claim, *one)) for seed in sorted(by_seed)]
    otherwise = [
        f"{entry['verdict']} in {ledger.name}, which is not pooled: {_apart(ledger, entry, *best[0])}"
        for group in groups.values()
        if group is not best
        for ledger, entry in group
        if entry["verdict"] != "not run"
    ]
    for ledger, reading in chosen:
        otherwise += [
            f"seed {reading.seed}: {_said(reading)} in {ledger.name}, {_said(other)} in {place.name}"
            for place, other in by_seed[reading.seed]
            if reading.holds is not None and other.holds is not None and other.holds != reading.holds
        ]
    if now is not None and chosen and claim.rule != now.rule:
        otherwise.append(f"today's rule is another: {now.rule}")
    entry = grade(claim._replace(measure=lambda _: [reading for _, reading in chosen]), None)
    rerun = max(best, key=lambda one: one[0].bound)[1].get("rerun", "")
    return Pooled(entry, tuple(ledger.name for ledger, _ in chosen), tuple(otherwise), rerun)


def _apart(ledger: Ledger, entry: Mapping[str, Any], other: Ledger, its: Mapping[str, Any]) -> str:
    """In what two ledgers differ, so that a claim's readings are not pooled."""
    if entry["rule"] != its["rule"]:
        return f"its rule is {entry['rule']}"
    names = [name for name, value in other.setting.items() if ledger.setting.get(name) != value]
    return "its settings are others: " + ", ".join(f"{name} {ledger.setting.get(name)}" for name in names)


def _said(reading: Reading) -> str:
    return "the rule holds" if reading.holds else "it does not hold"


def _weight(claim: Claim, ledger: Ledger, reading: Reading) -> tuple[bool, bool, int]:
    """There at all, final, and the steps of its shortest run that has not grokked: the more, the rather it counts."""
    own = [
        run["steps"]
        for run in ledger.numbers.get("runs", [])
        if run["seed"] == reading.seed and condition_of(run["condition"]) in claim.conditions
    ]
    looked = min((steps["trained"] for steps in own if steps["first"] is None), default=ledger.bound)
    return reading.missing != "all", reading.holds is not None or not reading.is_censored, looked


def _readings(entry: Mapping[str, Any]) -> list[Reading]:
    return [
        Reading(**{name: value for name, value in each.items() if name in Reading._fields})
        for each in entry["readings"]
    ]


def _claim(entry: Mapping[str, Any], now: Claim | None) -> Claim:
    """The claim as it is graded now, or, where the rule was another, as the ledger has it."""
    if now is not None and entry["rule"] == now.rule:
        return now
    what = next((reading.what for reading in _readings(entry) if reading.value is not None), "")
    measured = entry["measured_is"].removesuffix(f" ({what})")
    found = Claim(entry["id"], entry["statement"], entry["source"], entry["published"], measured, entry["control_is"], entry["rule"],
                  "more seeds, or more steps", lambda _: (), () if now is None else now.conditions)  # fmt: skip
    return found if now is None else found._replace(least=now.least)


def _order(claim: str) -> tuple[str, int, str]:
    """C2a before C10: letters, number, rest."""
    found = re.match(r"([A-Za-z]*)(\d*)(.*)", claim, re.DOTALL)
    letters, digits, rest = found.groups() if found else (claim, "", "")
    return letters, int(digits or 0), rest


def trainings(ledgers: Sequence[Ledger]) -> list[Training]:
    """Every training once, as far as any ledger followed it: a run cut at a fixed step is the beginning of a longer one.

    Processors round differently, so that one seed can go two ways: where one training grokked and another was still looked at after that
    step without a grok, both are there.
    """
    found: dict[str, list[Training]] = {}
    for ledger in ledgers:
        for run in ledger.numbers.get("runs", []):
            key = [{**run["condition"], "steps": None}, run["seed"], (run.get("source") or {}).get("sha256")]
            found.setdefault(json.dumps(key), []).append(Training(ledger.name, run))
    kept = [training for several in found.values() for training in _ways(several)]
    return sorted(kept, key=lambda one: (bool(one.run["condition"]["parts"]), one.run["label"], one.run["seed"]))


def _ways(several: Sequence[Training]) -> list[Training]:
    """The longest that grokked, and the longest that had not by then; else the longest."""
    with_grok = [one for one in several if one.first is not None]
    if not with_grok:
        return [max(several, key=lambda one: one.trained)]
    best = max(with_grok, key=lambda one: one.trained)
    others = [one for one in several if one.first is None and one.trained >= (best.first or 0)]
    return [best, *([max(others, key=lambda one: one.trained)] if others else [])]
