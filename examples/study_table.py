"""Prints the README's table of a finished study, and writes its evidence.

python examples/study_table.py runs/zhou2024-laptop-... docs/results/zhou2024-laptop.json
"""

import json
import sys
from pathlib import Path

from epicycle._files import to_json
from epicycle.analysis.embedding import PERIODS, at_period
from epicycle.runs.directory import open_run
from epicycle.studies.zhou2024 import Study, read_study
from epicycle.studies.zhou2024_claims import ledger


def evidence(study: Study) -> dict:
    """Accuracies, places and p-values of the named periods, removals with their controls, and every claim's readings."""
    arms = {}
    for (arm, seed), found in study.explanations.items():
        assert found.ablations is not None and found.spectrum is not None
        rows = [{k: row[k] for k in ("modules", "band", "rank", "accuracy", "loss", "control_accuracy", "controls", "errors", "refused") if k in row}
                for row in found.ablations.rows]  # fmt: skip
        arms[f"{arm} {seed}"] = {"test_accuracy": found.ablations.row("none", "none")["accuracy"], "removals": rows,
                                 "embedding": [at_period(found.spectrum, p) for p in PERIODS]}  # fmt: skip
    pretrained = {
        seed: [at_period(found.spectrum, p) for p in PERIODS]
        for seed, found in study.embeddings.items()
        if found.spectrum is not None
    }
    record = study.run.record()
    return {"config": record["config"]["resolved"], "provenance": record["provenance"], "pretrained": pretrained, "arms": arms,
            "claims": [entry.as_json() for entry in ledger(study)]}  # fmt: skip


def table(study: Study) -> str:
    """Accuracy per arm and seed."""
    lines = ["| arm | test accuracy, seeds 0, 1, 2 |", "|---|---|"]
    for arm in study.preset.arms:
        found = [study.explanations[arm, seed].ablations for seed in range(study.preset.seeds)]
        lines.append(
            f"| {arm} | " + ", ".join(f"{a.row('none', 'none')['accuracy']:.1%}" for a in found if a is not None) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    study = read_study(open_run(sys.argv[1]))
    print(table(study))
    Path(sys.argv[2]).write_text(json.dumps(json.loads(to_json(evidence(study))), indent=1) + "\n", encoding="utf-8")
