"""The report of a sweep: success tables, transfer matrices, measures aligned at the grok."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import escape

from epicycle.analysis.statistics import paired, rate, time_to_event
from epicycle.plots import style
from epicycle.plots import sweep as draw
from epicycle.report.grok import leaked
from epicycle.report.page import Page, Section, Tile, drawing, table
from epicycle.report.references import REFERENCES, references
from epicycle.runs.directory import Run, open_run
from epicycle.studies.furuta2024_published import SMALLEST, SOURCES, published_cell
from epicycle.sweep.grid import Condition, Grid
from epicycle.tasks.modular import looked_up
from epicycle.training.config import settings_of, usual

PUBLISHED_NAMES: dict[tuple[str, ...], str] = {("embedding",): "PG-E", ("body",): "PG-T"}


def _times(runs: Sequence[Run]) -> tuple[list[int | None], list[int]]:
    steps = [run.record()["steps"] for run in runs]
    return [s["first"] for s in steps], [s["trained"] for s in steps]


def _baseline(grid: Grid, condition: Condition, formula: str | None = None) -> str:
    """What looking up reaches, over seeds at most; of one formula where a mixture has several."""
    tasks = [grid.configs[condition, seed].task for seed in grid.seeds if (condition, seed) in grid.configs]
    index = None if formula is None else condition.formulas.index(formula)
    return f"{max(looked_up(task, index) for task in tasks):.1%}" if tasks else ""


def _outcome(grid: Grid, condition: Condition) -> list[Any]:
    """Cells of a row: grokked with interval, median, restricted mean, best accuracy, what looking up reaches."""
    runs = grid.runs(condition)
    if not runs:
        return ["not run", "", "", "", "", ""]
    times, trained = _times(runs)
    hit = rate(sum(t is not None for t in times), len(times))
    time = time_to_event(times, trained)
    best = min(
        max(line["test_accuracy"] for line in grid.history(condition, seed))
        for seed in grid.seeds
        if grid.finished(condition, seed)
    )
    held = sum(run.record()["steps"]["sustained"] is not None for run in runs)
    return [f"{hit.count} of {hit.total} ({held})", f"{hit.low:.0%} to {hit.high:.0%}", "" if time.median is None else f"{time.median:,.0f}",
            f"{time.restricted_mean:,.0f} up to {time.horizon:,.0f}", f"{best:.1%}", _baseline(grid, condition)]  # fmt: skip


def _best(grid: Grid, condition: Condition) -> str:
    """A cell in the layout of the paper's tables: seeds that grokked, or the best test accuracy of all; in brackets what looking up reaches."""
    runs = grid.runs(condition)
    if not runs:
        return ""
    hits = sum(run.record()["steps"]["first"] is not None for run in runs)
    if hits:
        return f"groks {hits}/{len(runs)} ({_baseline(grid, condition)})"
    best = max(line["test_accuracy"] for seed in grid.seeds for line in grid.history(condition, seed))
    return f"{best:.1%} ({_baseline(grid, condition)})"


