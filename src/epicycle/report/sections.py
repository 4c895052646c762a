"""The sections of a grok report.

To add a section: a function (Grok, Task, index of the formula) -> Section, or None where there is nothing to show, and one line in SECTIONS.
"""

import dataclasses
import math
import shlex
from collections.abc import Callable

import numpy as np
from markupsafe import escape

from epicycle.analysis.circuit import Circuit, Trajectory
from epicycle.analysis.grok import Grok, config_of
from epicycle.fourier.measures import FFD_THRESHOLD, fcr_of_noise, ffd
from epicycle.numbers.residues import discrete_logarithms
from epicycle.plots import style
from epicycle.plots.curves import grokking, losses
from epicycle.plots.planes import circle, heat_map
from epicycle.plots.spectra import histogram, spectrum
from epicycle.report.page import Section, drawing, embedded_json, number, table
from epicycle.report.parts import parts_section
from epicycle.report.references import REFERENCES, references
from epicycle.tasks.modular import Task
from epicycle.training.config import SETTINGS, RunConfig, ScheduleConfig, settings_of, usual


def _source(config: RunConfig) -> str | None:
    """The run that frozen weights come from."""
    return None if config.frozen is None or config.frozen.source == "random" else config.frozen.source


def _import_command(grok: Grok, config: RunConfig) -> str:
    record = grok.run.record()["config"]
    origin, t = record["resolved"]["imported"], config.task
    words = [
        "epicycle",
        "import",
        shlex.quote(str(record["given"].get("file", origin["file"]))),
        *(shlex.quote(text) for text in t.formulas),
    ]
    options = {"--modulus": t.modulus, "--train-fraction": t.train_fraction, "--split-seed": t.split_seed, "--layout": origin["layout"], "--key": origin["key"],
               "--attention-rate": config.model.attention_rate, "--step": origin["step"], "--scores": None if config.model.scores == "scaled" else config.model.scores, "--extra-tokens": origin.get("extra_tokens"), "--operand-range": t.operand_range}  # fmt: skip
    return " ".join(
        words
        + [shlex.quote(str(word)) for flag, value in options.items() if value is not None for word in (flag, value)]
    )


def command(grok: Grok) -> str:
    """The shell command that trains this run again; a comment says so where the command line cannot express it."""
    config = config_of(grok.run)
    if "imported" in grok.run.record()["config"]["resolved"]:
        return _import_command(grok, config)
    t, s = config.task, config.schedule
    recipe = usual(config)
    theirs = settings_of(recipe)
    fixed = {"--modulus": t.modulus, "--train-fraction": t.train_fraction, "--seed": config.seed}
    fixed |= {"--split-seed": t.split_seed, "--max-steps": s.max_steps, "--recipe": config.recipe}
    plain = ScheduleConfig()
    optional = {
        **{f"--{name.replace('_', '-')}": (value, theirs[name]) for name, value in settings_of(config).items()},
        "--evaluate-every": (s.evaluate_every, plain.evaluate_every),
        "--measure-every": (s.measure_every, plain.measure_every),
        "--checkpoint-every": (s.checkpoint_every, plain.checkpoint_every),
        "--hold-evaluations": (s.hold_evaluations, plain.hold_evaluations),
        "--min-steps": (s.min_steps, plain.min_steps),
        "--from": (_source(config), None),
        "--freeze": ("+".join(config.frozen.parts) if config.frozen else None, None),
        "--without-frequencies": (",".join(map(str, config.frozen.without)) if config.frozen else "", ""),
        "--frequency-basis": (config.frozen.basis if config.frozen else "additive", "additive"),
    }
    chosen = fixed | {flag: value for flag, (value, default) in optional.items() if value != default}
    words = ["epicycle", "grok", *(shlex.quote(text) for text in t.formulas)]
    words += [str(word) for pair in chosen.items() for word in pair]
    facts = grok.run.record()["provenance"]
    words += ["--threads", str(facts["threads"]), "--device", str(facts["device"])]
    same = all(
        dataclasses.replace(getattr(recipe, part), **{name: getattr(getattr(config, part), name) for name in names})
        == getattr(config, part)
        for part, names in SETTINGS.items()
    )
    kept = config.frozen
    is_plain = kept is None or (
        kept.step is None and (kept.source == "random" or (kept.afresh and kept.drawn_by == "run"))
    )
    is_whole = same and is_plain and s.grok_accuracy == plain.grok_accuracy
    return " ".join(words) + ("" if is_whole else "  # and settings that only Python offers; see run.json")


