"""The report of one explained language model: the finding, then its sections.

To add a section: a function Explanation -> Section or None, and one line in SECTIONS.
"""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import escape

from epicycle.analysis.ablation import nearest_controls
from epicycle.analysis.embedding import PERIODS, named_periods
from epicycle.analysis.explain import Explanation, as_json
from epicycle.analysis.matrix import MatrixSpectrum
from epicycle.analysis.modules import TOP_WAVES
from epicycle.fourier.bands import HIGH_PERIOD, keep
from epicycle.fourier.bases import additive
from epicycle.fourier.spectra import fourier_norms
from epicycle.plots import language as draw
from epicycle.plots import style
from epicycle.plots.geometry import side_by_side
from epicycle.report.page import Page, Section, Tile, drawing, number, table
from epicycle.report.references import LANGUAGE, REFERENCES
from epicycle.tasks.prompts import prompt_task

PUBLISHED = {
    ("none", "none"): (0.0073, 0.9974), ("attn", "low"): (0.0352, 0.9912), ("attn", "high"): (0.5943, 0.7836),
    ("mlp", "low"): (2.1399, 0.3589), ("mlp", "high"): (0.1213, 0.9810), ("both", "low"): (4.0842, 0.0594),
    ("both", "high"): (1.8598, 0.2708),
}  # fmt: skip
"""Loss and accuracy of Zhou et al. 2024, Table 1: GPT-2-XL tuned on sums of 0..260, validation questions."""
WINDOW = 10


def _is_published(found: Explanation) -> bool:
    """True for a model of GPT-2-XL's shape asked over the paper's range."""
    facts = found.facts
    return (facts["type"], facts["layers"], facts["width"]) == (
        "gpt2",
        48,
        1600,
    ) and found.config.prompts.largest_operand == 260


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


def spectrum_drawing(
    spectrum: MatrixSpectrum, marked: Sequence[int], description: str, *, title: str = "", height: float = 2.1
) -> str:
    """The spectrum of a number table with the 95 % level of its null, some periods named."""
    with style.figure(9.2, height) as (fig, ax):
        draw.number_shares(spectrum.frequency, spectrum.period, spectrum.share, spectrum.level[spectrum.null], marked, ax, title,
                           spectrum.null)  # fmt: skip
        return drawing(style.svg(fig, description))


def _embedding(found: Explanation) -> Section | None:
    spectrum, places = found.spectrum, found.map
    if spectrum is None or places is None:
        return None
    order = np.argsort(-spectrum.share, kind="stable")[:10]
    marked = [int(i) for i in order[:8]]
    body = spectrum_drawing(spectrum, marked, "Share of power of the number embedding at each period", height=2.8)
    nulls = list(spectrum.p_single)
    asked = [int(np.argmin(np.abs(spectrum.frequency - spectrum.rows / t))) for t in PERIODS]
    shown = list(dict.fromkeys([*marked, *asked]))
    rows = [[f"{spectrum.period[i]:.4g}", int((spectrum.share > spectrum.share[i]).sum()) + 1, float(spectrum.share[i]),
             *(f"{spectrum.p_single[null][i]:.3f} / {spectrum.p_family[null][i]:.3f}" for null in nulls)] for i in shown]  # fmt: skip
    body += table(["period", "place", "share", *nulls], rows, f"p-values under each null, {spectrum.draws} draws: of this period alone / allowing for having "
                  "looked at all. Permuted within decades keeps the trend; token frequency keeps what is linear in log frequency.")  # fmt: skip
    with style.figure(9.2, 3.2, 1, 2) as (fig, axes):
        n = np.arange(len(places.tsne))
        draw.number_map(places.tsne, n, axes[0], "t-SNE, coloured by magnitude", "number")
        draw.number_map(places.tsne, n % 10, axes[1], "the same, coloured by last digit", "last digit")
        body += drawing(style.svg(fig, "Map of number embeddings"))
    body += table(["ten clusters (k-means) agree with", "adjusted mutual information"],
                  [["ten blocks of magnitude", places.agreement_magnitude], ["being a multiple of ten", places.agreement_multiple_of_10],
                   ["the last digit", places.agreement_last_digit]], "0 is chance, 1 is equal.")  # fmt: skip
    return Section("embedding", "The embedding of numbers", "Which periods the rows of the numbers carry, without their straight line.", body,
                   (f"Number table: {spectrum.convention}.", "A period that is not a whole number of cycles over the table leaks into its neighbours.",
                    f"Distances on a t-SNE map mean little; perplexity {places.perplexity:g}, seed {places.seed}."))  # fmt: skip


