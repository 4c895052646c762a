"""`epicycle reproduce furuta2024`: the runs that claims need, planned or trained, and their ledger."""

import argparse
from typing import Any


def furuta2024(options: argparse.Namespace, given: dict[str, Any], only: list[str]) -> dict[str, Any]:
    """Plan, train what is missing, grade, report; the object of `reproduce --json`."""
    from epicycle.cli.main import say
    from epicycle.cli.progress import JobsProgress, StageProgress
    from epicycle.cli.reproduce import as_json, check, seeds_of, tell
    from epicycle.cli.sweep import check_address, engine_of, plan_as_json, spelled_cost
    from epicycle.errors import ConfigError
    from epicycle.report.furuta2024 import write_study
    from epicycle.runs.directory import run_id
    from epicycle.studies.furuta2024 import closure, config, reproduce, study_preset, wanted_runs
    from epicycle.studies.furuta2024_claims import CELLS, CLAIMS, HELPED, claims_of
    from epicycle.studies.ledger import grade
    from epicycle.sweep.plan import cost, plan
    from epicycle.training.config import to_dict
    from epicycle.training.engine import chosen_device

    check(
        only,
        [*(claim.id for claim in (*CLAIMS, *HELPED)), "A5", "T1", *(claim.id for claim in CELLS if claim.id in only)],
    )
    if options.max_steps is not None and (options.max_steps < 1 or options.max_steps % 100):
        raise ConfigError(
            f"got --max-steps {options.max_steps}; expected a multiple of 100, since runs are evaluated every 100 steps. Try {max(options.max_steps // 100 * 100, 100)}."
        )
    check_address(options)
    seeds = seeds_of(options)
    chosen = study_preset(options.preset, seeds, options.max_steps)
    claims = claims_of(only or chosen.claims)
    conditions = closure([condition for claim in claims for condition in claim.conditions])
    if options.no_train:
        study = _as_it_is(options, given, conditions, seeds, claims)
    else:
        configs = wanted_runs(conditions, chosen, options.out)
        planned = plan(configs, options.out) if configs else ()
        rest = cost(planned, chosen_device(options.device) if options.engine == "stacked" else None)
        some = lambda count, what: f"{count} {what}{'s' * (count != 1)}"  # noqa: E731
        say(
            f"{some(len(claims), 'claim')}, {some(len(planned), 'run')}, of which {rest.runs} are to do: {spelled_cost(options, rest)}"
        )
        if options.plan:
            status, listed = {each.id: each.status for each in planned}, []
            for claim in claims:
                own = [
                    config(condition, seed, chosen) for condition in closure(claim.conditions) for seed in chosen.seeds
                ]
                names = [run_id(each.name, to_dict(each)) for each in own]
                done = sum(status.get(name) == "finished" for name in names)
                say(f"{claim.id}: {claim.statement} {done} of {len(own)} runs finished")
                listed.append({"id": claim.id, "statement": claim.statement, "runs": names, "finished": done})
            return plan_as_json(planned, rest) | {"claims": listed}
        progress = JobsProgress()
        study = reproduce(options.preset, conditions, options.out, lambda: engine_of(options, chosen_device(options.device)), seeds=seeds, max_steps=options.max_steps, claims=[claim.id for claim in claims], progress=progress, warn=say,
                          given=given)  # fmt: skip
        progress.close()
    stage, places = StageProgress(), [(condition, seed) for condition in conditions for seed in chosen.seeds]
    for done, place in enumerate(places):
        stage("analysing runs", done, len(places))
        study.grok(*place)
    entries = []
    for done, claim in enumerate(claims):
        stage("grading claims", done, len(claims))
        entries.append(grade(claim, study))
    stage("writing the page", 0, 1)
    path = write_study(study, entries)
    stage.close()
    tell(entries)
    say(f"report: {path}")
    return as_json(entries, path)


def _as_it_is(options: argparse.Namespace, given: dict[str, Any], conditions: Any, seeds: Any, claims: Any) -> Any:
    """The study of what is there; nothing is trained."""
    from epicycle.cli.main import say
    from epicycle.errors import ConfigError
    from epicycle.studies.furuta2024 import reproduce

    if options.plan or options.engine != "local":
        other = "--plan" if options.plan else "--engine"
        raise ConfigError(f"got --no-train with {other}; expected one of them. Leave one out.")
    study = reproduce(options.preset, conditions, options.out, seeds=seeds, max_steps=options.max_steps,
                      claims=[claim.id for claim in claims], train=False, given=given)  # fmt: skip
    count = len(study.conditions) * len(study.seeds)
    there = sum(len(study.runs(condition)) for condition in study.conditions)
    say(f"{len(claims)} claim{'s' * (len(claims) != 1)}, {there} of {count} runs are there")
    return study
