"""The report of one grokked (or not grokked) run: the finding, then the sections of report.sections."""

import math
from pathlib import Path
from typing import Any

from epicycle.analysis.circuit import Circuit
from epicycle.analysis.grok import Grok, config_of
from epicycle.fourier.measures import fcr_of_noise
from epicycle.fourier.operand_waves import folded, operand_frequencies
from epicycle.report.page import Page, Tile, number
from epicycle.report.sections import SECTIONS, WITHOUT_CIRCUIT, command
from epicycle.runs.directory import Run, open_run
from epicycle.tasks.modular import Task, TaskConfig, modular_task
from epicycle.training.grokking import test_accuracy


def _learned(grok: Grok, task: Task) -> str:
    """What the run learned, with what guessing gives beside it."""
    record, p = grok.run.record(), task.config.modulus
    name = " and ".join(rule.text for rule in task.rules)
    final, steps = record["final"], record["steps"]
    train, test = task.num_examples("train"), task.num_examples("test")
    guess, looked_up = task.guessing_accuracy(), task.lookup_accuracy()
    table = (
        f"; trained questions of swapped or interchangeable operands, looked up: {looked_up:.1%}"
        if looked_up > guess + 0.01
        else ""
    )
    scores = (f"trained on {train:,} of {train + test:,} questions, it answers {final['test_accuracy']:.1%} of the others "
              f"(always the commonest answer: {guess:.1%}{table})")  # fmt: skip
    when = "" if steps["memorised"] is None else f" It had memorised its questions by step {steps['memorised']:,}."
    if record["outcome"] == "diverged":
        return f"Training on {name} modulo {p} diverged at step {steps['trained']:,}: try a lower learning rate."
    if record["outcome"] == "imported":
        name_ = record["config"]["resolved"]["imported"]
        return (f"This model, imported from {name_['file']} (layout {name_['layout']}), answers {final['train_accuracy']:.1%} of {train:,} questions on {name} modulo {p} "
                f"and {final['test_accuracy']:.1%} of the {test:,} others of a split chosen here: which of them it was trained on is not known.")  # fmt: skip
    if record["outcome"] == "grokked" and steps["stable"] is None:
        last = max(
            line["step"]
            for line in grok.run.history()
            if test_accuracy(line) >= config_of(grok.run).schedule.grok_accuracy
        )
        return (f"A one-layer transformer reached {name} modulo {p} at step {steps['first']:,} and fell back: {scores} at step {steps['trained']:,}, and was "
                f"last at its criterion at step {last:,}.{when} Do not quote it as learned.")  # fmt: skip
    if record["outcome"] == "grokked":
        held = (
            ""
            if steps["sustained"] == steps["first"]
            else f", and stayed so for three evaluations in a row from step {steps['sustained']:,}"
        )
        how = (
            ", which looking up could give as well"
            if max(map(task.lookup_accuracy, range(task.num_tasks))) >= config_of(grok.run).schedule.grok_accuracy
            else " by rule"
        )
        return (f"A one-layer transformer learned {name} modulo {p}{how}: {scores}. It grokked at step {steps['first']:,}{held}.{when}")  # fmt: skip
    if record["outcome"] == "grokked briefly":
        return (f"This transformer reached {name} modulo {p} at step {steps['first']:,}, but not for three evaluations in a "
                f"row within its {steps['trained']:,} steps: {scores}.{when} Train it longer before calling it grokked.")  # fmt: skip
    return (
        f"This transformer did not learn {name} modulo {p} by rule within {steps['trained']:,} steps: {scores}.{when}"
    )


def verdict(circuit: Circuit) -> str:
    """What the losses say of the key waves; ln p below is the loss of guessing.

    `made of`: with only them the loss is at most ln p / 10 and at most twice the full one, without them at least
    ln p / 2 and ten times its worst control. `leaned on`: without them the loss is at least ln p / 10 and ten times its
    worst control. `not shown`: neither. `none`: no frequency leads.

    Source: ours; the thresholds are conventions, and the report prints every loss they look at.
    """
    if not circuit.key_frequencies:
        return "none"
    found, guess = circuit.losses[circuit.basis]["answer"], math.log(circuit.modulus)
    worst = max([*found["control"], *found["subspace"], found["full_train"]])
    restricted, excluded = found["restricted"], found["excluded"]
    if excluded < 10 * worst or excluded < guess / 10:
        return "not shown"
    is_made = restricted <= min(guess / 10, 2 * found["full"]) and excluded >= guess / 2
    return "made of" if is_made else "leaned on"


