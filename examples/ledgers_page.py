"""A page of several ledgers pooled, from the report.json that `epicycle reproduce PAPER --pool ...` wrote.

epicycle reproduce furuta2024 --pool docs/results/furuta2024-*.json
python examples/ledgers_page.py runs/furuta2024-pooled-XXXXXXXX/report.json docs/results/furuta2024.md "What should be known of the seeds."
"""

import json
import sys
from pathlib import Path
from typing import Any

from ledger_page import counted_verdicts, number, ours, row

PAPERS = {"furuta2024": "Furuta et al. 2024", "zhou2024": "Zhou et al. 2024"}


def page(found: dict[str, Any], said_first: str = "") -> str:
    """The text of the page, with what should be known of its seeds."""
    claims, runs = found["claims"], found["trainings"]
    said = counted_verdicts(claims)
    trained = f", {len(runs)} trainings" if runs else ""
    lines = [
        f"# {PAPERS[found['paper']]}: every claim graded so far",
        "",
        f"{len(claims)} claims from {len(found['pooled'])} ledgers{trained}: {said}. Made by `epicycle reproduce {found['paper']} --pool` and `examples/ledgers_page.py`; "
        "the ledgers have the readings seed by seed, controls, provenance and the claims' rules.",
        "",
        *([said_first, ""] if said_first else []),
        f"{found['counting']} Readings are pooled only where statement, rule and the settings that they depend on are the same.",
        "",
        *([f"Graded by none of them: {', '.join(found['ungraded'])}.", ""] if found.get("ungraded") else []),
        "A verdict needs three seeds (one reading where nothing is trained): confirmed if the rule holds in all, refuted if in none. Undetermined says why: seeds that disagree, or runs that were not "
        "looked at long enough. Published and measured values stand in columns of their own.",
        "",
        "| ledger | bound on steps | seeds | claims | revision | command |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        row(f"[{each['name']}]({each['name']}.md)", f"{each['bound']:,}" if each["bound"] else "", ", ".join(map(str, each["seeds"])), each["claims"],
            each["revision"][:7], f"`{each['command']}`")
        for each in found["pooled"]]  # fmt: skip
    lines += ["", "## Claims", "", "| claim | statement | verdict | published | ours, mean (range) | control | why | seeds of | rerun |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for entry in claims:
        control = "" if entry["control"] is None else f"{number(entry['control'])} {entry['control_is']}"
        reason = "; ".join([entry["reason"].split(". ")[0], *entry["apart"]])
        reason = f"{entry['cause']}: {reason}" if entry.get("cause") else reason
        places: dict[str, list[str]] = {}
        for reading in entry["readings"]:
            places.setdefault(reading["ledger"], []).append(str(reading["seed"]))
        origin = "; ".join(
            f"{', '.join(seeds)}: [{name.removeprefix(found['paper'] + '-')}]({name}.md)"
            for name, seeds in places.items()
        )
        lines.append(row(entry["id"], entry["statement"], f"**{entry['verdict']}**", entry["published"], f"{ours(entry)} {entry['measured_is']}".strip(), control, reason,
                          origin, f"`{entry['rerun']}`" if entry["rerun"] else ""))  # fmt: skip
    if runs:
        lines += ["", "## Trainings", "", "As far as any ledger followed them: further than the claims above, where a ledger that followed them longer graded other claims. Two transfers of one condition and seed are two trainings if their sources, or what chose their beginnings, differ. Where one seed went several ways in several versions or on several processors, all are there. A claim is named where a reading of it is from that training (of equal readings of one seed, the first ledger's is taken); those of an older rule are not. Claims that look at one training are no independent evidence.", "",
                  "| condition | seed | grokked at | trained for | final test accuracy | claims with a reading from it |", "|---|---|---|---|---|---|"]  # fmt: skip
    for run in runs:
        first = run["grokked_at"]
        lines.append(row(run["label"], run["seed"], "" if first is None else f"{first:,}", f"{run['trained_for']:,}", f"{run['test_accuracy']:.1%}", ", ".join(run.get("claims", ()))))  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read one file, write one."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    found = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(page(found, *sys.argv[3:4]), encoding="utf-8")


if __name__ == "__main__":
    main()