def _geometry(found: Explanation) -> Section | None:
    g = found.geometry
    if g is None:
        return None
    with style.figure(9.2, 2.8) as (fig, ax):
        side_by_side(g.period, g.phi_share, g.phi_chance, g.linear, g.control_level, ax)
        body = drawing(style.svg(fig, "Share of power at a period beside kappa of a probe of the residue"))
    rows = [[int(t), at["phi_share"], at["phi_chance"], at["linear"], at["control_level"], f"{at['p_value']:.2f}", at["circular"], at["beyond"],
             *("" if np.isnan(at[name]) else at[name] for name in ("frequency_only", "frequency_out"))]
            for t in g.period for at in [g.at(int(t))]]  # fmt: skip
    body += table(["T", "share of power", "white rows", "linear kappa", "95 % of shuffled labels", "p", "circular kappa", "upper half from lower",
                   "from token frequency alone", "frequency regressed out"], rows, "Kappa on held-out numbers, ten folds: 0 is chance, 1 is every number right.")  # fmt: skip
    scatters = [[int(t), at["phi"], at["between_trace"], at["within_condition"], at["fisher_low"], at["fisher"], at["fisher_high"], int(at["dimensions"])]
                for t in g.period for at in [g.at(int(t))]]  # fmt: skip
    body += table(["T", "power Phi_T", "Tr S_B", "cond S_W", "lower bound", "largest Fisher ratio", "upper bound", "dimensions"], scatters,
                  "Scatter between and inside residue classes (Fu et al. 2026); Tr S_B = Phi_T / N where T divides N.")  # fmt: skip
    return Section("geometry", "Power is not separability", "The share of power at the harmonics of T, and whether n mod T can be read from the row of a number that the "
                   "probe has not seen.", body, ("A residue that can be read need not be used by the model.", "Periods 3, 7 and 9 are controls that decimal writing has no use for; "
                   "2, 5 and 10 share their harmonics: half of what period 10 has, 2 and 5 have.",
                   f"{g.numbers} numbers, {g.controls} relabellings per probe, seed {g.seed}."))  # fmt: skip


def _lens(found: Explanation) -> Section | None:
    if found.lens is None:
        return None
    lens = found.lens
    with style.figure(9.2, 2.8) as (fig, ax):
        draw.lens(lens.exact, lens.within_2, lens.within_10, lens.guess_within_10, ax)
        body = drawing(style.svg(fig, "Accuracy of the lens after each layer"))
    crossing = {name: lens.crossing(name) for name in ("within_10", "within_2", "exact")}
    body += table(["accuracy", "first layer at 50 %", "best constant answer"],
                  [[name.replace("_", " "), "none" if layer is None else layer, getattr(lens, f"guess_{name}")] for name, layer in crossing.items()])  # fmt: skip
    return Section("lens", "What each layer would answer", "The stream at the answer position, read through the final norm and the number rows of the "
                   "unembedding.", body, ("The norm's statistics are computed anew at each layer.",))  # fmt: skip


