"""The report of one explained language model: the finding, then its sections."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import escape

from epicycle.analysis.ablation import nearest_controls
from epicycle.analysis.embedding import named_periods
from epicycle.analysis.explain import Explanation
from epicycle.analysis.explanation_json import as_json
from epicycle.fourier.bands import HIGH_PERIOD
from epicycle.report.explain_sections import (
    ablations_section,
    digits_section,
    embedding_section,
    geometry_section,
    helix_section,
    lens_section,
    modules_section,
    residual_section,
    residues_section,
    waves_section,
)
from epicycle.report.page import Page, Section, Tile, number, table
from epicycle.report.references import LANGUAGE, REFERENCES
from epicycle.tasks.prompts import prompt_task


def command(found: Explanation) -> str:
    """The shell command that asks the same again."""
    c, p, a = found.config, found.config.prompts, found.config.ablation
    given = found.run.record()["config"]["given"]
    words = ["epicycle", "explain", shlex.quote(str(given.get("model_argument", found.facts["name"])))]
    options = {
        "--operation": (p.operation, None), "--form": (p.form, None), "--largest-operand": (p.largest_operand, None),
        "--boundary": (p.boundary, None), "--shots": (p.shots, None), "--split-seed": (p.split_seed, None), "--split": (c.split, "test"), "--cap": (p.cap, None),
        "--limit": (c.limit, None), "--numbers": (c.numbers, None), "--table": (c.table, "embedding"), "--positions": (a.positions, "answer"),
        "--convention": (a.convention, "orthonormal"), "--reading": (a.reading, "component"), "--high-period": (a.high_period, HIGH_PERIOD),
        "--controls": (a.controls, 3), "--control-seed": (a.seed, 0), "--draws": (c.draws, 999), "--dtype": (c.dtype, "float32"),
    }  # fmt: skip
    for flag, (value, default) in options.items():
        if value != default:
            words += [flag, str(value)]
    if c.helix is not None:
        words += ["--helix", *([",".join(f"{t:g}" for t in c.helix)] if c.helix else [])]
    flags = [flag for flag, is_on in (("--fold-norm", a.is_folded), ("--swapped", c.swapped)) if is_on]
    return " ".join(words + flags)


def finding(found: Explanation) -> tuple[str, ...]:
    """What was found, each with what it is held against."""
    facts = found.facts
    if found.residual is not None:
        strong = [f"{found.residual.period[i]:.3g}" for i in np.flatnonzero(found.residual.p_family[-1] <= 0.05)]
        first = [f"{found.residual.period[i]:.3g}" for i in np.flatnonzero(found.residual.p_family[0] <= 0.05)]
        new = [period for period in strong if period not in first]
        return (facts["number_space_sentence"],
                f"In the stream after the last layer, at a number's last token, {_list('period', strong)} out from numbers permuted within decades "
                f"(p <= 0.05, all frequencies looked at). Of these, {', '.join(new) or 'none'} {'was' if len(new) < 2 else 'were'} not there already in the embedding of "
                "that token, which for a tokenizer of digits is the last digit and has its periods of necessity.")  # fmt: skip
    assert found.spectrum is not None and found.ablations is not None and found.lens is not None
    base = found.ablations.row("none", "none")
    task = prompt_task(found.config.prompts)
    first = (f"{facts['name']} answers {base['accuracy']:.1%} of {found.lens.prompts:,} {found.config.split} questions on {task.name} "
             f"(always the commonest answer: {found.lens.guess_exact:.1%}).{_asked(found)}")  # fmt: skip
    at = named_periods(found.spectrum)
    beyond = [a for a in at if a["p_value"] <= 0.01]
    names = ", ".join(_period(a) for a in beyond) or "none"
    places = ", ".join(f"{_period(a)} is number {a['place']}" for a in at)
    second = (f"Of the periods 2, 2.5, 5 and 10, its number embedding carries {names} beyond numbers permuted within decades (p <= 0.01); by share "
              f"of power, without the trend, period {places} of {len(found.spectrum.period)}.")  # fmt: skip
    return first, second, _causal(found)


def _list(noun: str, values: list[str]) -> str:
    """None, one or several of a noun, with the verb `stand`."""
    if not values:
        return f"no {noun} stands"
    return f"{noun} {values[0]} stands" if len(values) == 1 else f"the {noun}s {', '.join(values)} stand"


def _period(at: dict[str, float]) -> str:
    """A named period, with the one it was read at where the table does not have it exactly."""
    asked, read = at["asked"], at["period"]
    return f"{asked:g}" if abs(read / asked - 1) < 0.01 else f"{asked:g} (read at {read:.3g})"


def _asked(found: Explanation) -> str:
    """What of the questions was left out, and whether the model had seen some."""
    asked = found.facts["questions"]
    left = asked["of"] - asked["asked"]
    out = (
        f" {left:,} questions of that part were not asked ({asked['beyond']:,} with answers beyond the table of numbers)."
        if left
        else ""
    )
    seen = asked["trained_on"]
    if seen and found.config.split != "train":
        out += f" It was trained on {seen:.1%} of these very pairs: this is not held-out accuracy."
    return out


def _causal(found: Explanation) -> str:
    """What the removals show, in a sentence."""
    assert found.ablations is not None
    rows = [row for row in found.ablations.rows if row["band"] != "none" and "refused" not in row]
    refused = [row for row in found.ablations.rows if "refused" in row]
    base = found.ablations.row("none", "none")["accuracy"]
    if not rows:
        return "No band could be removed: each would have taken most of the width; the sentences below say what would work."
    if base < 0.2:
        return f"With an accuracy of {base:.1%} there is little to lose, so the removals below say little."
    hit = []
    for row in rows:
        least = min(nearest_controls(row)["accuracy"])
        if row["accuracy"] < least - 0.1:
            who = {"attn": "attention", "mlp": "MLPs", "both": "attention and MLPs"}[row["modules"]]
            hit.append(
                f"the {row['band']} band of {who} ({row['accuracy']:.1%}, random subspaces of the same rank {least:.1%} or more)"
            )
    tail = f" {len(refused)} removals were refused." if refused else ""
    if not hit:
        return "No removal of a band costs more than random subspaces of the same rank do (by 10 points)." + tail
    return f"Answers depend, more than on random subspaces of the same rank, on {'; '.join(hit)}." + tail


def doubts(found: Explanation) -> tuple[str, ...]:
    """What would make the numbers of the page wrong or meaningless."""
    facts, notes = found.facts, []
    if found.residual is not None:
        return ("A spectrum of the stream shows what is written there, not what is used.",
                "The last digit alone makes every function of it periodic with ten.")  # fmt: skip
    assert found.ablations is not None
    ablations = found.ablations
    notes.append("Spikes in a spectrum do not show that the numbers can be told apart by residue, nor that they are used; how often numbers occur "
                 "alone makes spikes at 2, 2.5, 5 and 10.")  # fmt: skip
    if facts["is_tied"]:
        notes.append(
            "Embedding and unembedding are one matrix here: whatever is found in one is found in the other, and freezing one freezes both."
        )
    if not ablations.settings["is_folded"]:
        notes.append(f"Module logits and removals leave the final {facts['norm']} out, as the paper does; its gain changes which directions count. "
                     "Repeat with --fold-norm.")  # fmt: skip
    if ablations.settings["positions"] == "answer":
        notes.append("Outputs were filtered at the answer position only; repeat with --positions all.")
    low, high = (ablations.row("attn", band) for band in ("low", "high"))
    if low["rank"] != high["rank"]:
        notes.append(f"The two bands differ in rank, {low['rank']} and {high['rank']} of {ablations.width} dimensions: compare a removal with its own controls, "
                     "not with the other band.")  # fmt: skip
    if ablations.numbers % 2 == 0:
        notes.append("Period 2 has one wave where every other period has two, so by chance its share of power is half as large and its place low; its p-value allows "
                     "for that.")  # fmt: skip
    if found.facts.get("frequency_source") == "taken from the order of the vocabulary":
        notes.append("How often numbers occurred is not known; the order of the vocabulary stands for it.")
    if not found.config.swapped:
        notes.append("Every pair was split once and is asked with the smaller operand first; repeat with --swapped.")
    if found.config.dtype != "float32":
        notes.append(
            f"The model computes in {found.config.dtype}: logits that differ by less than its rounding are tied, and losses are as coarse."
        )
    return tuple(notes)


def _tiles(found: Explanation) -> tuple[Tile, ...]:
    facts = found.facts
    tiles = [Tile("model", facts["type"], f"{facts['layers']} layer{'s' * (facts['layers'] > 1)}, width {facts['width']}"),
             Tile("numbers", f"{facts['number_space']['count']:,}", f"single tokens, {facts['number_space']['form']}")]  # fmt: skip
    if found.ablations is not None and found.lens is not None and found.spectrum is not None:
        base = found.ablations.row("none", "none")
        tiles += [Tile("accuracy", f"{base['accuracy']:.2%}", f"commonest answer {found.lens.guess_exact:.2%}"),
                  Tile("loss", number(base["loss"]), f"nats; even guess {np.log(facts['vocabulary']):.2f}")]  # fmt: skip
        best = int(np.argmax(found.spectrum.share))
        tiles.append(
            Tile(
                "largest period",
                f"{found.spectrum.period[best]:.3g}",
                f"{found.spectrum.share[best]:.1%} of the embedding's power",
            )
        )
    return tuple(tiles)


def _provenance(found: Explanation) -> Section:
    record = found.run.record()
    facts = record["provenance"]
    rows = [["model", found.facts["name"]], ["numbers", found.facts["number_space_sentence"]], ["dtype", facts["dtype"]], ["device", facts["device"]],
            ["threads", facts["threads"]], ["epicycle", facts["epicycle"]], ["revision", facts["revision"] or "installed"], ["python", facts["python"]],
            *[[name, version or "not installed"] for name, version in facts["packages"].items()]]  # fmt: skip
    body = f"<pre>{escape(command(found))}</pre>" + table(["what", "value"], [[str(a), str(b)] for a, b in rows])
    body += "".join(f"<p class='caveat'>{escape(REFERENCES[key][0])}</p>" for key in LANGUAGE)
    return Section("provenance", "How to run this again", "The command, the versions, the papers.", body)


SECTIONS: dict[str, Callable[[Explanation], Section | None]] = {
    "embedding": embedding_section,
    "geometry": geometry_section, "digits": digits_section, "lens": lens_section, "modules": modules_section, "residues": residues_section, "waves": waves_section, "ablations": ablations_section, "helix": helix_section, "residual": residual_section,
    "provenance": _provenance,
}  # fmt: skip
"""Name -> what draws it; None where the explanation has no such part."""


def explain_page(found: Explanation) -> Page:
    """The report of an explained model."""
    sections = [section for make in SECTIONS.values() if (section := make(found)) is not None]
    numbers: dict[str, Any] = as_json(found, str(found.run.path / "report.html")) | {
        "command": command(found),
        "provenance": found.run.record()["provenance"],
    }
    for part in ("spectrum", "map"):
        if (result := getattr(found, part)) is not None:
            numbers[part] = {**result.parts()[0], **result.parts()[1]}
    if found.modules is not None:
        numbers["modules"] = {**found.modules.parts()[0], **found.modules.parts()[1]}
    name = found.facts["name"]
    heading = (
        f"How {name} holds numbers"
        if found.residual is not None
        else f"How {name} {'adds' if found.config.prompts.operation == 'add' else 'multiplies'}"
    )
    return Page(f"{name}: explained", heading,
                finding(found), _tiles(found), doubts(found), tuple(sections), numbers)  # fmt: skip


def write_explanation(found: Explanation) -> Path:
    """Write report.html and report.json into the explanation's directory; returns the path of the former."""
    return explain_page(found).save(found.run.path / "report.html")