def success(grid: Grid) -> Section:
    """Who groks, when, and at which fraction; the paper's Table A.5 beside it where it has the same cells."""
    single = [c for c in grid.conditions if len(c.formulas) == 1 and not c.parts]
    rows = [[c.label, *_outcome(grid, c)] for c in grid.conditions]
    body = table(["condition", "grokked", "95 % interval", "median step", "mean step, restricted", "worst seed's best accuracy", "by looking up"], rows,
                 "Grokked: at one evaluation; in brackets how many held it for three in a row; a mixture with all its formulas at once. Interval: Wilson. Median and restricted mean: Kaplan-Meier, runs that never grokked count as not yet. By looking up: what a trained question of "
                 "interchangeable numbers answers, without any rule, in the best of the splits; where that is near 99 %, to grok tells nothing.")  # fmt: skip
    fractions = sorted({c.fraction for c in single})
    formulas = list(dict.fromkeys((c.formulas[0], c.modulus) for c in single))
    if formulas:
        heads = [f"r = {r:g}" for r in fractions]
        measured = [
            [_named(f, p), *(_best(grid, Condition((f,), r, modulus=p)) for r in fractions)] for f, p in formulas
        ]
        body += table(
            ["measured", *heads],
            measured,
            "Seeds that grokked, or the best test accuracy of any seed at any evaluation; in brackets what looking up reaches.",
        )
        theirs = [[f, *(published_cell(f, r) for r in fractions)] for f, p in formulas if p == 97]
        if theirs and any(any(cells[1:]) for cells in theirs):
            body += table(
                ["published", *heads],
                theirs,
                "Furuta et al. 2024, Table A.5: `groks`, or the best test accuracy; 3 seeds, up to 300,000 steps.",
            )
    body += _smallest_fractions(grid)
    mixed = [c for c in grid.conditions if len(c.formulas) > 1]
    if mixed:
        body += table(["mixture", "seed", "formula", "first at 99 %", "best test accuracy", "by looking up"], [cells for c in mixed for cells in _mixture(grid, c)],
                      "One model for all formulas of a mixture.")  # fmt: skip
    ends = [run.record()["steps"] for c in grid.conditions for run in grid.runs(c)]
    short = min((each["trained"] for each in ends if each["first"] is None), default=None)
    shortest = "" if short is None else f" The shortest of those was trained for {short:,}."
    steps = sorted({config.schedule.max_steps for config in grid.configs.values()})
    return Section("success", "Who groks, and when", "Seeds that reach 99 % test accuracy.", body,
                   (f"Every run ends at {' or '.join(f'{s:,}' for s in steps)} steps at the latest: what has not grokked by then might later.{shortest}",))  # fmt: skip


def _smallest_fractions(grid: Grid) -> str:
    """The paper's Table 1: from how many pairs a formula groks, by what is frozen; empty where there is one fraction alone."""
    found: dict[tuple[str, int], dict[str, dict[float, Condition]]] = {}
    for c in grid.conditions:
        if c.steps is None:
            row = found.setdefault((" and ".join(c.formulas), c.modulus), {})
            row.setdefault(_frozen(c), {})[c.fraction] = c
    if all(len(by) < 2 for row in found.values() for by in row.values()):
        return ""
    kinds = list(dict.fromkeys(kind for row in found.values() for kind in row))
    body = table(["smallest r that groks", *kinds], [[_named(*key), *(_smallest(grid, row.get(kind, {})) for kind in kinds)] for key, row in found.items()],
                 "The smallest train fraction at which every finished seed grokked; in brackets the smallest at which any did, where that is less. Only fractions that were run count.")  # fmt: skip
    theirs = {"from scratch" if not source else f"{part} of {source}": i for i, (source, part) in enumerate(SOURCES)}
    known = [kind for kind in kinds if kind in theirs]
    rows = [
        [f, *("none" if (r := SMALLEST[f][theirs[kind]]) is None else f"{r:g}" for kind in known)]
        for f, p in found
        if f in SMALLEST and p == 97
    ]
    return body + (table(["published", *known], rows, "Furuta et al. 2024, Table 1.") if rows and known else "")


def _named(formula: str, modulus: int) -> str:
    """A formula as a row is named; the paper's modulus is not."""
    return formula if modulus == 97 else f"{formula} mod {modulus}"


def _frozen(condition: Condition) -> str:
    """What is frozen, as a column is named."""
    if not condition.parts:
        return "from scratch"
    return f"{'+'.join(condition.parts)} {f'of {condition.source}' if condition.source else 'random'}"


def _smallest(grid: Grid, by_fraction: dict[float, Condition]) -> str:
    hits = {
        r: [run.record()["steps"]["first"] is not None for run in grid.runs(c)] for r, c in sorted(by_fraction.items())
    }
    ran = [r for r, found in hits.items() if found]
    if not ran:
        return ""
    whole, some = (next((r for r in ran if test(hits[r])), None) for test in (all, any))
    if some is None:
        return f"none up to {max(ran):g}"
    return f"{whole:g}" if whole == some else f"{'none' if whole is None else f'{whole:g}'} ({some:g})"


def _mixture(grid: Grid, condition: Condition) -> list[list[Any]]:
    rows = []
    for seed in grid.seeds:
        history = grid.history(condition, seed)
        for formula in history[0]["tasks"] if history else ():
            curve = [(line["step"], line["tasks"][formula]["test_accuracy"]) for line in history]
            first = next((step for step, accuracy in curve if accuracy >= 0.99), None)
            rows.append(
                [
                    condition.label,
                    str(seed),
                    formula,
                    "never" if first is None else f"{first:,}",
                    f"{max(a for _, a in curve):.1%}",
                    _baseline(grid, condition, formula),
                ]
            )
    return rows


