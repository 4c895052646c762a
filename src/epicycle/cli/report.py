"""`epicycle report`."""

import argparse
from typing import Any

HELP = "Writes the report of a finished run again, from what is on disk."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", help="a run directory, or the id of a run under --out")
    parser.add_argument(
        "--parts",
        action="store_true",
        help="cut the logits into key frequencies, other frequencies and the rest, beside random planes (a minute or so)",
    )
    parser.add_argument("--again", action="store_true", help="compute the analyses again instead of reading them")


def _study(found: Any) -> Any:
    values = found.record()["config"]
    if "pooled" in values["resolved"]:
        from epicycle.cli.pool import write_pooled

        return write_pooled(found)
    if values["resolved"]["paper"] == "furuta2024":
        from epicycle.report.furuta2024 import write_study
        from epicycle.studies.furuta2024 import read_study
        from epicycle.studies.furuta2024_claims import claims_of, ledger

        study = read_study(found)
        return write_study(study, ledger(study, claims_of(values["resolved"]["claims"])))
    if values["resolved"]["paper"] == "number-text":
        from epicycle.report.number_text import write_study as write_number_text
        from epicycle.studies.number_text import read_study as read_number_text

        return write_number_text(read_number_text(found))
    if "models" in values["resolved"]:
        from epicycle.report.zhou2024_model import write_model_study
        from epicycle.studies.zhou2024_claims import ledger as ledger_of_models
        from epicycle.studies.zhou2024_model import read_model_study

        given = read_model_study(found)
        return write_model_study(given, ledger_of_models(given))
    from epicycle.report import zhou2024 as page
    from epicycle.studies.zhou2024 import read_study as read_zhou2024
    from epicycle.studies.zhou2024_claims import ledger as ledger_zhou2024

    zhou2024 = read_zhou2024(found)
    return page.write_study(zhou2024, ledger_zhou2024(zhou2024))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Render again, whatever kind of run it is."""
    from epicycle.cli.main import say
    from epicycle.cli.progress import StageProgress
    from epicycle.errors import DataError, RunError
    from epicycle.runs.directory import find_run

    found = find_run(options.run, options.out)
    record = found.record()
    kind = record["config"]["resolved"].get("kind", "grok")
    if kind in ("pretrain", "finetune"):
        raise RunError(f"got run {found.id}, a trained language model, which has no report of its own; expected a run of `grok`, `explain` or "
                       f"`reproduce`. Run `epicycle explain {options.run}`.")  # fmt: skip
    if kind != "grok" and record["status"] != "finished":
        raise RunError(
            f"got run {found.id}, which is not finished; expected one that is. Run its command again: it goes on from there."
        )
    if kind != "grok" and options.parts:
        raise RunError(f"got --parts for run {found.id}; expected a run of `grok`. Leave it out.")
    if kind != "grok" and options.again:
        raise RunError(f"got --again for run {found.id}; expected a run of `grok`. Run its command with another --out.")
    if kind == "explain":
        from epicycle.analysis.explain import open_explanation
        from epicycle.report.explain import write_explanation

        path = write_explanation(open_explanation(found))
    elif kind == "study":
        path = _study(found)
    else:
        from epicycle.analysis.decomposition import decomposition_of
        from epicycle.analysis.grok import analyse_run
        from epicycle.report.grok import write_report

        progress = StageProgress()
        grok = analyse_run(found, again=options.again, stage=progress)
        refused = []
        for index in range(max(len(grok.circuits), 1) if options.parts else 0):
            progress("cutting the logits", index, len(grok.circuits))
            try:
                decomposition_of(grok, index, again=options.again)
            except DataError as error:  # of a mixture the other formulas are cut all the same
                refused.append(error)
        if refused and len(refused) >= len(grok.circuits):
            raise refused[0]
        path = write_report(grok)
        progress.close()
        for error in refused:
            say(f"not cut: {error}")
    say(f"report: {path}")
    return {"report": str(path)}
