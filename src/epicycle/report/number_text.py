"""The report of number text as an experiment: which kind of sentence makes which period, by spectrum and by kappa."""

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import escape

from epicycle.plots import style
from epicycle.plots.geometry import condition_map
from epicycle.report.page import Page, Section, Tile, drawing, table
from epicycle.report.references import REFERENCES
from epicycle.studies.number_text import (
    PERIODS,
    RELABELLED,
    RESIDUES,
    WHOLE,
    Study,
    conditions,
    enough,
    kappas,
    needed,
    preset,
    shares,
)
from epicycle.tasks.number_text import KINDS


def command(study: Study) -> str:
    """The shell command that runs the study again."""
    chosen, usual = study.preset, preset(study.preset.name)
    seeds = "" if chosen.seeds == usual.seeds else f" --seed {chosen.seeds[0]} --seeds {len(chosen.seeds)}"
    return f"epicycle reproduce number-text --preset {chosen.name}{seeds}"


def _range(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _named(found: list[tuple[str, float]]) -> str:
    return ", ".join(f"{kind} ({value:.2f})" for kind, value in found[:5]) or "none"


def finding(study: Study) -> tuple[str, ...]:
    """The sentences at the top."""
    whole = {t: kappas(study, WHOLE, t) for t in (2, 5, 10)}
    mixed = {t: kappas(study, RELABELLED, t) for t in (2, 5, 10)}
    lines = [f"After all kinds of sentences the residues modulo 2, 5 and 10 are read from held-out rows with a kappa of {', '.join(f'{np.mean(v):.2f}' for v in whole.values())}; "
             f"with the numbers' names exchanged, {', '.join(f'{np.mean(v):.2f}' for v in mixed.values())}."]  # fmt: skip
    alone = lambda t: f" Alone enough: {_named(enough(study, t))} (kappa)." if study.preset.alone else ""  # noqa: E731
    lines += [
        f"T = {t}: worse in every seed without {_named(needed(study, t))} (loss of kappa).{alone(t)}"
        for t in (2, 5, 10)
    ]
    return tuple(lines)


def numbers_of(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    record = study.run.record()
    found = {}
    for condition in conditions(study.preset):
        found[condition] = {
            "kappa": {str(t): kappas(study, condition, t) for t in RESIDUES},
            "kappa_level": {
                str(t): [study.geometry[condition, s].at(t)["control_level"] for s in study.preset.seeds]
                for t in RESIDUES
            },
            "share": {f"{t:g}": [share for share, _ in shares(study, condition, t)] for t in PERIODS},
            "p_value": {f"{t:g}": [p for _, p in shares(study, condition, t)] for t in PERIODS},
            "runs": [study.runs[condition, s].id for s in study.preset.seeds],
        }
    return {"preset": study.preset.name, "seeds": list(study.preset.seeds), "command": command(study), "provenance": record["provenance"], "conditions": found,
            "needed": {str(t): needed(study, t) for t in RESIDUES}, "enough": {str(t): enough(study, t) for t in RESIDUES}}  # fmt: skip


def study_page(study: Study) -> Page:
    """The report of the experiment."""
    names = list(conditions(study.preset))
    seeds = study.preset.seeds
    grid = np.array([[np.mean(kappas(study, name, t)) for t in RESIDUES] for name in names])
    with style.figure(7.2, 0.9 + 0.24 * len(names)) as (fig, ax):
        condition_map(grid, names, RESIDUES, ax)
        body = drawing(
            style.svg(fig, "Kappa of n mod T by what was read"),
            f"Kappa of a linear probe of n mod T on held-out numbers, mean of {len(seeds)} seeds; 3, 7 and 9 are controls.",
        )
    rows = [[name, *(_range(kappas(study, name, t)) for t in RESIDUES)] for name in names]
    body += table(["what was read", *(f"n mod {t}" for t in RESIDUES)], rows, "Kappa: mean and range over seeds.")
    spectra = [
        [
            name,
            *(
                f"{np.mean([share for share, _ in shares(study, name, t)]):.3f} ({max(p for _, p in shares(study, name, t)):.3f})"
                for t in PERIODS
            ),
        ]
        for name in names
    ]
    power = table(["what was read", *(f"period {t:.3g}" for t in PERIODS)], spectra,
                  "Share of power without the trend, mean over seeds, and the largest p-value over seeds under numbers permuted within decades.")  # fmt: skip
    record = study.run.record()["provenance"]
    how = f"<pre>{escape(command(study))}</pre>" + table(
        ["what", "value"], [[name, str(value)] for name, value in record.items() if not isinstance(value, dict)]
    )
    how += "".join(f"<p class='caveat'>{escape(REFERENCES[key][0])}</p>" for key in ("zhou2024",))
    sections = (Section("kappa", "Which residues can be read", "One small model per row and seed, pre-trained on that text alone.", body,
                        ("A kind that is switched off leaves more room for the others: each text is equally long.",)),
                Section("power", "Which periods have power", "The same embeddings, by spectrum.", power, ("Power at a period does not show that its residues can be read.",)),
                Section("provenance", "How to run this again", "The command and the versions.", how, ()))  # fmt: skip
    tiles = (
        Tile("models", str(len(study.runs)), f"{len(names)} texts, {len(seeds)} seeds"),
        Tile("kinds of sentences", str(len(KINDS)), "as far as the range has room"),
    )
    doubts = ("Number text is made up; prose mixes its kinds in other proportions.", "The models are small (one layer, width 128): larger ones may read a period from kinds that give these none.",
              f"Worse in every one of {len(seeds)} seeds is weak evidence for a small loss.")  # fmt: skip
    return Page(
        f"number text: {study.preset.name}",
        "Which sentences make which periods",
        finding(study),
        tiles,
        doubts,
        sections,
        numbers_of(study),
    )


def write_study(study: Study) -> Path:
    """Write report.html and report.json into the study's directory; returns the path of the former."""
    return study_page(study).save(study.run.path / "report.html")