def transfer(grid: Grid) -> Section | None:
    """Frozen parts under new tasks, against the same seeds from scratch; None where there are none."""
    pairs = [c for c in grid.conditions if c.parts]
    if not pairs:
        return None
    body = ""
    for parts in dict.fromkeys(c.parts for c in pairs):
        sources = {bool(c.source) for c in pairs if c.parts == parts}
        beside = " and random weights" if False in sources else ""
        name = f"{PUBLISHED_NAMES[parts]}{beside}: " if True in sources and parts in PUBLISHED_NAMES else ""
        for fraction, modulus in sorted({(c.fraction, c.modulus) for c in pairs if c.parts == parts}):
            here = [c for c in pairs if (c.parts, c.fraction, c.modulus) == (parts, fraction, modulus)]
            body += _matrix(grid, here, f"{name}{' and '.join(parts)} frozen, p = {modulus}, r = {fraction:g}")
    rows = []
    for c in pairs:
        rival = c.rival
        seeds = [s for s in grid.seeds if grid.finished(c, s) and grid.finished(rival, s)]
        if seeds:
            (ours, length), (other, others) = (
                _times([run for s in seeds if (run := grid.finished(each, s))]) for each in (c, rival)
            )
            found = paired(ours, other, length, others)
            ratio = "" if found.median_ratio is None else f"{found.median_ratio:.2g}"
            rows.append([c.source or "random weights", " and ".join(c.parts), " and ".join(c.formulas), f"{c.fraction:g} (p = {c.modulus})", f"{found.earlier_a} of {found.pairs}",
                         f"{found.p_time:.2f}", ratio, *_outcome(grid, c)[:3]])  # fmt: skip
    body += table(["from", "part", "onto", "r", "earlier than scratch, same seed", "sign test p", "times faster, median", "grokked (three in a row)", "95 % interval", "median step"], rows,
                  f"With {len(grid.seeds)} seed{'s' * (len(grid.seeds) > 1)} no sign test can give less than {2.0 ** (1 - len(grid.seeds)):.2g}.")  # fmt: skip
    return Section("transfer", "Transfer", "Weights of another run, frozen, under a new task: against the same seed from scratch (the same split; what is trained beside them begins with weights of its own).", body,
                   (_sources(grid, pairs),))  # fmt: skip


def _sources(grid: Grid, pairs: Sequence[Condition]) -> str:
    """Which sources had not grokked, and what they were trained on that is tested here."""
    poor, known, unknown = set(), 0.0, set()
    for run in (run for c in pairs for run in grid.runs(c)):
        share = leaked(run)
        known = max(known, share or 0.0)
        if share is None:
            unknown.add(run.record()["source"]["id"])
        path = grid.root / str((run.record().get("source") or {}).get("id"))
        if (path / "run.json").is_file() and open_run(path).record()["steps"]["first"] is None:
            poor.add(path.name)
    tested = (
        f" Up to {known:.0%} of a run's test questions were trained on by its source, which has the formula in common and another split or train fraction."
        if known
        else ""
    )
    tested += (
        f" Whether test questions were trained on by {', '.join(sorted(unknown))} is not known." if unknown else ""
    )
    return f"Sources that had not grokked when their weights were taken: {', '.join(sorted(poor)) or 'none'}.{tested}"


