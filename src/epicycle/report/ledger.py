"""The ledger of claims as a section of a report."""

from collections.abc import Sequence
from typing import get_args

from epicycle.report.page import Section, Tile, number, table
from epicycle.studies.ledger import Cause, Entry

HEADER = ("claim", "statement", "verdict", "published", "ours, mean (range over seeds)", "control", "rule")


def ledger_section(entries: Sequence[Entry], caveat: str) -> Section:
    """Every claim with its verdict; published and measured values stand in columns of their own, reasons in a table below."""
    rows = []
    for e in entries:
        values, c = e.as_json(), e.claim
        measured = f"{_measured(e)}: {c.measured}" if _measured(e) else c.measured
        control = "" if values["control"] is None else f"{number(values['control'])}: "
        rows.append([c.id, c.statement, e.verdict, c.published, measured, control + c.control, c.rule])
    body = table(list(HEADER), rows)
    body += table(
        ["claim", "verdict", "cause", "why", "what would settle it"],
        [[e.claim.id, e.verdict, e.cause, e.reason, e.needs] for e in entries],
    )
    return Section("ledger", "Ledger", "Claims of the paper with their verdicts; published and measured values stand apart.", body,
                   (caveat, "Confirmed: the rule holds in every seed of at least three (in one reading where nothing is trained); refuted: in none; undetermined: otherwise, or fewer can tell."))  # fmt: skip


def _measured(entry: Entry) -> str:
    """The mean with its range; seed by seed where seeds show different quantities."""
    values = entry.as_json()
    told = [r for r in entry.readings if r.value is not None]
    if values["measured"] is None:
        return "; ".join(f"{number(r.value)}{f' ({r.what})' if r.what else ''}" for r in told)
    what = f"{told[0].what}: " if told[0].what else ""
    return f"{what}{number(values['measured'])} ({number(values['interval'][0])} to {number(values['interval'][1])})"


def verdict_counts(entries: Sequence[Entry]) -> dict[str, int]:
    """Verdict -> number of claims."""
    return {
        verdict: sum(e.verdict == verdict for e in entries)
        for verdict in ("confirmed", "refuted", "undetermined", "not run")
    }


def verdict_sentences(entries: Sequence[Entry], how: str) -> tuple[str, str]:
    """How many claims have which verdict, and which; `how` says on how many seeds they rest."""
    counts = verdict_counts(entries)
    named = lambda verdict: ", ".join(e.claim.id for e in entries if e.verdict == verdict) or "none"  # noqa: E731
    rest = f", {counts['not run']} not run" if counts["not run"] else ""
    return (f"Of {len(entries)} claims{how}, {counts['confirmed']} are confirmed, {counts['refuted']} refuted, {counts['undetermined']} undetermined{f' ({_causes(entries)})' if counts['undetermined'] else ''}{rest}.",
            f"Confirmed: {named('confirmed')}. Refuted: {named('refuted')}. Undetermined: {named('undetermined')}.")  # fmt: skip


def _causes(entries: Sequence[Entry]) -> str:
    """Why claims are undetermined, with how many: what is known not to hold always nor never stands apart from what is not known."""
    counts = {cause: sum(e.cause == cause for e in entries) for cause in get_args(Cause) if cause}
    return ", ".join(f"{count}: {cause}" for cause, count in counts.items() if count) or "none"


def verdict_tiles(entries: Sequence[Entry]) -> tuple[Tile, ...]:
    """The counts as figures of the first screen."""
    counts = verdict_counts(entries)
    return (Tile("confirmed", str(counts["confirmed"]), f"of {len(entries)} claims"), Tile("refuted", str(counts["refuted"]), "the rule holds in no seed"),
            Tile("undetermined", str(counts["undetermined"]), _causes(entries)))  # fmt: skip
