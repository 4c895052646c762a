"""A page of several ledgers pooled, from the report.json that `epicycle reproduce furuta2024 --pool ...` wrote.

epicycle reproduce furuta2024 --pool docs/results/furuta2024-*.json
python examples/ledgers_page.py runs/furuta2024-pooled-XXXXXXXX/report.json docs/results/furuta2024.md
"""

import json
import sys
from pathlib import Path
from typing import Any

from ledger_page import number, ours, row


def page(found: dict[str, Any]) -> str:
    """The text of the page."""
    claims, runs = found["claims"], found["runs"]
    counts: dict[str, int] = {}
    for entry in claims:
        counts[entry["verdict"]] = counts.get(entry["verdict"], 0) + 1
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    lines = [
        "# Furuta et al. 2024: every claim graded so far",
        "",
        f"{len(claims)} claims from {len(found['pooled'])} ledgers, {len(runs)} trainings: {said}. Made by `epicycle reproduce furuta2024 --pool` and `examples/ledgers_page.py`; "
        "the ledgers have the readings seed by seed, controls, provenance and the claims' rules.",
        "",
        "A seed counts once. Where several ledgers have it, the reading counts that is final rather than open, then the one whose runs were looked at longest, never the one that says a certain thing. "
        "A seed that was open on one machine and is trained again on another with other rounding is a new draw, not the rest of the old run. "
        "Readings are pooled only where the rule and the settings that they depend on are the same.",
        "",
        "A verdict needs three seeds (one reading where nothing is trained): confirmed if the rule holds in all, refuted if in none. Undetermined says why: seeds that disagree, or runs that were not "
        "looked at for the paper's 300,000 steps. Published and measured values stand in columns of their own.",
        "",
        "| ledger | bound on steps | seeds | claims | revision | command |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        row(f"[{each['name']}]({each['name']}.md)", f"{each['bound']:,}", ", ".join(map(str, each["seeds"])), each["claims"],
            str(each["provenance"]["revision"])[:7], f"`{each['command']}`")
        for each in found["pooled"]]  # fmt: skip
    lines += ["", "## Claims", "", "| claim | statement | verdict | published | ours, mean (range) | control | why | seeds of | rerun |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for entry in claims:
        control = f"{number(entry['control'])} {entry['control_is']}".strip()
        reason = "; ".join([entry["reason"].split(". ")[0], *entry["otherwise"]])
        places: dict[str, list[str]] = {}
        for reading in entry["readings"]:
            places.setdefault(reading["ledger"], []).append(str(reading["seed"]))
        origin = "; ".join(
            f"{', '.join(seeds)}: [{name.removeprefix('furuta2024-')}]({name}.md)" for name, seeds in places.items()
        )
        lines.append(row(entry["id"], entry["statement"], f"**{entry['verdict']}**", entry["published"], f"{ours(entry)} {entry['measured_is']}".strip(), control, reason,
                          origin, f"`{entry['rerun']}`"))  # fmt: skip
    lines += ["", "## Trainings", "", "As far as any ledger followed them. Two transfers of one condition and seed are two trainings if their sources differ. Where one seed went two ways on two processors, both are there.", "",
              "| condition | seed | grokked at | trained for | final test accuracy |", "|---|---|---|---|---|"]  # fmt: skip
    for run in runs:
        first = run["steps"]["first"]
        label = ", ".join(part for part in run["label"].split(", ") if not part.endswith(" steps"))
        lines.append(row(label, run["seed"], "" if first is None else f"{first:,}", f"{run['steps']['trained']:,}", f"{run['final']['test_accuracy']:.1%}"))  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read one file, write one."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.write_text(page(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
