"""Many runs as a table: one row per run with plain values, filters, groups, and export."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epicycle._files import atomic
from epicycle.errors import ConfigError, EpicycleError
from epicycle.runs.directory import Run, list_runs, taken_from, trajectory
from epicycle.tasks.operations import formula

TASK = ("operand_range", "split_by", "zeros", "task_tokens", "split_per")
MODEL = ("width", "num_heads", "mlp_width", "init", "scores", "attention_rate")
OPTIMISER = ("learning_rate", "weight_decay", "loss", "classes")
"""Settings of a run, by part of its configuration."""
USUAL = {
    "zeros": "included",
    "task_tokens": "distinct",
    "split_per": "tuple",
    "scores": "scaled",
    "attention_rate": 1.0,
    "classes": "all",
}
"""What a record means that leaves a setting out."""
SETTINGS = ("recipe", "train_fraction", *TASK, *MODEL, *OPTIMISER, "evaluate_every", "frozen", "source_run", "afresh", "drawn_by", "without", "formula", "modulus")  # fmt: skip
"""Columns that say which experiment a run is one seed of."""
COLUMNS = (
    "id", "kind", "status", "outcome", "formula", "modulus", "train_fraction", "seed", "split_seed", "frozen", "source", "recipe", "memorised", "first",
    "sustained", "stable", "trained", "max_steps", "trajectory", "continues", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "seconds", "engine", "device", "threads", "revision",
    *TASK, *MODEL, *OPTIMISER, "evaluate_every", "source_run", "afresh", "drawn_by", "without", "directory",
)  # fmt: skip
"""Columns of the table, in their order."""
NUMBERS = {"modulus": "INTEGER", "train_fraction": "DOUBLE", "seed": "BIGINT", "split_seed": "BIGINT", "threads": "INTEGER", "seconds": "DOUBLE",
           **dict.fromkeys(("memorised", "first", "sustained", "stable", "trained", "max_steps", "width", "num_heads", "mlp_width", "evaluate_every"), "BIGINT"),
           **dict.fromkeys(("train_loss", "test_loss", "train_accuracy", "test_accuracy", "attention_rate", "learning_rate", "weight_decay"), "DOUBLE")}  # fmt: skip
"""Columns that are numbers, and their types in SQL; all others are texts there."""
CONDITION = re.compile(r"\s*(?P<column>\w+)\s*(?P<sign><=|>=|!=|=|<|>|~)\s*(?P<value>(?!=).*?)\s*$")


def row(run: Run) -> dict[str, Any]:
    """One run as plain values; None where a kind of run has no such value."""
    record = run.record()
    resolved = record["config"]["resolved"]
    task, facts, frozen = resolved.get("task") or {}, record.get("provenance") or {}, resolved.get("frozen") or {}
    steps, final = record.get("steps") or {}, record.get("final") or {}
    own = lambda name: resolved[name] if isinstance(resolved.get(name), dict) else {}  # noqa: E731  other kinds have texts there
    schedule, model, optimiser = own("schedule"), own("model"), own("optimiser")
    values = {
        "id": run.id, "kind": resolved.get("kind", "grok"), "status": record["status"], "outcome": record["outcome"],
        "formula": " and ".join(task["formulas"]) if task else None, "modulus": task.get("modulus"), "train_fraction": task.get("train_fraction"),
        "seed": resolved.get("seed"), "split_seed": task.get("split_seed"), "frozen": "+".join(frozen.get("parts", ())) or None, "source": frozen.get("source"),
        "max_steps": schedule.get("max_steps"), "trajectory": trajectory(resolved, taken_from(record)),
        "continues": (record.get("continues") or {}).get("id"), "recipe": resolved.get("recipe"), **{name: steps.get(name) for name in ("memorised", "first", "sustained", "stable", "trained")},
        **{name: final.get(name) for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")}, "seconds": record.get("seconds"),
        "engine": record.get("engine"), "device": facts.get("device"), "threads": facts.get("threads"), "revision": facts.get("revision"),
        "directory": str(run.path),
    }  # fmt: skip
    origin = frozen.get("source")
    for names, part in ((TASK, task), (MODEL, model), (OPTIMISER, optimiser)):
        values |= {name: part.get(name, USUAL.get(name)) if part else None for name in names}
    values["evaluate_every"] = schedule.get("evaluate_every")
    # the id of a source has its seed in it: what comes before is what seeds have in common
    values["source_run"] = origin if origin in (None, "random") else re.sub(r"-seed\d+-[0-9a-f]{8}$", "", str(origin))
    values["afresh"] = None if origin in (None, "random") else frozen.get("afresh", False)
    values["drawn_by"] = frozen.get("drawn_by", "checkpoint") if values["afresh"] else None
    out = ", ".join(map(str, frozen.get("without", ())))
    values["without"] = f"{frozen['basis']} {out}" if out else None
    if values["trained"] is None and values["status"] == "training":  # how far one that was broken off got
        values["trained"] = max(run.checkpoint_steps(), default=0)
    if values["test_accuracy"] is None:  # language runs keep the test part for `explain`
        values["test_accuracy"] = final.get("validation_accuracy")
    return values


def rows(root: Path | str) -> tuple[list[dict[str, Any]], list[str]]:
    """All runs under a directory, and a sentence for each that cannot be read."""
    found, faults = [], []
    for run in list_runs(Path(root)):
        try:
            found.append(row(run))
        except EpicycleError as error:
            faults.append(str(error))
    return found, faults


def chosen(table: Sequence[dict[str, Any]], conditions: Sequence[str]) -> list[dict[str, Any]]:
    """Rows that meet every condition, such as `outcome=grokked`, `first<5000`, `formula~b^2`, `source!=random`.

    `~` is part of a text. A value that is missing meets `COLUMN=none` and every `!=`.

    Raises:
        ConfigError: A condition cannot be read, names no column, or compares a text by size.
    """
    kept = list(table)
    for text in conditions:
        match = CONDITION.match(text)
        if not match or match["column"] not in COLUMNS:
            raise ConfigError(f"got condition {text!r}; expected a column ({', '.join(COLUMNS[:16])}, ...), one of = != < > <= >= ~, and a value. "
                              "Try outcome=grokked.")  # fmt: skip
        column, sign, value = match["column"], match["sign"], match["value"]
        if column == "formula" and sign in ("=", "!="):
            value = _as_written(value)
        if column in NUMBERS and sign != "~" and value.lower() != "none":
            _number(value, text)
        kept = [each for each in kept if _meets(each[column], sign, value, text)]
    return kept


def _as_written(formulas: str) -> str:
    """Formulas as the table has them: `2a+b` is `2*a + b`; what is no formula stays as it is."""
    try:
        return " and ".join(formula(each.strip()).text for each in formulas.split(" and "))
    except EpicycleError:
        return formulas


def _number(wanted: str, text: str) -> float:
    try:
        return float(wanted.replace(",", ""))
    except ValueError:
        raise ConfigError(
            f"got condition {text!r}, which compares a number with {wanted!r}; expected a number. Mend it."
        ) from None


def _meets(value: Any, sign: str, wanted: str, text: str) -> bool:
    if wanted.lower() == "none":
        return (value is None) == (sign == "=")
    if value is None:
        return sign == "!="
    if sign == "~":
        return wanted.replace(" ", "") in str(value).replace(" ", "")
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = _number(wanted, text)
        return {
            "=": value == number,
            "!=": value != number,
            "<": value < number,
            ">": value > number,
            "<=": value <= number,
            ">=": value >= number,
        }[sign]
    if isinstance(value, bool):
        wanted = wanted.capitalize()  # true or True
    if sign in ("=", "!="):
        return (str(value).replace(" ", "") == wanted.replace(" ", "")) == (sign == "=")
    raise ConfigError(f"got condition {text!r}, which compares a text by size; expected = != or ~. Mend it.")


def grouped(table: Sequence[dict[str, Any]], by: Sequence[str]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows with equal values in some columns together, in the order of their values.

    Raises:
        ConfigError: There is no such column.
    """
    check_columns(by)
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in table:
        found.setdefault(tuple(each[name] for name in by), []).append(each)
    return dict(
        sorted(
            found.items(),
            key=lambda item: [
                (value is None, value if isinstance(value, int | float) else str(value)) for value in item[0]
            ],
        )
    )


