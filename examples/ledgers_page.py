"""One page of several ledgers of Furuta et al. 2024: for every claim the verdict that rests on the longest look.

python examples/ledgers_page.py docs/results/furuta2024.md docs/results/furuta2024-quick.json docs/results/furuta2024-laptop-subset.json ...

A claim that several ledgers grade is taken from the one whose runs were looked at longest (the later on the command line, of equals),
whatever the verdicts are, but that where nothing was run tells least. The table of runs has every training of every ledger once, as far as any of them got.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from ledger_page import number, ours, row


def furthest(ledgers: dict[str, dict[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Claim id -> the ledger that looked longest and its entry, in the order of the claims' numbers."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, ledger in ledgers.items():
        for entry in ledger["claims"]:
            other = found.get(entry["id"])
            if other is None or _length(ledger, entry) >= _length(ledgers[other[0]], other[1]):
                found[entry["id"]] = (name, entry)
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _length(ledger: dict[str, Any], entry: dict[str, Any]) -> tuple[bool, int, int]:
    """How far a claim was looked at: at all, the steps of its shortest run without a grok, the bound."""
    bound = ledger["preset"]["max_steps"]
    least = entry.get("looked_at_least", bound)
    return entry["verdict"] != "not run", bound if least is None else least, bound


def _order(claim: str) -> tuple[str, int, str]:
    """C2a before C10: letters, number, rest."""
    letters, digits, rest = re.fullmatch(r"([A-Z]+)(\d*)(.*)", claim).groups()  # type: ignore[union-attr]
    return letters, int(digits or 0), rest


def longest(ledgers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every training once, as far as any ledger followed it: a run cut at a fixed step is the beginning of a longer one.

    Processors round differently, so that one seed can go two ways: where one training grokked and another was still looked at after that
    step without a grok, both are there.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for ledger in ledgers.values():
        for run in ledger["runs"]:
            key = json.dumps(
                [{**run["condition"], "steps": None}, run["seed"], (run.get("source") or {}).get("sha256")]
            )
            found.setdefault(key, []).append(run)
    kept = [run for runs in found.values() for run in _ways(runs)]
    return sorted(kept, key=lambda run: (bool(run["condition"]["parts"]), run["label"], run["seed"]))


def _ways(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The longest that grokked, and the longest that had not by then; else the longest."""
    reach = lambda run: run["steps"]["trained"]  # noqa: E731
    with_grok = [run for run in runs if run["steps"]["first"] is not None]
    if not with_grok:
        return [max(runs, key=reach)]
    best = max(with_grok, key=reach)
    others = [run for run in runs if run["steps"]["first"] is None and reach(run) >= best["steps"]["first"]]
    return [best, *([max(others, key=reach)] if others else [])]


def page(ledgers: dict[str, dict[str, Any]]) -> str:
    """The text of the page."""
    chosen = furthest(ledgers)
    counts: dict[str, int] = {}
    for _, entry in chosen.values():
        counts[entry["verdict"]] = counts.get(entry["verdict"], 0) + 1
    runs = longest(ledgers)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    lines = [
        "# Furuta et al. 2024: every claim graded so far",
        "",
        f"{len(chosen)} claims from {len(ledgers)} ledgers, {len(runs)} trainings: {said}. A claim that several ledgers grade is taken from the one whose runs were looked at longest, whatever its verdict. Made by "
        "`examples/ledgers_page.py`; the ledgers have the readings seed by seed, controls, provenance and the claims' rules.",
        "",
        "A verdict needs three seeds (one reading where nothing is trained): confirmed if the rule holds in all, refuted if in none. Undetermined says why: seeds that disagree, or runs that were not "
        "looked at for the paper's 300,000 steps. Published and measured values stand in columns of their own.",
        "",
        "| ledger | bound on steps | seeds | claims | revision | command |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in ledgers.items():
        lines.append(row(f"[{name}]({name}.md)", f"{found['preset']['max_steps']:,}", ", ".join(map(str, found["preset"]["seeds"])), len(found["claims"]),
                          str(found["provenance"]["revision"])[:7], f"`{found['command']}`"))  # fmt: skip
    lines += ["", "## Claims", "", "| claim | statement | verdict | published | ours, mean (range) | control | why | ledger | rerun |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for claim, (name, entry) in chosen.items():
        control = f"{number(entry['control'])} {entry['control_is']}".strip()
        reason = entry["reason"].split(". ")[0]
        lines.append(row(claim, entry["statement"], f"**{entry['verdict']}**", entry["published"], f"{ours(entry)} {entry['measured_is']}".strip(), control, reason,
                          f"[{name.removeprefix('furuta2024-')}]({name}.md)", f"`{entry['rerun']}`"))  # fmt: skip
    lines += ["", "## Trainings", "", "As far as any ledger followed them. Two transfers of one condition and seed are two trainings if their sources differ. Where one seed went two ways on two processors, both are there.", "",
              "| condition | seed | grokked at | trained for | final test accuracy |", "|---|---|---|---|---|"]  # fmt: skip
    for run in runs:
        first = run["steps"]["first"]
        label = run["label"].split(", ")
        lines.append(row(", ".join(part for part in label if not part.endswith(" steps")), run["seed"], "" if first is None else f"{first:,}", f"{run['steps']['trained']:,}",
                          f"{run['final']['test_accuracy']:.1%}"))  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read several files, write one."""
    target, *sources = map(Path, sys.argv[1:])
    ledgers = {source.stem: json.loads(source.read_text(encoding="utf-8")) for source in sources}
    target.write_text(page(ledgers), encoding="utf-8")


if __name__ == "__main__":
    main()