def _matrix(grid: Grid, conditions: Sequence[Condition], title: str) -> str:
    sources = list(dict.fromkeys(c.source or "random weights" for c in conditions))
    targets = list(dict.fromkeys(" and ".join(c.formulas) for c in conditions))
    values = np.full((len(sources), len(targets)), np.nan)
    labels = [["" for _ in targets] for _ in sources]
    for c in conditions:
        runs, base = grid.runs(c), grid.runs(c.rival)
        if not runs:
            continue
        i, j = sources.index(c.source or "random weights"), targets.index(" and ".join(c.formulas))
        times, trained = _times(runs)
        time = time_to_event(times, trained)
        count = f"{sum(t is not None for t in times)}/{len(times)}"
        labels[i][j] = f"{count}" if time.median is None else f"{count}\n{time.median:,.0f}"
        if base:
            other = time_to_event(*_times(base))
            is_lost = not time.events and other.events
            is_short = is_lost and max(trained) < (other.median or np.inf)  # not looked at for as long as scratch takes
            values[i, j] = (
                np.nan if is_short else 1.0 if is_lost else np.log10(time.restricted_mean / other.restricted_mean)
            )
    with style.figure(max(3.6, 1.0 + 1.1 * len(targets)), 0.9 + 0.55 * len(sources)) as (fig, ax):
        draw.matrix(values, labels, [f"from {s}" for s in sources], targets, ax)
        return drawing(
            style.svg(fig, f"Transfer matrix, {title}"),
            f"{title}. Seeds that grokked and median step. Colour: mean step, runs without a grok counted to where they were looked at, against that from scratch: green a tenth or less, yellow as much, "
            "red ten times or more, or none grokked where from scratch some did; white: nothing from scratch to compare with, or not looked at for as long as that takes.",
        )


def trajectories(grid: Grid) -> Section | None:
    """FFD and FCR of runs that grokked, aligned at the grok; None where there are none."""
    groups = [c for c in grid.conditions if len(c.formulas) == 1 and not c.parts]
    basis = "additive" if all(config.task.zeros == "included" for config in grid.configs.values()) else "multiplicative"
    body, shown = "", {}
    for site in ("W_E", "W_L"):
        with style.figure(9.6, 2.7, 1, 2) as (fig, axes):
            for ax, name in zip(axes, ("ffd", "fcr"), strict=True):
                curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
                for c in groups[:8]:
                    for seed in grid.seeds:
                        first = run.record()["steps"]["first"] if (run := grid.finished(c, seed)) else None
                        if first:
                            history = grid.history(c, seed)
                            x = np.array([line["step"] for line in history]) / first
                            curves.setdefault(c.label, []).append(
                                (
                                    x,
                                    np.array(
                                        [line["measures"]["weights"][basis][site][name] for line in history], float
                                    ),
                                )
                            )
                draw.aligned(curves, ax, f"{name.upper()} of {site}", name.upper())
                shown = curves
            if not shown:
                return None
            axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
            body += drawing(style.svg(fig, f"FFD and FCR of {site}, aligned at the grok"))
    more = f" The first eight of {len(groups)} conditions." if len(groups) > 8 else ""
    return Section("trajectories", "FFD and FCR, aligned at the grok", f"{basis.capitalize()} basis, one line per seed; 1 is the first evaluation with 99 % test accuracy.{more}",
                   body, ("FFD at eta 0.5 divides cosine and sine by separate maxima, as published; white noise has FFD 1 and FCR 0.93.",))  # fmt: skip


def provenance(grid: Grid, command: str) -> Section:
    """Every run with its outcome and the revision it was trained at."""
    rows = []
    for c in grid.conditions:
        for seed in grid.seeds:
            run = grid.finished(c, seed)
            if run is None:
                rows.append([c.label, str(seed), "not run", "", "", ""])
            else:
                record = run.record()
                rows.append(
                    [
                        c.label,
                        str(seed),
                        run.id,
                        str(record["outcome"]),
                        f"{record['steps']['trained']:,}",
                        str(record["provenance"]["revision"] or "installed")[:12],
                    ]
                )
    body = f"<pre>{escape(command)}</pre>" + table(
        ["condition", "seed", "run", "outcome", "steps", "revision"],
        rows,
        "`epicycle report RUN` writes the page of one run.",
    )
    body += "".join(f"<p class='caveat'>{escape(REFERENCES[key][0])}</p>" for key in references("furuta2024"))
    return Section("provenance", "Runs, and how to do this again", "Where everything lies.", body)


def _settings(grid: Grid) -> tuple[str, ...]:
    """A sentence on what was set otherwise than in the recipe, which published figures beside it do not know of; none where nothing was."""
    given = {}
    for config in grid.configs.values():
        theirs = settings_of(usual(config))
        given |= {name: value for name, value in settings_of(config).items() if value != theirs[name]}
    if not given:
        return ()
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
    return (f"Set otherwise than in the recipe: {said}. Published figures are for the recipe.",)


