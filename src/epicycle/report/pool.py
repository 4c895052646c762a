"""The page of several ledgers pooled: the claims, where each reading is from, what was trained."""

import shlex
from collections.abc import Sequence
from typing import Any

from markupsafe import escape

from epicycle.report.ledger import ledger_section, verdict_sentences, verdict_tiles
from epicycle.report.page import Page, Section, Tile, table
from epicycle.report.references import REFERENCES
from epicycle.studies.pool import Pooled, Training, looking_at, trainings
from epicycle.studies.stored import Ledger

COUNTING = (
    "Of a seed that several ledgers have, readings that say the same count once. Those that differ all count, and so does one that was still open at a step by which the run of another ledger had "
    "grokked: these are two trainings of one seed, since versions and, before the compiled step was the same on all, processors round differently, and to keep one of them would choose by the outcome."
)


Looked = Sequence[tuple[Training, list[str]]]
"""Trainings, and the ids of the claims that look at each."""


def numbers(
    ledgers: Sequence[Ledger], found: Sequence[Pooled], looked: Looked, command: str, missing: Sequence[str]
) -> dict[str, Any]:
    """Every number of the page. Pooled ledgers are no input of another pool: pool what they are made of."""
    return {
        "paper": ledgers[0].paper,
        "pooled": [each.as_json() for each in ledgers],
        "command": command,
        "counting": COUNTING,
        "claims": [each.as_json() for each in found],
        "ungraded": list(missing),
        "trainings": [each.as_json() | {"claims": claims} for each, claims in looked],
    }


def reservations(found: Sequence[Pooled], ledgers: Sequence[Ledger]) -> tuple[str, ...]:
    """What the counts of verdicts do not show: ledgers that lend no reading, verdicts that others give, rules of before."""
    idle = [each.name for each in ledgers if not any(each.name in one.ledgers for one in found)]
    other = [f"{one.entry.claim.id} ({verdict} in {name})" for one in found for verdict, name in one.elsewhere if verdict != one.entry.verdict]  # fmt: skip
    old = [one.entry.claim.id for one in found if not one.is_current and one.entry.verdict != "not run"]
    said = [(idle, "No reading is taken from"), (other, "Ledgers whose rule or settings are others, and that are not pooled, say otherwise of"), (old, "Graded by the rule of their ledger, which is another today:")]  # fmt: skip
    return tuple(f"{words} {', '.join(names)}." for names, words in said if names)


def _ledgers(ledgers: Sequence[Ledger], missing: Sequence[str]) -> Section:
    rows = [
        [each.name, f"{each.bound:,}" if each.bound else "all equally long", ", ".join(map(str, each.seeds)), len(each.graded), each.revision, each.command]
        for each in ledgers
    ]  # fmt: skip
    return Section("ledgers", "The ledgers", "What was pooled.", table(["ledger", "bound on steps", "seeds", "claims", "revision", "command"], rows),
                   ("Readings are taken as the ledgers have them; ledgers of different revisions may measure differently what is worded alike.",
                    *([f"Graded by none of them: {', '.join(missing)}."] if missing else [])))  # fmt: skip


def _origins(found: Sequence[Pooled]) -> Section:
    rows = []
    for each in found:
        seeds: dict[str, list[str]] = {}
        for name, reading in zip(each.ledgers, each.entry.readings, strict=True):
            seeds.setdefault(name, []).append(str(reading.seed))
        said = "; ".join(f"{', '.join(own)} of {name}" for name, own in seeds.items())
        rows.append([each.entry.claim.id, said, "; ".join(each.apart)])
    return Section("origins", "Where readings are from", "Pooled are ledgers with one statement, rule and settings.", table(["claim", "seeds", "what is not pooled"], rows), (COUNTING,))  # fmt: skip


def _trainings(looked: Looked) -> Section | None:
    rows = [
        [one.label, str(one.seed), "" if one.first is None else f"{one.first:,}", f"{one.trained:,}", f"{one.accuracy:.1%}", one.ledger, ", ".join(claims)]
        for one, claims in looked
    ]  # fmt: skip
    if not rows:
        return None
    return Section("trainings", "Trainings", "Every training once, as far as any ledger followed it.",
                   table(["condition", "seed", "grokked at", "trained for", "final test accuracy", "ledger", "claims with a reading from it"], rows),
                   ("Two transfers of one condition and seed are two trainings if their sources, or what chose their beginnings, differ. Where one seed went several ways, all are there. A ledger that followed them further may have graded other claims. A claim is named where a reading of it is from that training (of equal readings of one seed, the first ledger's is taken); those of a rule of before are not. Claims that look at one training are no independent evidence.",))  # fmt: skip


def pool_page(
    ledgers: Sequence[Ledger], found: Sequence[Pooled], files: Sequence[str], missing: Sequence[str] = ()
) -> Page:
    """The report.

    Args:
        ledgers: What was pooled.
        found: Its claims.
        files: The ledgers' files, as they were given.
        missing: What none of them has graded (`studies.pool.ungraded`).
    """
    entries, paper = [each.entry for each in found], ledgers[0].paper
    seeds = sorted({seed for each in ledgers for seed in each.seeds})
    finding = verdict_sentences(entries, f" in {len(ledgers)} ledgers with {len(seeds)} seeds") + reservations(found, ledgers)  # fmt: skip
    tiles = (*verdict_tiles(entries), Tile("seeds", str(len(seeds)), f"in {len(ledgers)} ledgers"))
    command = " ".join(["epicycle reproduce", paper, "--pool", *map(shlex.quote, files)])
    looked = [(each, looking_at(found, each, ledgers)) for each in trainings(ledgers)]
    cited = "".join(f"<p class='caveat'>{escape(REFERENCES[key][0])}</p>" for key in ("epicycle", paper))
    sections = [
        ledger_section(entries, "Nothing was trained for this page: it grades the readings of other ledgers."),
        _origins(found),
        _ledgers(ledgers, missing),
        _trainings(looked),
        Section("provenance", "How to run this again", "The command, the papers.", f"<pre>{escape(command)}</pre>{cited}"),
    ]  # fmt: skip
    doubts = ("A verdict with three seeds is weak: three of three leaves a success rate anywhere between 44 and 100 % possible (Wilson).",
              "A seed that was open on one machine and is trained to the end on another that rounds differently is a new draw, not the rest of the old run.",
              "Which ledgers are pooled is a choice: leaving one out by what it says would choose the verdict.")  # fmt: skip
    return Page(f"{paper}: {len(ledgers)} ledgers", "Several ledgers pooled", finding, tiles, doubts, tuple(s for s in sections if s is not None),
                numbers(ledgers, found, looked, command, missing))  # fmt: skip