def _modules(found: Explanation) -> Section | None:
    if found.modules is None:
        return None
    m = found.modules
    top = float(max(m.attention.max(), m.mlp.max()))
    with style.figure(9.6, 0.9 + min(4.2, 1.2 + 0.16 * len(m.mlp)), 1, 2) as (fig, axes):
        draw.module_heat_map(m.attention, m.frequency, m.period, axes[0], "attention", top)
        draw.module_heat_map(m.mlp, m.frequency, m.period, axes[1], "MLP", top)
        body = drawing(style.svg(fig, "Fourier magnitude of module logits by layer and period"), f"Mean over {m.prompts:,} questions of the magnitude of the number "
                       "logits that a module writes, at each period. Same colours in both.")  # fmt: skip
    rows = []
    high = m.period <= HIGH_PERIOD + 1e-9
    for layer in range(len(m.mlp)):
        for name, values, level in (("attention", m.attention, m.attention_level), ("MLP", m.mlp, m.mlp_level)):
            power = values[layer] ** 2
            best = np.argsort(-values[layer], kind="stable")[:4]
            rows.append([f"{layer + 1} {name}", ", ".join(f"{m.period[i]:.3g}" for i in best), float(power[~high].sum() / max(power[high].sum(), 1e-300)),
                         int((values[layer] > level[layer]).sum())])  # fmt: skip
    body += table(["layer", "largest periods", "low / high power", "periods beyond a random order"], rows, "Random order: the numbers of the unembedding in "
                  "random order; beyond what 5 % of 20 orders exceed anywhere.")  # fmt: skip
    low, width = max(0, m.example_answer - WINDOW), 2 * WINDOW + 1
    with style.figure(9.6, 0.9 + min(4.2, 1.2 + 0.16 * len(m.mlp)), 1, 2) as (fig, axes):
        draw.logit_heat_map(m.example_attention[:, low : low + width], low, m.example_answer, axes[0], "attention")
        draw.logit_heat_map(m.example_mlp[:, low : low + width], low, m.example_answer, axes[1], "MLP")
        body += drawing(
            style.svg(fig, "Module logits of one prompt"),
            f"One question: {m.example_prompt.strip()!r}, answer {m.example_answer}.",
        )
    return Section("modules", "What attention and MLPs write", "The output of each module at the answer position, read by the number rows of the unembedding "
                   "and taken to the Fourier basis.", body, (f"{m.convention}; no final norm in between.", "Magnitudes are averaged, since phases turn with the answer.",
                   "A wave that is written need not be used: see the removals."))  # fmt: skip


def _waves(found: Explanation) -> Section | None:
    if found.modules is None:
        return None
    m = found.modules
    basis = additive(m.numbers)
    norms = fourier_norms(m.example_final[:, None], basis)
    best = np.argsort(-norms.power, kind="stable")[:5]
    curves = [keep(m.example_final[:, None], basis, basis.frequency[[i]])[:, 0] for i in best]
    with style.figure(9.2, 2.8) as (fig, ax):
        draw.waves(curves, [float(m.period[i]) for i in best], m.example_answer, ax)
        peak = int(np.argmax(np.sum(curves, axis=0)))
        body = drawing(style.svg(fig, "The five largest waves of the final logits of one prompt and their sum"),
                       f"{m.example_prompt.strip()!r}: the sum of the five largest waves peaks at {peak}; the answer is {m.example_answer}.")  # fmt: skip
    body += table(
        ["largest waves kept", *map(str, TOP_WAVES)],
        [["share of questions whose sum peaks at the answer", *map(float, m.top_waves)]],
    )
    return Section("waves", "The answer as a sum of waves", "The final logits over the numbers, cut to their largest waves.", body,
                   ("Any curve with one peak has such a sum: this shows economy, not mechanism.",))  # fmt: skip