def numbers_of(grid: Grid) -> list[dict[str, Any]]:
    """Every run as plain values."""
    found = []
    for c in grid.conditions:
        for seed in grid.seeds:
            run = grid.finished(c, seed)
            if run is not None:
                own = run.record()
                found.append({"condition": c._asdict(), "label": c.label, "seed": seed, "id": run.id, "outcome": own["outcome"], "steps": own["steps"],
                              "final": own["final"], "provenance": own["provenance"], "source": own.get("source")})  # fmt: skip
    return found


def finding(grid: Grid) -> str:
    """How many runs grokked, held it, and could have without a rule."""
    pairs = [(c, run.record()["steps"]) for c in grid.conditions for run in grid.runs(c)]
    hits = [(c, steps) for c, steps in pairs if steps["first"] is not None]
    held = sum(steps["sustained"] is not None for _, steps in hits)
    easy = {c for c in grid.conditions if max(looked_up(grid.configs[c, s].task) for s in grid.seeds if (c, s) in grid.configs) >= 0.99}  # fmt: skip
    free = sum(c in easy for c, _ in hits)
    kept = f", {held} of them at three in a row" if hits else ""
    rule = f"; where looking up alone gives as much: {free}" if free else ""
    return f"{len(hits)} of {len(pairs)} runs reached 99 % test accuracy at an evaluation{kept}{rule}"


def _shared(grid: Grid) -> list[str]:
    """What the seeds have in common, so that their interval is about the rest alone."""
    if len(grid.seeds) < 2:
        return []
    # others have, besides, what their source has
    alone = [c for c in grid.configs.values() if c.frozen is None or c.frozen.source == "random"]
    splits, weights = {c.task.split_seed for c in alone}, {c.seed for c in alone}
    of = "" if len(alone) == len(grid.configs) else " of runs that take no weights from another"
    found = [f"All seeds{of} share {what} (seed {min(seeds)}): intervals are about {other} alone." for what, seeds, other in
             (("one split", splits, "the weights that runs begin with"), ("the weights that they begin with", weights, "splits")) if len(seeds) == 1]  # fmt: skip
    for c in grid.conditions:
        sources = {config.frozen.source for (own, _), config in grid.configs.items() if own == c and config.frozen is not None}  # fmt: skip
        if len(sources) == 1 and "random" not in sources and len(grid.runs(c)) > 1:
            found.append(f"All seeds of {c.label} take weights from one run, {min(sources)}: their interval is about seeds given this source.")  # fmt: skip
    return found


def sweep_page(grid: Grid, command: str) -> Page:
    """The report of a sweep."""
    sections = [section for section in (success(grid), transfer(grid), trajectories(grid)) if section is not None]
    sections.append(provenance(grid, command))
    runs = [run for c in grid.conditions for run in grid.runs(c)]
    hit = sum(run.record()["steps"]["first"] is not None for run in runs)
    size = f"{len(grid.conditions)} condition{'s' * (len(grid.conditions) > 1)} with {len(grid.seeds)} seed{'s' * (len(grid.seeds) > 1)}"
    tiles = (
        Tile("runs", f"{len(runs):,}", f"of {len(grid.configs):,} planned"),
        Tile("grokked", f"{hit:,}", "99 % test accuracy at an evaluation"),
    )
    least, seeds = rate(len(grid.seeds), len(grid.seeds)).low, len(grid.seeds)
    doubts = (f"A success rate from {seeds} seed{'s' * (seeds > 1)} leaves room: {seeds} of {seeds} may still be anything from {least:.0%} up (95 %, Wilson).",
              "A run that has not grokked by its last step might later; medians and restricted means say how far was looked.")  # fmt: skip
    return Page(
        "epicycle sweep",
        "A sweep",
        (f"{finding(grid)}: {size}.",),
        tiles,
        (*_settings(grid), *_shared(grid), *doubts),
        tuple(sections),
        {"command": command, "runs": numbers_of(grid)},
    )


def write_sweep(grid: Grid, command: str, path: Path) -> Path:
    """Write the page and the JSON of its numbers beside it; returns the path of the former."""
    return sweep_page(grid, command).save(path)
