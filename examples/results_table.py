"""Prints the README's table of runs, and writes the same numbers as JSON.

python examples/results_table.py RUNS_DIRECTORY docs/results/grok.json
"""

import json
import sys
from pathlib import Path

from epicycle import analyse_run, list_runs

rows = []
for run in list_runs(Path(sys.argv[1])):
    record = run.record()
    if record["status"] != "finished":
        continue
    circuit = analyse_run(run).circuits[0]
    losses, site = circuit.losses[circuit.basis]["answer"], circuit.measures[circuit.basis]
    rows.append({
        "formula": circuit.formula, "modulus": circuit.modulus, "seed": record["config"]["resolved"]["seed"],
        "outcome": record["outcome"], "steps": record["steps"], "final": record["final"], "basis": circuit.basis,
        "key_frequencies": list(circuit.key_frequencies),
        "measures": {b: {s: circuit.measures[b][s] for s in ("W_E", "W_L")} for b in ("additive", "multiplicative")},
        "losses": {k: losses[k] for k in ("full", "full_train", "restricted", "excluded", "control", "share")},
        "config_sha256": record["config"]["sha256"], "provenance": record["provenance"], "seconds": record["seconds"],
    })  # fmt: skip

print("| formula, seed | first grok | sustained | basis | key frequencies | FFD of W_E additive / multiplicative "
      "| restricted | excluded | control |")  # fmt: skip
print("|---|---|---|---|---|---|---|---|---|")
for row in sorted(rows, key=lambda row: (row["formula"], row["seed"])):
    steps, losses = row["steps"], row["losses"]
    first, sustained = (f"{steps[k]:,}" if steps[k] is not None else "none" for k in ("first", "sustained"))
    density = " / ".join(f"{row['measures'][b]['W_E']['ffd']:.3f}" for b in ("additive", "multiplicative"))
    print(f"| `{row['formula']}`, {row['seed']} | {first} | {sustained} | {row['basis']} "
          f"| {', '.join(map(str, row['key_frequencies'])) or 'none'} | {density} | {losses['restricted']:.1e} "
          f"| {losses['excluded']:.2f} | {max(losses['control'], default=float('nan')):.1e} |")  # fmt: skip
Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
Path(sys.argv[2]).write_text(json.dumps(rows, indent=1) + "\n")
