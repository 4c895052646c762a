"""Prints the README's table of a finished study, and writes its evidence.

python examples/study_table.py runs/zhou2024-laptop-... docs/results/zhou2024-laptop.json
"""

import sys
from pathlib import Path

from epicycle._files import to_json
from epicycle.report.zhou2024 import numbers_of
from epicycle.runs.directory import open_run
from epicycle.studies.zhou2024 import Study, read_study
from epicycle.studies.zhou2024_claims import ledger


def table(study: Study) -> str:
    """Accuracy per arm and seed."""
    lines = ["| arm | test accuracy, seeds 0, 1, 2 |", "|---|---|"]
    for arm in study.preset.arms:
        found = [study.explanations[arm, seed].ablations for seed in study.preset.seeds]
        lines.append(
            f"| {arm} | " + ", ".join(f"{a.row('none', 'none')['accuracy']:.1%}" for a in found if a is not None) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    study = read_study(open_run(sys.argv[1]))
    print(table(study))
    Path(sys.argv[2]).write_text(to_json(numbers_of(study, ledger(study)), indent=1) + "\n", encoding="utf-8")