def mixed(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Settings in which some runs differ: seeds of several experiments are no sample of one.

    Two runs of one seed are no sample either, whatever it is that they differ in: sources, or what has no column.
    """
    found = [name for name in SETTINGS if len({str(each[name]) for each in runs}) > 1]
    if not found and len({(each["seed"], each["split_seed"]) for each in runs}) < len(runs):
        return ["source" if len({each["source"] for each in runs}) > 1 else "settings that have no column"]
    return found


def lender(runs: Sequence[dict[str, Any]]) -> str | None:
    """The one run that all of several take weights from; None if there is none."""
    sources = {each["source"] for each in runs} - {None, "random"}
    return sources.pop() if len(runs) > 1 and len(sources) == 1 and all(each["source"] not in (None, "random") for each in runs) else None  # fmt: skip


def longest(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of runs that differ in their bound alone the one that was trained furthest: they are one observation, not several."""
    best: dict[str, dict[str, Any]] = {}
    for each in table:
        other = best.get(each["trajectory"])
        if other is None or (each["trained"] or 0) > (other["trained"] or 0):
            best[each["trajectory"]] = each
    return [each for each in table if best[each["trajectory"]] is each]


def check_columns(names: Sequence[str]) -> None:
    """Refuse names that are no columns."""
    if unknown := [name for name in names if name not in COLUMNS]:
        raise ConfigError(f"got column {unknown[0]!r}; expected some of {', '.join(COLUMNS)}. Choose from these.")


def differences(table: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Column -> values of runs side by side, only columns in which they differ."""
    return {name: values for name in COLUMNS if len(set(map(str, values := [each[name] for each in table]))) > 1}


def write_csv(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows with the names of the columns above them."""
    names = list(table[0]) if table else list(COLUMNS)
    with atomic(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, names)
        out.writeheader()
        out.writerows([{name: _plain(value) for name, value in each.items()} for each in table])


def _plain(value: Any) -> Any:
    """Booleans as every other format has them."""
    return str(value).lower() if isinstance(value, bool) else value
