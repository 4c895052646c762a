"""Ledgers that studies wrote beside their pages, read back: every field checked, so that what is wrong is said before it is used."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from epicycle.errors import ConfigError
from epicycle.runs.directory import identity
from epicycle.studies.furuta2024 import LATE, PUBLISHED_STEPS
from epicycle.studies.ledger import Claim, Reading, Verdict
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

    @property
    def sha256(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.content).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """What a page says of it."""
        return {"name": self.name, "bound": self.bound, "seeds": self.seeds, "claims": len(self.graded), "revision": self.revision, "command": self.command,
                "sha256": self.sha256}  # fmt: skip


def read_ledgers(paths: Sequence[Path | str]) -> list[Ledger]:
    """The ledgers of one paper: the report.json of studies, or their directories.

    Raises:
        ConfigError: A file is no ledger of seeds, two have one name, they are of different papers, or one is given twice.
    """
    found: list[Ledger] = []
    for path in map(Path, paths):
        ledger = read_ledger(path)
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


def read_ledger(path: Path, name: str = "") -> Ledger:
    """One ledger, named after its file, or its directory, if no name is given."""
    try:
        path = path / "report.json" if path.is_dir() else path
        name = name or (path.resolve().parent.name if path.name == "report.json" else path.stem)
        content = path.read_bytes()
        return _parsed(_text(name), json.loads(content), content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"got {str(path)!r}, {_fault(error)}; expected the report.json of a finished `epicycle reproduce furuta2024` or `zhou2024`, with readings by seed. Name such a file."
        ) from error


def _fault(error: Exception) -> str:
    """What is wrong with a file, in words."""
    match error:
        case OSError():
            return f"which cannot be read ({error.strerror})"
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            return "which is no JSON"
        case KeyError():
            return f"which has no {error.args[0]!r} where a ledger has one"
        case ValueError():
            return f"which is no ledger ({error})"
        case _:
            return "whose parts are none of a ledger"


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
        if bound > PUBLISHED_STEPS:
            raise ValueError(f"{bound:,} steps, where the paper gives a run up after {PUBLISHED_STEPS:,}")
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
    sha = None if source.get("sha256") is None else _text(identity(source))
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
