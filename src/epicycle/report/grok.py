"""The report of one grokked (or not grokked) run: the finding, then the sections of report.sections."""

import math
from pathlib import Path

from epicycle.analysis.circuit import Circuit
from epicycle.analysis.grok import Grok, config_of
from epicycle.fourier.measures import fcr_of_noise
from epicycle.report.page import Page, Tile, number
from epicycle.report.sections import SECTIONS, WITHOUT_CIRCUIT, command
from epicycle.tasks.modular import Task, modular_task


def _finding(grok: Grok, circuit: Circuit | None, task: Task) -> tuple[str, ...]:
    record, p = grok.run.record(), task.config.modulus
    name = " and ".join(rule.text for rule in task.rules)
    final, steps = record["final"], record["steps"]
    if steps["sustained"] is not None:
        first = (f"A one-layer transformer learned {name} modulo {p} by rule: trained on {len(task.train):,} of "
                 f"{len(task.operands):,} questions, it answers {final['test_accuracy']:.1%} of the others "
                 f"(guessing: {1 / p:.1%}). It had memorised its questions by step {number(steps['memorised'])} and "
                 f"grokked at step {number(steps['first'])}.")  # fmt: skip
    else:
        first = (f"This transformer did not learn {name} modulo {p} by rule within {number(steps['trained'])} steps: it "
                 f"answers {final['train_accuracy']:.1%} of the {len(task.train):,} questions it was trained on and "
                 f"{final['test_accuracy']:.1%} of the others (guessing: {1 / p:.1%}"
                 + (f"; knowing only that order does not matter: {task.swap_leakage():.1%}" if task.is_symmetric() else "")
                 + ").")  # fmt: skip
    if circuit is None:
        return (first,)
    keys = circuit.key_frequencies
    if not keys:
        return (first, "No frequency stands out in its logits, in either basis.")
    found = circuit.losses[circuit.basis]["answer"]
    waves = {"additive": "waves", "multiplicative": "waves of the discrete logarithm"}[circuit.basis]
    p_value = min(float(circuit.p_values[f"{circuit.basis}/{site}/family"].min()) for site in ("W_E", "W_L"))
    return (first,
            f"Its answers to {circuit.formula} are made of {len(keys)} {waves} of the answer, k = {', '.join(map(str, keys))}: with "
            f"only those the loss is {number(found['restricted'])} nats (all logits: {number(found['full'])}), without them "
            f"the training loss rises from {number(found['full_train'])} to {number(found['excluded'])} nats, and removing "
            f"as many random other frequencies gives at most {number(max(found['control'], default=math.nan))} "
            f"(chance: {number(math.log(p))}). The weights' largest frequency has p = {number(p_value)} against permuted numbers.")  # fmt: skip


def grok_page(grok: Grok) -> Page:
    """The report of a run; several formulas of a mixture come one after the other."""
    config, record = config_of(grok.run), grok.run.record()
    task = modular_task(config.task)
    name = ", ".join(rule.text for rule in task.rules)
    sections = []
    for index in range(max(1, len(grok.circuits))):
        for key, make in SECTIONS.items():
            once = key in WITHOUT_CIRCUIT
            if (once and index > 0) or (not once and not grok.circuits) or key == "provenance":
                continue
            section = make(grok, task, index)
            if task.num_tasks > 1 and not once:
                section = section._replace(anchor=f"{section.anchor}-{index + 1}",
                                           title=f"{task.rules[index].text}: {section.title}")  # fmt: skip
            sections.append(section)
    sections.append(SECTIONS["provenance"](grok, task, 0))
    steps, final = record["steps"], record["final"]
    first = grok.circuits[0] if grok.circuits else None
    tiles = [
        Tile("grokked at step", number(steps["first"]) if steps["first"] is not None else "did not grok",
             f"sustained {number(steps['sustained'])}, memorised {number(steps['memorised'])}"
             if steps["sustained"] is not None else f"trained {number(steps['trained'])} steps"),
        Tile("test accuracy", f"{final['test_accuracy']:.2%}", f"guessing {1 / config.task.modulus:.2%}"),
        Tile("test loss", number(final["test_loss"]), f"nats; guessing {number(math.log(config.task.modulus))}"),
    ]  # fmt: skip
    if first is not None:
        embedded = first.measures[first.basis]["W_E"]
        tiles += [
            Tile("key frequencies", ", ".join(map(str, first.key_frequencies)) or "none", f"{first.basis} basis"),
            Tile("FFD of W_E", number(embedded["ffd"]), f"{first.basis} basis; white noise 1"),
            Tile("FCR of W_E", number(embedded["fcr"]),
                 f"white noise {fcr_of_noise(config.model.width):.3f}"),
        ]  # fmt: skip
    doubts = [
        "It is one seed. Thread count alone can change when, and whether, a run groks; repeat with --seeds 5 before quoting a time.",
        "The key frequencies are read off the same logits that are then cut; the control sets and the training curves are "
        "the independent evidence.",
    ]
    if task.is_symmetric():
        doubts.append(f"The formula is symmetric, and {task.swap_leakage():.0%} of the test questions were trained on with "
                      "their operands swapped. Repeat with --split-by unordered.")  # fmt: skip
    if config.task.operand_range == "published":
        doubts.append("Operands include five operator tokens, as in the authors' released code: that is another data set "
                      "than the one the paper describes.")  # fmt: skip
    if first is not None and first.neurons_explained[first.basis] < 0.5:
        doubts.append("Neurons are not tuned to single frequencies of the operands in either basis, so the waves of the "
                      "answer are built from something this page does not name.")  # fmt: skip
    numbers = {
        "run": {k: record[k] for k in ("id", "outcome", "steps", "final", "seconds", "measuring_seconds")},
        "config": record["config"]["resolved"], "provenance": record["provenance"], "command": command(grok),
        "circuits": [c._split()[0] | {"arrays": c._split()[1]} for c in grok.circuits],
        "trajectories": [t._split()[0] | {k: v for k, v in t._split()[1].items() if v.ndim < 3} for t in grok.trajectories],
        "history": grok.run.history(),
    }  # fmt: skip
    return Page(f"{name} mod {config.task.modulus}", f"{name} modulo {config.task.modulus}",
                _finding(grok, first, task), tuple(tiles), tuple(doubts), tuple(sections), numbers)  # fmt: skip


def write_report(grok: Grok) -> Path:
    """Write report.html and report.json into the run's directory; returns the path of the former."""
    return grok_page(grok).save(grok.run.path / "report.html")
