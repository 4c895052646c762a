"""The report of a study of given models: the ledger, what each model is, and where its own page lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import escape

from epicycle.report.ledger import ledger_section, verdict_counts
from epicycle.report.page import Page, Section, Tile, table
from epicycle.report.references import LANGUAGE, REFERENCES
from epicycle.studies.ledger import Entry
from epicycle.studies.zhou2024 import Study


def _models(study: Study) -> Section:
    rows = []
    for (role, part), found in {**study.explanations, **study.variants}.items():
        if part == 0 and found.ablations is not None:
            facts = found.facts
            rows.append(
                [
                    role,
                    facts["name"],
                    facts["type"],
                    facts["layers"],
                    facts["width"],
                    f"{found.ablations.row('none', 'none')['accuracy']:.2%}",
                    found.run.id,
                ]
            )
    body = table(
        ["as", "model", "type", "layers", "width", "accuracy, part 0", "explanation"],
        rows,
        "Every explanation has a report.html of its own.",
    )
    return Section("models", "Models", "What was explained.", body, ())


def model_study_page(study: Study, entries: Sequence[Entry]) -> Page:
    """The report of a study of given models."""
    counts = verdict_counts(entries)
    named = lambda verdict: ", ".join(e.claim.id for e in entries if e.verdict == verdict) or "none"  # noqa: E731
    tuned = study.explanations["pretrained", 0].facts["name"]
    finding = (f"On {tuned}, {counts['confirmed']} of {len(entries)} claims are confirmed, {counts['refuted']} refuted, {counts['undetermined']} undetermined; {counts['not run']} need models "
               "that were not given.", f"Confirmed: {named('confirmed')}. Refuted: {named('refuted')}. Undetermined: {named('undetermined')}. Not run: {named('not run')}.")  # fmt: skip
    record = study.run.record()
    command = record.get("command", "epicycle reproduce zhou2024 --model MODEL")
    provenance = f"<pre>{escape(command)}</pre>" + table(
        ["what", "value"],
        [[name, str(value)] for name, value in record["provenance"].items() if not isinstance(value, dict)],
    )
    provenance += "".join(f"<p class='caveat'>{escape(REFERENCES[key][0])}</p>" for key in LANGUAGE)
    sections = (ledger_section(entries, "A verdict speaks of this model alone: its questions were dealt into parts, and no other model was trained."), _models(study),
                Section("provenance", "How to run this again", "The command, the versions, the papers.", provenance, ()))  # fmt: skip
    tiles = tuple(
        Tile(verdict, str(counts[verdict]), f"of {len(entries)} claims")
        for verdict in ("confirmed", "refuted", "undetermined", "not run")
    )
    doubts = ("Parts of the questions of one model are no replications of its training: intervals over parts say how sure a number is for this model, not how common it is.",
              "Claims on the embedding alone have one reading.")  # fmt: skip
    numbers: dict[str, Any] = {
        "command": command,
        "provenance": record["provenance"],
        "config": record["config"]["resolved"],
        "claims": [entry.as_json() for entry in entries],
    }
    return Page(
        f"zhou2024: {tuned}",
        "Addition in a language model: the ledger of one model",
        finding,
        tiles,
        doubts,
        sections,
        numbers,
    )


def write_model_study(study: Study, entries: Sequence[Entry]) -> Path:
    """Write report.html and report.json into the study's directory; returns the path of the former."""
    return model_study_page(study, entries).save(study.run.path / "report.html")
