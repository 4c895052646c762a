"""In how many seeds claims on what falls or stays hold, were the threshold between the two another than 0.8.

epicycle reproduce furuta2024 --pool docs/results/furuta2024-*.json
python examples/thresholds_of_verdicts.py runs/furuta2024-pooled-XXXXXXXX/report.json
Read off the notes of the readings, which have every measure of the rule at its beginning and end; claims whose rule differs between odd and even n are left out.
"""

import json
import re
import sys
from pathlib import Path

THRESHOLDS = (0.7, 0.75, 0.8, 0.85, 0.9)


def main() -> None:
    """Print a row for every claim."""
    print("| claim |", " | ".join(f"{each:.2f}" for each in THRESHOLDS), "|")
    for claim in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["claims"]:
        expected = dict(re.findall(r"((?:FFD|FCR)\(W_[EL]\)) (falls|stays)", claim["rule"]))
        moved = [
            re.findall(r"((?:FFD|FCR)\(W_[EL]\)) ([\d.]+) to ([\d.]+)", reading["note"])
            for reading in claim["readings"]
        ]
        moved = [each for each in moved if each]
        if not moved or not expected or "odd n" in claim["rule"]:
            continue
        ratios = [[(expected[name], float(end) / float(begin)) for name, begin, end in each] for each in moved]
        counts = [
            sum(all((ratio <= t) == (what == "falls") for what, ratio in each) for each in ratios) for t in THRESHOLDS
        ]
        print(f"| {claim['id']} |", " | ".join(f"{count} of {len(ratios)}" for count in counts), "|")


if __name__ == "__main__":
    main()
