"""A page of a study's ledger, from the report.json that `epicycle reproduce furuta2024` or `zhou2024` wrote.

python examples/ledger_page.py runs/furuta2024-laptop-XXXXXXXX/report.json docs/results/furuta2024
writes docs/results/furuta2024.json (the ledger with its runs) and docs/results/furuta2024.md (the page).
"""

import json
import sys
from pathlib import Path


def number(value: float | None) -> str:
    """A figure short enough for a table."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def figures(reading: dict) -> str:
    """Value and control of one seed, as far as there are any."""
    value, control = number(reading["value"]), number(reading["control"])
    return f"{value}{f' against {control}' if control else ''}. " if value else ""


def ours(entry: dict) -> str:
    """Mean and range of a claim's readings, or each where they are of different quantities."""
    told = [r for r in entry["readings"] if r["value"] is not None]
    if entry["measured"] is None:
        return "; ".join(number(r["value"]) + (f" ({r['what']})" if r.get("what") else "") for r in told)
    seeds = f", {len(told)} of {len(entry['readings'])} seeds" if len(told) < len(entry["readings"]) else ""
    return f"{number(entry['measured'])} ({number(entry['interval'][0])} to {number(entry['interval'][1])}){seeds}"


def row(*cells: object) -> str:
    """A line of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def counted_runs(runs: list[dict]) -> str:
    """How many runs, and how many different ones: a run of fixed length may be the beginning of a longer one."""
    same = {json.dumps([{**run["condition"], "steps": None}, run["seed"]]) for run in runs}
    return (
        f"{len(runs)} runs ({len(same)} different ones: the others are the same training cut at another step)"
        if len(same) < len(runs)
        else f"{len(runs)} runs"
    )


def counted(things: list[str]) -> str:
    """How many of each there are."""
    return ", ".join(f"{things.count(each)} {each}" for each in sorted(set(things)))


def counted_verdicts(claims: list[dict]) -> str:
    """How many claims have which verdict, and why the undetermined are: that seeds disagree is known, where the rest is not."""
    causes = [c.get("cause", "") for c in claims if c["verdict"] == "undetermined"]
    why = f" ({counted(causes)})" if causes and all(causes) else ""  # older ledgers do not say
    return counted([c["verdict"] for c in claims]) + why


def introduction(found: dict, verdicts: str) -> list[str]:
    """What was run, and how to read the table."""
    rule = "A verdict needs three seeds (one reading where nothing is trained): confirmed if the rule holds in all, refuted if in none. Published and measured values stand in columns of their own."
    preset = found["preset"]
    if isinstance(preset, dict):
        how = f"{counted_runs(found['runs'])} of at most {preset['max_steps']:,} steps (those that frozen weights come from 10,000 or 40,000)"
        if "--no-train" in found["command"]:
            short = [run["steps"]["trained"] for run in found["runs"] if run["steps"]["first"] is None]
            how = f"{counted_runs(found['runs'])} that all grokked within {preset['max_steps']:,} steps"
            if short:
                how = f"{counted_runs(found['runs'])} as far as they got, those without a grok {min(short):,} to {max(short):,} steps of {preset['max_steps']:,}"
        return ["# Ledger of Furuta et al. 2024", "", f"Made by `{found['command']}` and `examples/ledger_page.py`. {how}, "
                f"seeds {', '.join(map(str, preset['seeds']))}: {verdicts}.", "", f"{rule} That something never groks can only be told at 300,000 steps."]  # fmt: skip
    config = found["config"]
    shape = config["shape"]
    return ["# Ledger of Zhou et al. 2024", "", f"Made by `epicycle reproduce zhou2024 --preset {preset}` and `examples/ledger_page.py`. GPT-2s of {shape['num_layers']} layers and width "
            f"{shape['width']}, pre-trained on number text over 0..{config['largest']}, sums of two numbers up to {config['largest_operand']}, seeds "
            f"{', '.join(map(str, config['seeds']))}, arms {', '.join(config['arms'])}: {verdicts}.", "", f"{rule} A verdict speaks of these small models, not of the paper's."]  # fmt: skip


def page(found: dict) -> str:
    """Claims with their verdicts, then what was trained."""
    lines = [
        *introduction(found, counted_verdicts(found["claims"])),
        "",
        "| claim | statement | verdict | published | ours, mean (range) | what it is | control | rule |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in found["claims"]:
        cells = (
            c["id"],
            c["statement"],
            f"**{c['verdict']}**",
            c["published"],
            ours(c),
            c["measured_is"],
            f"{number(c['control'])} {c['control_is']}".strip(),
            c["rule"],
        )
        lines.append(row(*cells))
    lines += ["", "## Seed by seed", ""]
    for c in found["claims"]:
        notes = [f"seed {r['seed']}: {figures(r)}{r['note']}".strip() for r in c["readings"] if r["note"]]
        if notes:
            needs = f" Would be settled by {c['needs']}." if c.get("needs") else ""
            lines.append(
                f"- **{c['id']}** ({c['reason'].split('. ')[0]}): " + "; ".join(notes) + "." * bool(needs) + needs
            )
    if "runs" in found:
        lines += [
            "",
            "## Runs",
            "",
            "| condition | seed | outcome | grokked at | steps | final test accuracy |",
            "|---|---|---|---|---|---|",
        ]
        for run in found["runs"]:
            first = run["steps"]["first"]
            lines.append(f"| {run['label']} | {run['seed']} | {run['outcome']} | {'' if first is None else f'{first:,}'} | {run['steps']['trained']:,} | "
                         f"{run['final']['test_accuracy']:.1%} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read one file, write two."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    found = json.loads(source.read_text(encoding="utf-8"))
    target.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
