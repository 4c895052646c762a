"""A page of the number-text experiment, from the report.json that `epicycle reproduce number-text` wrote.

python examples/number_text_page.py runs/number-text-laptop-XXXXXXXX/report.json docs/results/number-text-laptop
writes docs/results/number-text-laptop.json (all numbers) and docs/results/number-text-laptop.md (the page).
"""

import json
import sys
from pathlib import Path
from statistics import mean


def cell(values: list[float]) -> str:
    """Mean with its range over seeds."""
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def page(found: dict) -> str:
    """Kappa by what was read, then power, then what is needed and what is enough."""
    conditions = found["conditions"]
    residues = list(next(iter(conditions.values()))["kappa"])
    periods = list(next(iter(conditions.values()))["share"])
    lines = [
        "# Which sentences make which periods",
        "",
        f"Made by `{found['command']}` and `examples/number_text_page.py`: one small GPT-2 per text and seed ({', '.join(map(str, found['seeds']))}), pre-trained on that text alone.",
        "",
        "## Which residues can be read",
        "",
        "Kappa of a linear probe of n mod T on held-out numbers: mean (range over seeds). 3, 7 and 9 are controls; `only quantity` says nothing of a number but how often it occurs; "
        "`numbers relabelled` exchanges their names throughout.",
        "",
        "| what was read | " + " | ".join(f"n mod {t}" for t in residues) + " |",
        "|" + "---|" * (len(residues) + 1),
    ]
    lines += [
        f"| {name} | " + " | ".join(cell(values["kappa"][t]) for t in residues) + " |"
        for name, values in conditions.items()
    ]
    lines += [
        "",
        "## What is needed, what is enough",
        "",
        "| n mod | worse in every seed without (loss of kappa) | alone beyond shuffled labels in every seed (kappa) |",
        "|---|---|---|",
    ]
    listed = lambda pairs: ", ".join(f"{kind} {value:.2f}" for kind, value in pairs) or "none"  # noqa: E731
    lines += [f"| {t} | {listed(found['needed'][t])} | {listed(found['enough'][t])} |" for t in residues]
    lines += ["", "## Which periods have power", "", "Share of power without the trend, mean over seeds, and the largest p-value over seeds under numbers permuted within decades.", "",
              "| what was read | " + " | ".join(f"period {t}" for t in periods) + " |", "|" + "---|" * (len(periods) + 1)]  # fmt: skip
    lines += [
        f"| {name} | "
        + " | ".join(f"{mean(values['share'][t]):.3f} ({max(values['p_value'][t]):.3f})" for t in periods)
        + " |"
        for name, values in conditions.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read one file, write two."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    found = json.loads(source.read_text(encoding="utf-8"))
    target.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