def _ablations(found: Explanation) -> Section | None:
    if found.ablations is None:
        return None
    a = found.ablations
    with style.figure(9.2, 2.8) as (fig, ax):
        draw.ablation_chart(a.rows, ax)
        body = drawing(style.svg(fig, "Accuracy with a band removed, beside random subspaces of the same rank"))
    share = lambda value: "" if value is None else f"{value:.0%}"  # noqa: E731
    which = {"none": "as it is", "attn": "attention", "mlp": "MLPs", "both": "both"}
    rows = []
    for row in a.rows:
        if "refused" in row:
            continue
        errors, controls = row["errors"], row["controls"]
        spans = [
            f"{min(v['accuracy']):.1%} to {max(v['accuracy']):.1%}"
            for v in (controls.get(k) for k in ("width", "row space"))
            if v
        ]
        rows.append([which[row["modules"]], row["band"], f"{row['rank']} of {row['width']}", row["loss"], f"{row['accuracy']:.2%}", *[*spans, "", ""][:2],
                     errors["wrong"], share(errors["multiples_of_10"]), share(errors["expected_multiples_of_10"]), share(errors["below_6"]), share(errors["off_by_one"])])  # fmt: skip
    body += table(["module", "band removed", "rank", "loss", "accuracy", "random, anywhere", "random, in sight", "wrong", "multiples of 10", "expected",
                   "below 6", "off by one"], rows, f"{a.prompts:,} {a.split} questions. Accuracy is the largest logit over the whole vocabulary, errors are those of the largest over the numbers. Random: accuracy with as many random dimensions removed, "
                  f"{a.settings['controls']} draws, anywhere in the width or inside the {a.row_rank} dimensions that the number logits can see. Expected: share "
                  "of multiples of ten if the same answers were paired at random.")  # fmt: skip
    names = {"none none": "as it is", "mlp low": "low removed from MLPs", "attn high": "high removed from attention"}
    shown = {label: a.differences[key] for key, label in names.items() if key in a.differences}
    with style.figure(9.2, 2.3) as (fig, ax):
        draw.error_histogram(shown, ax)
        body += drawing(
            style.svg(fig, "Answers less right answers with and without a band"),
            "Errors of 30 and more stand at the ends.",
        )
    refusals = dict.fromkeys(row["refused"] for row in [*a.rows, *a.keeps] if "refused" in row)
    body += "".join(f"<p class='caveat'>{escape(text)}</p>" for text in refusals)
    kept = [row for row in a.keeps if "refused" not in row]
    if kept:
        body += table(["wave kept in attention and MLPs", "rank removed", "parity right", "within 10", "exact", "random removals of the same rank: parity", "within 10", "exact"],
                      [[f"period {row['period']:.4g}", row["rank"], *(f"{row[key]:.2%}" for key in ("parity", "within_10", "exact")),
                        *(f"{np.mean([control[key] for control in row['control']]):.2%}" for key in ("parity", "within_10", "exact"))] for row in kept],
                      "All over the numbers; controls are means over the draws.")  # fmt: skip
    if _is_published(found):
        body += table(["module", "band removed", "published loss", "published accuracy"], [[which[m], b, *PUBLISHED[m, b]] for m, b in PUBLISHED],
                      "Zhou et al. 2024, Table 1: GPT-2-XL, 3,419 validation questions, one run.")  # fmt: skip
    where = {"answer": "at the answer position only", "all": "at every position"}[a.settings["positions"]]
    fold = "gain of the final norm folded in" if a.settings["is_folded"] else "final norm left out"
    return Section("ablations", "What the answers depend on", "Attention or MLP outputs lose the directions that write a band of waves into the number logits.", body,
                   (f"Removed {where}, {fold}, {a.settings['convention']} basis, high band: periods up to {a.settings['high_period']:g}.",
                    "The nearest point without the band is taken in activation space; what that does outside the number logits is not controlled, except by the "
                    "random removals.", "An intact last digit alone makes every error a multiple of ten."))  # fmt: skip


def _residual(found: Explanation) -> Section | None:
    if found.residual is None:
        return None
    r = found.residual
    with style.figure(9.2, 0.9 + min(4.2, 1.4 + 0.16 * len(r.share))) as (fig, ax):
        draw.module_heat_map(r.share, r.frequency, r.period, ax, "share of power after each layer (bottom: embedding)")
        body = drawing(
            style.svg(fig, "Spectrum over numbers of the stream, by layer"),
            f"Numbers 0..{r.numbers - 1} in {r.carrier!r}, stream at their last token.",
        )
    rows = [[layer, ", ".join(f"{r.period[i]:.3g}" for i in np.argsort(-r.share[layer], kind="stable")[:5]), int((r.p_family[layer] <= 0.05).sum())]
            for layer in range(len(r.share))]  # fmt: skip
    body += table(
        ["after layer", "largest periods", "periods with p <= 0.05"],
        rows,
        f"Null: {r.null}, {r.draws} draws, all frequencies looked at.",
    )
    return Section(
        "residual",
        "Numbers in the stream",
        "For tokenizers without number tokens: the stream where a number ends.",
        body,
    )


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
    "embedding": _embedding,
    "geometry": _geometry, "lens": _lens, "modules": _modules, "waves": _waves, "ablations": _ablations, "residual": _residual,
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
    for part in ("spectrum", "geometry", "map"):
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