STEP_WORDS = {"additive": "cycles per modulus", "multiplicative": "cycles per p - 1 logarithms"}


def _series(grok: Grok, basis: str, site: str, measure: str) -> list[float]:
    values = [line.get("measures", {}).get("weights", {}).get(basis, {}).get(site, {}).get(measure)
              for line in grok.run.history()]  # fmt: skip
    return [math.nan if v is None else v for v in values]


def _basis(grok: Grok, index: int) -> str:
    return grok.circuits[index].basis if grok.circuits else "additive"


def _curves(grok: Grok, task: Task, index: int) -> Section | None:
    """None of a checkpoint of another project: nothing is known of how it came to be."""
    history, record, basis = grok.run.history(), grok.run.record(), _basis(grok, index)
    each = ""
    if task.num_tasks > 1:
        rows = [[text, v["train_accuracy"], v["test_accuracy"]] for text, v in history[-1]["tasks"].items()]
        each = table(["task", "train accuracy", "test accuracy"], rows, "Each formula of the mixture at the last step.")
    if len(history) < 2:
        return Section("training", "How it does on each formula", "", each) if each else None
    steps = [line["step"] for line in history]
    series = {"train accuracy": [line["train_accuracy"] for line in history],
              "test accuracy": [line["test_accuracy"] for line in history]}  # fmt: skip
    body = ""
    shown = [basis] + (["additive"] if basis != "additive" and config_of(grok.run).task.zeros == "included" else [])
    for name in shown:
        lines = series | {
            f"{m.upper()} of {s}": _series(grok, name, s, m) for m in ("ffd", "fcr") for s in ("W_E", "W_L")
        }
        marks = {word: record["steps"][key] for word, key in (("memorised", "memorised"), ("grokked", "first"))
                 if record["steps"][key] is not None}  # fmt: skip
        with style.figure(7.6, 3.0) as (fig, ax):
            grokking(steps, lines, marks, 1 / task.config.modulus, ax)
            ax.set_title(f"{name} basis", pad=22)
            body += drawing(style.svg(fig, f"Accuracy, FFD and FCR over training steps in the {name} basis"))
    return Section("training", "Training, and when the spectrum changed",
                   "Accuracy jumps from memory to rule; FFD falls when few frequencies take over, FCR when cosine or "
                   "sine takes over. All on one axis, steps on a logarithmic one.", body + each,
                   (f"Evaluated every {config_of(grok.run).schedule.evaluate_every} steps: an event is dated at the first "
                    "evaluation that sees it.", "One seed is one draw: times and even outcomes differ between seeds."))  # fmt: skip


def _spectra(grok: Grok, task: Task, index: int) -> Section:
    circuit = grok.circuits[index]
    body = ""
    for basis in sorted(circuit.conventions, key=lambda name: (name != circuit.basis, name)):
        if basis == "literal_eq5":
            continue
        keys = _keys_of(circuit) if basis == circuit.basis else {"W_E": (), "W_L": ()}
        with style.figure(9.2, 2.5, 1, 2) as (fig, axes):
            for ax, site in zip(axes, ("W_E", "W_L"), strict=True):
                get = lambda part, s=site, b=basis: circuit.norms[f"{b}/{s}/{part}"]  # noqa: E731
                spectrum(
                    get("frequency"),
                    get("cosine"),
                    get("sine"),
                    keys[site],
                    ax,
                    site,
                    f"frequency ({STEP_WORDS[basis]})",
                )
            body += drawing(style.svg(fig, f"Fourier norms of W_E and W_L in the {basis} basis"),
                            f"{basis.capitalize()} basis: {circuit.conventions[basis]}. Cosine upwards, sine downwards.")  # fmt: skip
    return Section("spectra", "What the embedding and the read-out carry",
                   "W_E has one row per operand, W_L = W_U' W_out one row per answer. Each bar is the norm of all "
                   "coefficients at one frequency.", body,
                   ("A spectrum shows what is there, not what is used: for that see the losses below.",))  # fmt: skip


SITE_WORDS = {"W_E": "operands in the embedding W_E", "W_L": "answers in the read-out W_L"}