def has_learned(grok: Grok, task: Task, index: int) -> bool:
    """True if at least half of the test questions are answered that memory, symmetry and the commonest answer would miss.

    Source: ours; how a network answers is said of nothing else.
    """
    last = grok.run.history()[-1]
    rule = task.rules[index].text
    accuracy = last["tasks"][rule]["test_accuracy"] if "tasks" in last else last["test_accuracy"]
    return accuracy >= (1 + task.baseline_accuracy(index)) / 2


def _same(circuit: Circuit, k: int) -> list[int]:
    """Frequencies that are one wave of the answer with k, k among them."""
    return next((group for group in circuit.same_waves[circuit.basis] if k in group), [k])


def _named(circuit: Circuit, k: int) -> str:
    """A key frequency, with those that its answers cannot tell from it."""
    others = [str(each) for each in _same(circuit, k) if each != k]
    return f"{k} (where its answers fall the same as {' and '.join(others)})" if others else str(k)


def _explained(circuit: Circuit, *, is_learned: bool = True, by: str = "") -> str:
    """The key frequencies, the losses (`by` which, if not that of training) with and without them, the controls, and what follows."""
    what = verdict(circuit)
    if what == "none":
        return f"No frequency leads in its logits for {circuit.formula}, in {' or '.join(circuit.neuron_share)} basis."
    found, keys = circuit.losses[circuit.basis]["answer"], circuit.key_frequencies
    many = len(keys) != 1
    of = {"additive": "", "multiplicative": " of the discrete logarithm"}[circuit.basis]
    waves = (
        f"{len(keys)} wave{'s' if many else ''}{of} of the answer, k = {', '.join(_named(circuit, k) for k in keys)}"
    )
    head = {
        "made of": f"Its answers to {circuit.formula} are made of {waves}",
        "leaned on": f"Its answers to {circuit.formula} lean on {waves}, but are not made of {'these' if many else 'this'} alone",
        "not learned": f"It answers too few test questions on {circuit.formula} to say how it does. Its logits lead with {waves}",
        "not shown": f"Its logits for {circuit.formula} lead with {waves}, which {'are' if many else 'is'} not shown to carry the answers",
    }[what if is_learned else "not learned"]
    where = "" if circuit.basis == "additive" else " (over pairs without a zero)"
    control = f"removing as many random other frequencies gives at most {number(max(found['control']))}" if found["control"] else (
        "there are not enough other frequencies for a control")  # fmt: skip
    memory = found["memory"]
    floor = "" if memory is None else f"; {number(memory)} with the answers to untrained questions exchanged"
    return (f"{head}: with only {'those' if many else 'that'} the loss is {number(found['restricted'])} nats{where} (all logits: "
            f"{number(found['full'])}{floor}), without {'them' if many else 'it'} the training loss{by} goes from "
            f"{number(found['full_train'])} to {number(found['excluded'])} nats; {control} (chance: "
            f"{number(math.log(circuit.modulus))}). {_nulls(circuit)}{_besides(circuit)}")  # fmt: skip


def _nulls(circuit: Circuit) -> str:
    """How many of the key frequencies stand out in both tables of weights; in the embedding of those that its operands need."""
    keys, operands = circuit.key_frequencies, circuit.operand_frequencies
    in_embedding, in_answers = (  # the network may use a wave under any of its names
        sum(_stands_out(circuit, "W_E", k) for k in operands),
        sum(any(_stands_out(circuit, "W_L", each) for each in _same(circuit, k)) for k in keys),
    )
    these = "these" if len(keys) != 1 else "this"
    if operands == tuple(sorted(keys)):
        return f"Of {these}, {in_embedding} in W_E and {in_answers} in W_L stand out from permuted numbers (p <= 0.01, all frequencies looked at)."
    return (f"Of {these}, {in_answers} in W_L stand{'s' * (in_answers == 1)} out from permuted numbers (p <= 0.01, all frequencies looked at), and in W_E {in_embedding} of the {len(operands)} that "
            f"{'they need' if len(keys) != 1 else 'it needs'} of the operands: {', '.join(map(str, operands))}.")  # fmt: skip