def _circles(grok: Grok, task: Task, index: int) -> Section:
    circuit, path = grok.circuits[index], grok.trajectories[index]
    period = circuit.period
    body = "" if circuit.key_frequencies else "<p>No frequency stands out, so there is no circle to draw.</p>"
    for site, words in SITE_WORDS.items() if circuit.key_frequencies else ():
        needed, columns = _keys_of(circuit)[site], 4
        keys = needed[:8]
        rows = -(-len(keys) // columns)
        with style.figure(2.3 * columns, 2.4 * rows, rows, columns, squeeze=False) as (fig, axes):
            for ax in axes.flat[len(keys) :]:
                ax.set_visible(False)
            for k, places, ax in zip(keys, _in_order(path.circles[site][-1], circuit), axes.flat, strict=False):
                circle(places, k, period / k, ax, f"k = {k}")
            share = path.spectra[site][-1][np.isin(path.frequency, needed)].sum()
            caption = (
                f"The {words}: every dot is a number, placed in the plane of one key frequency and coloured by the angle "
                f"that the frequency predicts. These frequencies hold {share:.0%} of its power."
            )
            if circuit.basis == "multiplicative":
                caption += " Dots and their labels run along the discrete logarithm; zero is left out."
            body += drawing(style.svg(fig, f"The {words} on the circles of the key frequencies"), caption)
    moves = len(path.steps) > 1
    if moves:
        body += _slider(grok, path, circuit, period)
    return Section(
        "circles",
        "Numbers on circles" + ", step by step" * moves,
        "Where a key frequency is used, a site lays the numbers out on a circle and goes round it k times."
        + " Move the slider to see the circles form." * moves,
        body,
        (
            "Axes are the site's own cosine and sine directions of that frequency; with a sine missing the circle is a "
            "line. The key frequencies are those of the answer: an embedding need not hold them, and for even functions "
            "such as a^2 it cannot. Of a formula that is linear in its operands, such as 2a + 3b, they are those that the operands need: 2k and 3k for every k.",
        ),
    )


def _keys_of(circuit: Circuit) -> dict[str, list[int]]:
    """The frequencies that a site needs for the key waves of the answer."""
    return {"W_E": list(circuit.operand_frequencies), "W_L": list(circuit.key_frequencies)}


def _multiplied(circuit: Circuit) -> str:
    """What stands for one frequency of the answer, where the operands need another."""
    if set(circuit.operand_frequencies) == set(circuit.key_frequencies):
        return ""
    first, second = (m if 2 * m <= circuit.period else m - circuit.period for m in circuit.multipliers[circuit.basis])
    return f"; here of {first} k along a and {second} k along b, of which the wave of the answer at k is made"


def _in_order(places: np.ndarray, circuit: Circuit) -> np.ndarray:
    """Places (..., p, 2) along the numbers, or along their logarithms without zero."""
    if circuit.basis == "additive":
        return places
    return places[..., 1:, :][..., np.argsort(discrete_logarithms(circuit.modulus)[1:]), :]


def _slider(grok: Grok, path: Trajectory, circuit: Circuit, period: int) -> str:
    """The site whose key frequencies hold more of its power at the end, over the kept checkpoints."""
    accuracy = {line["step"]: line["test_accuracy"] for line in grok.run.history()}
    needed = _keys_of(circuit)
    site = max(SITE_WORDS, key=lambda name: path.spectra[name][-1][np.isin(path.frequency, needed[name])].sum())
    keys = needed[site][:8]
    data = {
        "steps": path.steps.tolist(),
        "accuracy": [f"{accuracy.get(int(s), math.nan):.3f}" for s in path.steps],
        "frequency": path.frequency.tolist(),
        "keys": keys,
        "period": period,
        "spectra": np.round(path.spectra[site], 5).tolist(),
        "circles": np.round(_in_order(path.circles[site][:, : len(keys)], circuit), 3).tolist(),
    }
    anchor = f"step-{grok.circuits.index(circuit)}"
    return (
        f'<div data-slider class="needs-script"><h3>The {SITE_WORDS[site]} over training</h3><div class="controls">'
        f'<label for="{anchor}">checkpoint</label><input id="{anchor}" type="range" min="0" step="1"><output></output></div>'
        '<div data-bars></div><div data-circles class="stage"></div>'
        f'<script type="application/json">{embedded_json(data)}</script></div>'
    )


def _planes(grok: Grok, task: Task, index: int) -> Section:
    circuit = grok.circuits[index]
    with style.figure(9.2, 4.0, 1, 2) as (fig, axes):
        for ax, site, maps in zip(
            axes, ("logits", "neurons"), (circuit.logit_heat_map, circuit.neuron_heat_map), strict=True
        ):
            waves = maps[circuit.basis] if circuit.basis == "additive" else maps[circuit.basis][:-1, :-1]
            heat_map(waves, circuit.operand_frequencies, ax, site)
        body = drawing(style.svg(fig, "Two-dimensional spectra of logits and neurons"),
                       f"{circuit.basis.capitalize()} basis along both operands; norm over answers or neurons. Row and "
                       "column 0 are the constants; zero, which has no logarithm, is left out of the multiplicative basis.")  # fmt: skip
    return Section("planes", "Logits and neurons over pairs of waves",
                   "Every cell is a product of a wave of a and a wave of b. A wave of a + b needs the four cells "
                   f"cos x cos, sin x sin, cos x sin, sin x cos of one frequency{_multiplied(circuit)}.", body)  # fmt: skip


def _cause(grok: Grok, task: Task, index: int) -> Section:
    circuit, path = grok.circuits[index], grok.trajectories[index]
    rows, without = [], []
    for basis, planes in circuit.losses.items():
        if not planes["answer"]["excluded_each"]:
            without.append(basis)
            continue
        for plane, found in planes.items():
            worst = [max(found[kind]) if found[kind] else "none" for kind in ("control", "subspace")]
            measured = [found[name] for name in ("full", "full_train", "restricted", "memory", "excluded")]
            rank = f"{found['rank']} of {found['pairs']:,}"
            rows.append([basis, plane, *measured, *worst, rank, found["share"]])
    header = ["basis", "plane", "full", "full, train", "restricted", "the same, exchanged", "excluded", "other frequencies", "random directions",
              "rank", "variance"]  # fmt: skip
    body = "" if not rows else table(header, rows,
        "Losses in nats over the number classes. Full and restricted over all pairs that have an answer (in the "
        "multiplicative basis without those that hold a zero), the others over the training pairs among them. The two "
        "controls are the worst of eight draws: as many other frequencies removed, and random directions over pairs of the "
        "same rank. Exchanged: restricted, with the logits of untrained pairs in random order, which is what memory of the trained "
        "pairs gives. Variance: share of the logits' variance in the key waves."
        + " The run was trained with StableMax; these are losses by the usual softmax." * (config_of(grok.run).optimiser.loss == "stablemax"))  # fmt: skip
    if without:
        body += f"<p>No frequency leads in the {escape(' and the '.join(without))} basis, so nothing is cut there.</p>"
    own = circuit.losses[circuit.basis]["answer"]
    each = [[f"k = {k}", loss, loss - own["full_train"]]
            for k, loss in zip(circuit.key_frequencies, own["excluded_each"], strict=True)]  # fmt: skip
    if each:
        body += table(["removed frequency", "training loss (nats)", "loss increase (nats)"], each)
    if each and len(path.steps) > 1:
        with style.figure(7.6, 2.7) as (fig, ax):
            losses(path.steps, {"full": path.full, "train": path.full_train, "restricted": path.restricted,
                                "memory (restricted, exchanged)": path.memory, "excluded": path.excluded}, ax, math.log(circuit.modulus))  # fmt: skip
            body += drawing(style.svg(fig, "Full, train, restricted, exchanged and excluded loss over steps"),
                            "The final key frequencies followed back through the checkpoints.")  # fmt: skip
    return Section("cause", "Are the frequencies used?",
                   "Restricted keeps only the key waves of the logits, excluded removes only those. If the answers are made "
                   "of the waves, restricted is about as good as full, far better than what memory gives, and excluded far worse than its controls. Guessing "
                   f"gives {number(math.log(circuit.modulus))} nats.", body,
                   ("This cuts waves out of the logits, so it shows that the output is made of them, not which module "
                    "makes them.", "The plane of the answer, cos w f(a,b), exists for every formula; sum and difference are "
                    "shown because they are the published ones for a+b and a-b."))  # fmt: skip


def _neurons(grok: Grok, task: Task, index: int) -> Section:
    circuit = grok.circuits[index]
    bases = list(circuit.neuron_share)
    with style.figure(4.2 * len(bases), 2.3, 1, len(bases), squeeze=False) as (fig, axes):
        for ax, basis in zip(axes[0], bases, strict=True):
            histogram(circuit.neuron_share[basis], 0.85, ax, f"{basis} basis", "share of variance in one frequency")
        body = drawing(style.svg(fig, "How much of each neuron one frequency explains"))
    rows = [[basis, circuit.neurons_explained[basis], float((circuit.neuron_share[basis] > 0.85).mean()),
             ", ".join(map(str, circuit.neuron_keys[basis])) or "none"] for basis in bases]  # fmt: skip
    body += table(
        ["basis", "explained (variance-weighted)", "neurons above 0.85", "frequencies that own neurons"], rows
    )
    return Section("neurons", "One frequency per neuron?",
                   "For each neuron, the share of its variance over all pairs in the best single frequency (constant, "
                   f"cosine and sine of both operands{_multiplied(circuit)}).", body,
                   ("A neuron that squares its input may answer at twice the frequency it reads.",))  # fmt: skip


def _numbers(grok: Grok, task: Task, index: int) -> Section:
    circuit = grok.circuits[index]
    rows = []
    for basis, sites in circuit.measures.items():
        for site, found in sites.items():
            rows.append([basis, site, *(found[m] for m in ("ffd", "ffd_joint", "fcr", "bias", "gini", "ipr"))])
    body = table(["basis", "site", "FFD", "FFD, joint", "FCR", "cosine bias", "Gini", "IPR"], rows,
                 "Cosine bias: log of cosine power over sine power, positive for cosine. literal_eq5: the half-domain sums "
                 "printed in the paper's equation, for comparison only.")  # fmt: skip
    etas = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    sweep = [
        [basis, site, *(ffd(circuit.norms_of(basis, site), eta) for eta in etas)]
        for basis in circuit.neuron_share
        for site in ("W_E", "W_L")
    ]
    body += table(
        ["basis", "site", *(f"eta {eta:g}" for eta in etas)],
        sweep,
        "FFD at other thresholds eta (Furuta et al. 2024, App. H); the measure is eta 0.5.",
    )
    p_rows = []
    for basis in circuit.neuron_share:
        for site in ("W_E", "W_L"):
            p = circuit.p_values[f"{basis}/{site}/family"]
            p_rows.append([basis, site, int((p <= 0.01).sum()), float(p.min())])
    body += table(["basis", "site", "frequencies with p <= 0.01", "smallest p"], p_rows,
                  "Share of power at each frequency against tables with the numbers permuted (999 draws), family-wise.")  # fmt: skip
    config = config_of(grok.run)
    width, neurons = config.model.width, config.model.mlp_width
    return Section("numbers", "All measures, and their floors",
                   f"White noise of the same width gives FFD 1 and FCR about {fcr_of_noise(width):.3f} for W_E ({width} channels) "
                   f"and {fcr_of_noise(neurons, width):.3f} for W_L ({neurons} through {width}); a Gini near "
                   f"{1 / math.sqrt(math.pi * width):.3f} is noise for W_E.", body,
                   (f"FFD counts norms above {FFD_THRESHOLD} of the maximum, cosine and sine each by their own maximum as "
                    "published; the joint form does not call an empty channel dense.",))  # fmt: skip


def _listed(counts: tuple[int, ...]) -> str:
    """One count, or one per formula."""
    return ", ".join(f"{count:,}" for count in counts)


def _provenance(grok: Grok, task: Task, index: int) -> Section:
    record, config = grok.run.record(), config_of(grok.run)
    facts = record["provenance"]
    rows = [["run", grok.run.id], ["configuration SHA-256", record["config"]["sha256"][:16]],
            *([key, facts.get(key) or "not recorded"] for key in ("epicycle", "revision", "python", "platform", "processor", "device",
                                                                 "dtype", "started")),
            ["threads", facts["threads"]], ["engine", record.get("engine", "not recorded")],
            *([f"package {k}", v or "absent"] for k, v in facts["packages"].items()),
            ["recipe", config.recipe], ["weight seed", config.seed], ["split seed", config.task.split_seed],
            *([name.replace("_", " "), value] for name, value in settings_of(config).items()),
            ["training questions", _listed(task.asked("train"))], ["test questions", _listed(task.asked("test"))],
            ["seconds of training", record["seconds"]], ["of which evaluation and measures", record["measuring_seconds"]]]  # fmt: skip
    body = table(["what", "value"], rows)
    body += f"<h3>The command that makes this run</h3><pre>{escape(command(grok))}</pre>"
    cited = "".join(f"<li>{escape(REFERENCES[key][0])}</li>" for key in references(config.recipe))
    body += f"<h3>References</h3><ul>{cited}</ul>"
    return Section("provenance", "Where these numbers come from", "Everything needed to get them again.", body,
                   ("Bit-identical only with the same device and number of threads: the order of sums differs otherwise.",))  # fmt: skip


SECTIONS: dict[str, Callable[[Grok, Task, int], Section | None]] = {
    "training": _curves,
    "spectra": _spectra,
    "circles": _circles,
    "planes": _planes,
    "cause": _cause,
    "parts": parts_section,
    "neurons": _neurons,
    "numbers": _numbers,
    "provenance": _provenance,
}
"""Order of the report; None leaves a section out. Sections that need a circuit are left out for formulas of three operands."""

WITHOUT_CIRCUIT = ("training", "provenance")