def _stands_out(circuit: Circuit, site: str, k: int) -> bool:
    return bool(circuit.p_values[f"{circuit.basis}/{site}/family"][k - 1] <= 0.01)


def _needed(circuit: Circuit) -> dict[int, tuple[int, ...]]:
    """Frequency of the answer -> those that it needs of the operands; without k where these are constant."""
    alpha, beta = circuit.multipliers[circuit.basis] or (1, 1)
    found = {k: operand_frequencies([k], (alpha, beta), circuit.period) for k in range(1, circuit.period // 2 + 1)}
    return {k: operands for k, operands in found.items() if operands}


def _carried(circuit: Circuit) -> list[int]:
    """Frequencies of the answer whose operands' waves all stand out in the embedding."""
    return [
        k for k, operands in _needed(circuit).items() if all(_stands_out(circuit, "W_E", each) for each in operands)
    ]


def _besides(circuit: Circuit) -> str:
    """Frequencies that stand out in both tables of weights and are no keys: the answers lead with fewer than the weights have."""
    keys = {same for k in circuit.key_frequencies for same in _same(circuit, k)}
    others = [k for k in _carried(circuit) if k not in keys and _stands_out(circuit, "W_L", k)]
    if not others:
        return ""
    many = len(others) > 1
    return f" k = {', '.join(map(str, others))} stand{'' if many else 's'} out in both as well without leading the logits: the keys named here may be too few."


def _kept(grok: Grok) -> str:
    """What was not trained, and where it came from; empty if everything was trained."""
    frozen = config_of(grok.run).frozen
    if frozen is None:
        return ""
    parts = " and ".join(frozen.parts)
    if frozen.source == "random":
        return f"Its {parts} stayed random: not trained. Compare with the same seed fully trained."
    facts = grok.run.record()["source"]
    shared = (
        ""
        if frozen.afresh
        else " What is trained began with the weights of its seed, with which a source of the same seed began, too."
    )
    out, controls = "", "with a frozen random part"
    lent = "".join(map(_lent, grok.circuits)) if "embedding" in frozen.parts else ""
    if frozen.without:
        many = len(frozen.without) > 1
        out = (f", but for the {frozen.basis} frequenc{'ies' if many else 'y'} {', '.join(map(str, frozen.without))}, {facts['share']:.2%} of the power of its numbers, "
               "which had been taken out")  # fmt: skip
        controls = "with nothing taken out, and with other frequencies of as much power taken out"
    return (f"Its {parts} stayed as in step {facts['step']:,} of {facts['id']} ({facts['outcome']}){out}: not trained.{shared} Compare with the same seed "
            f"fully trained, and {controls}.{lent}")  # fmt: skip


def _lent(circuit: Circuit) -> str:
    """What a linear formula finds in the embedding that was taken over: the waves of the answer whose operands have theirs in it."""
    if not any(circuit.multipliers[circuit.basis]):
        return ""
    lent, n = _carried(circuit), circuit.period
    waves = f"k = {', '.join(map(str, lent))}" if lent else "no k"
    a, b = ({0: "none", 1: "k"}.get(m, f"{m}k") for m in (folded(m, n) for m in circuit.multipliers[circuit.basis]))
    out = sum(_stands_out(circuit, "W_E", k) for k in range(1, n // 2 + 1))
    drawn = sum(math.comb(out, len(each)) / math.comb(n // 2, len(each)) for each in _needed(circuit).values())
    chance = f"; {out} frequencies stand out in it, and as many drawn at random have {drawn:.1f} such k on average"
    needs = (
        f"waves of a at {a} and of b at {b}"
        if "none" not in (a, b)
        else f"waves of {'b' if a == 'none' else 'a'} at {b if a == 'none' else a} alone"
    )
    return (f" That embedding has what {circuit.formula} needs of its operands, {needs}, for {waves}"
            f"{chance if a != b and 'none' not in (a, b) else ''}.")  # fmt: skip


def _unexplained(grok: Grok, task: Task) -> str:
    """Why no circuit is named; empty where one is."""
    if grok.circuits or grok.run.record()["outcome"] == "diverged":
        return ""
    return f"How it answers is not analysed: planes of the answer are defined for two operands, and it has {task.operands.shape[1]}."


def finding(grok: Grok) -> tuple[str, ...]:
    """The sentences at the top of the report."""
    by = ""
    if config_of(grok.run).optimiser.loss == "stablemax":
        by = " by the usual softmax (it was trained with StableMax)"
    elif grok.run.record()["outcome"] == "imported":
        by = " of the split chosen here"
    task = modular_task(config_of(grok.run).task)
    return (
        _learned(grok, task),
        *(sentence for sentence in (_kept(grok), _unexplained(grok, task)) if sentence),
        *(_explained(circuit, is_learned=has_learned(grok, task, i), by=by) for i, circuit in enumerate(grok.circuits)),
    )


def _tiles(grok: Grok, task: Task) -> tuple[Tile, ...]:
    config, record = config_of(grok.run), grok.run.record()
    steps, final = record["steps"], record["final"]
    vocabulary = config.num_classes or task.vocabulary(config.model.readout)
    reached = "did not grok" if steps["first"] is None else number(steps["first"])
    details = f"trained {steps['trained']:,} steps"
    if record["outcome"] == "imported":
        reached, details = "not known", "one checkpoint of another project's training"
    if steps["sustained"] is not None:
        details = f"sustained {steps['sustained']:,}, memorised {number(steps['memorised'])}"
    elif steps["first"] is not None:
        details += ", not sustained"
    if steps["first"] is not None and steps["stable"] is None:
        details += ", fell back"
    tiles = [
        Tile("grokked at step", reached, details),
        Tile("test accuracy", f"{final['test_accuracy']:.2%}", f"commonest answer {task.guessing_accuracy():.2%}"),
        Tile("test loss", number(final["test_loss"]),
             f"nats over {vocabulary} tokens{', summed over tasks' * (task.num_tasks > 1)}; even guess {math.log(vocabulary) * task.num_tasks:.3f}"),
    ]  # fmt: skip
    for circuit in grok.circuits[:1]:
        embedded = circuit.measures[circuit.basis]["W_E"]
        of = f"{circuit.basis} basis" + (f", {circuit.formula}" if task.num_tasks > 1 else "")
        tiles += [
            Tile("key frequencies", ", ".join(map(str, circuit.key_frequencies)) or "none", of),
            Tile("FFD of W_E", number(embedded["ffd"]), f"{circuit.basis} basis; white noise 1"),
            Tile("FCR of W_E", number(embedded["fcr"]), f"white noise {fcr_of_noise(config.model.width):.3f}"),
        ]
    return tuple(tiles)


def _doubts(grok: Grok, task: Task) -> tuple[str, ...]:
    is_imported = grok.run.record()["outcome"] == "imported"
    unknown = (
        "The split is one of this page's: which questions the model was trained on is not known, so neither training nor test figures are those of its training. "
        f"Its attention was taken to run at rate {config_of(grok.run).model.attention_rate:g} (0: uniform); give --attention-rate if it was trained at another."
    )  # fmt: skip
    doubts = [
        unknown
        if is_imported
        else "It is one seed. Thread count alone can change when, and whether, a run groks; repeat with --seeds 5 before quoting "
        "a time.",
        "The key frequencies are read off the same logits that are then cut, and the control frequencies hold less of those "
        "logits by selection. The independent evidence is the weights' spectrum against permuted numbers.",
    ]
    for index, rule in enumerate(task.rules):
        if task.is_symmetric(index) and not is_imported and (share := task.swap_leakage(index)) > 0:
            doubts.append(f"{rule.text} is symmetric, and {share:.0%} of its test questions were trained on with "
                          "their operands swapped. Repeat with --split-by unordered.")  # fmt: skip
    share = leaked(grok.run)
    if share is None:
        doubts.append(
            "Whether test questions were trained on by the run that the frozen weights come from is not known."
        )
    elif share > 0:
        doubts.append(f"{share:.0%} of the test questions were trained on by the run that the frozen weights come from, which has a formula in common. "
                      "Give both the same split and train fraction.")  # fmt: skip
    if task.config.zeros == "excluded":
        doubts.append("The number 0 is never asked about, so nothing was learned of it: waves of the numbers themselves are not measured, only those of "
                      "their logarithms.")  # fmt: skip
    if task.config.task_tokens == "published":
        doubts.append(f"Formulas share a token, as in the authors' code: {', '.join(rule.text for rule in task.rules)} are told apart by their operator alone, and where "
                      "two with the same one differ, no model can answer both.")  # fmt: skip
    if task.config.operand_range == "published":
        doubts.append("Operands include five operator tokens, as in the authors' released code: that is another data set than "
                      "the one the paper describes.")  # fmt: skip
    doubts += [
        f"For {circuit.formula} the neurons are not tuned to single frequencies of the operands, so the waves of the answer "
        "are built from something this page does not name."
        for circuit in grok.circuits
        if circuit.neurons_explained[circuit.basis] < 0.5
    ]
    return tuple(doubts)


def leaked(run: Run) -> float | None:
    """Share of a run's test questions that the source of its frozen weights was trained on, with the same formula; None where that is not known."""
    source, task = run.record().get("source"), modular_task(config_of(run).task)
    if not source:
        return 0.0
    values, path = source.get("task"), run.path.parent / source["id"]
    if values is None and (path / "run.json").is_file():  # a run from before that was noted
        values = open_run(path).record()["config"]["resolved"]["task"]
    if values is None:
        return None
    other = modular_task(TaskConfig(**values | {"formulas": tuple(values["formulas"])}))
    if other.config.modulus != task.config.modulus:
        return 0.0
    if source["outcome"] == "imported":  # its split is one of ours
        return None if {rule.text for rule in task.rules} & {rule.text for rule in other.rules} else 0.0
    theirs = {rule.text: i for i, rule in enumerate(other.rules)}
    found, asked = 0, 0
    for i, rule in enumerate(task.rules):
        rows = task.test[i][task.defined[i, task.test[i]]]
        asked += len(rows)
        if (their := theirs.get(rule.text)) is not None:
            seen = set(map(tuple, other.operands[other.train[their]].tolist()))
            found += sum(tuple(row) in seen for row in task.operands[rows].tolist())
    return found / max(asked, 1)


def _numbers(grok: Grok) -> dict[str, Any]:
    record = grok.run.record()
    circuits, paths = [c.parts() for c in grok.circuits], [t.parts() for t in grok.trajectories]
    return {
        "run": {k: record[k] for k in ("id", "outcome", "steps", "final", "seconds", "measuring_seconds")},
        "config": record["config"]["resolved"],
        "provenance": record["provenance"],
        "command": command(grok),
        "finding": finding(grok),
        "circuits": [values | {"verdict": verdict(c), "is_learned": has_learned(grok, modular_task(config_of(grok.run).task), i), "arrays": arrays}
                     for i, (c, (values, arrays)) in enumerate(zip(grok.circuits, circuits, strict=True))],
        "trajectories": [values | {k: v for k, v in arrays.items() if v.ndim < 3} for values, arrays in paths],
        "history": grok.run.history(),
    }  # fmt: skip


def grok_page(grok: Grok) -> Page:
    """The report of a run; several formulas of a mixture come one after the other."""
    config = config_of(grok.run)
    task = modular_task(config.task)
    name = ", ".join(rule.text for rule in task.rules)
    sections = []
    for index in range(max(1, len(grok.circuits))):
        for key, make in SECTIONS.items():
            once = key in WITHOUT_CIRCUIT
            if (once and index > 0) or (not once and not grok.circuits) or key == "provenance":
                continue
            section = make(grok, task, index)
            if section is not None and task.num_tasks > 1 and not once:
                title = f"{task.rules[index].text}: {section.title}"
                section = section._replace(anchor=f"{section.anchor}-{index + 1}", title=title)
            sections.append(section)
    sections.append(SECTIONS["provenance"](grok, task, 0))
    return Page(
        f"{name} mod {config.task.modulus}",
        f"{name} modulo {config.task.modulus}",
        finding(grok),
        _tiles(grok, task),
        _doubts(grok, task),
        tuple(section for section in sections if section is not None),
        _numbers(grok),
    )


def write_report(grok: Grok) -> Path:
    """Write report.html and report.json into the run's directory; returns the path of the former."""
    return grok_page(grok).save(grok.run.path / "report.html")
