"""Sections of the report of an explained language model.

To add a section: a function Explanation -> Section or None, and one line in SECTIONS of `report.explain`.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import escape

from epicycle.analysis.ablation import nearest_controls
from epicycle.analysis.digits import as_rows
from epicycle.analysis.embedding import PERIODS
from epicycle.analysis.explain import Explanation
from epicycle.analysis.matrix import MatrixSpectrum
from epicycle.analysis.modules import TOP_WAVES, peaks
from epicycle.fourier.bands import HIGH_PERIOD, keep
from epicycle.fourier.bases import additive
from epicycle.fourier.spectra import fourier_norms
from epicycle.plots import language as draw
from epicycle.plots import style
from epicycle.plots.geometry import side_by_side
from epicycle.plots.helix import builders, effects
from epicycle.report.page import Section, drawing, number, table

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


def spectrum_drawing(
    spectrum: MatrixSpectrum, marked: Sequence[int], description: str, *, title: str = "", height: float = 2.1
) -> str:
    """The spectrum of a number table with the 95 % level of its null, some periods named."""
    with style.figure(9.2, height) as (fig, ax):
        draw.number_shares(spectrum.frequency, spectrum.period, spectrum.share, spectrum.level[spectrum.null], marked, ax, title,
                           spectrum.null)  # fmt: skip
        return drawing(style.svg(fig, description))


def embedding_section(found: Explanation) -> Section | None:
    """Spectrum of the number embedding against its nulls, its clusters and maps."""
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
    agreement = [["ten blocks of magnitude", places.agreement_magnitude, places.level_magnitude],
                 ["being a multiple of ten", places.agreement_multiple_of_10, places.level_multiple_of_10],
                 ["the last digit", places.agreement_last_digit, places.level_last_digit]]  # fmt: skip
    body += table(
        ["ten clusters (k-means) agree with", "adjusted mutual information", "95 % of clusters dealt at random"],
        agreement,
        "0 is chance, 1 is equal.",
    )
    return Section("embedding", "The embedding of numbers", "Which periods the rows of the numbers carry, without their straight line.", body,
                   (f"Number table: {spectrum.convention}.", "A period that is not a whole number of cycles over the table leaks into its neighbours.",
                    f"Distances on a t-SNE map mean little; perplexity {places.perplexity:g}, seed {places.seed}."))  # fmt: skip


def _matched(at: dict[str, float]) -> str:
    """Kappa on numbers matched by frequency, with what it is to be held against."""
    if np.isnan(at["matched"]):
        return "" if np.isnan(at["matched_rows"]) else f"{at['matched_rows']:.0f} numbers: too few"
    against = "; ".join(number(at[name]) for name in ("matched_level", "matched_magnitude", "matched_size"))
    return f"{number(at['matched'])} ({against}; {at['matched_rows']:.0f} numbers)"


def geometry_section(found: Explanation) -> Section | None:
    """Power at a period beside whether residues can be read."""
    g = found.geometry
    if g is None:
        return None
    with style.figure(9.2, 2.8) as (fig, ax):
        side_by_side(g.period, g.phi_share, g.phi_chance, g.linear, g.control_level, ax)
        body = drawing(style.svg(fig, "Share of power at a period beside kappa of a probe of the residue"))
    rows = [[int(t), at["phi_share"], at["phi_chance"], at["linear"], at["control_level"], f"{at['p_value']:.2f}", at["circular"], at["beyond"],
             *("" if np.isnan(at[name]) else at[name] for name in ("frequency_only", "frequency_out")), _matched(at)]
            for t in g.period for at in [g.at(int(t))]]  # fmt: skip
    body += table(["T", "share of power", "white rows", "linear kappa", "95 % of shuffled labels", "p", "circular kappa", "upper half from lower",
                   "from token frequency alone", "frequency regressed out", "numbers matched by frequency"], rows, "Kappa on held-out numbers, ten folds: 0 is chance, 1 is every number right. Matched: every class occurs "
                  "equally often within each factor of two; in brackets 95 % of shuffled labels there, kappa from the size of these numbers alone, and kappa on as many numbers that are not matched.")  # fmt: skip
    scatters = [[int(t), at["phi"], at["between_trace"], at["within_condition"], at["fisher_low"], at["fisher"], at["fisher_high"], int(at["dimensions"])]
                for t in g.period for at in [g.at(int(t))]]  # fmt: skip
    body += table(["T", "power Phi_T", "Tr S_B", "cond S_W", "lower bound", "largest Fisher ratio", "upper bound", "dimensions"], scatters,
                  "Scatter between and inside residue classes (Fu et al. 2026); Tr S_B = Phi_T / N where T divides N.")  # fmt: skip
    return Section("geometry", "Power is not separability", "The share of power at the harmonics of T, and whether n mod T can be read from the row of a number that the "
                   "probe has not seen.", body, ("A residue that can be read need not be used by the model.", "Periods 3, 7 and 9 are controls that decimal writing has no use for; "
                   "2, 5 and 10 share their harmonics: half of what period 10 has, 2 and 5 have.",
                   f"{g.numbers} numbers, {g.controls} relabellings per probe, seed {g.seed}."))  # fmt: skip


def lens_section(found: Explanation) -> Section | None:
    """What each layer would answer."""
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


def modules_section(found: Explanation) -> Section | None:
    """Waves that attention and MLPs write."""
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


def residues_section(found: Explanation) -> Section | None:
    """Which module answers modulo what, and the phases of the final waves."""
    r, phases = found.residues, found.phases
    if r is None or phases is None:
        return None
    with style.figure(9.6, 0.9 + min(4.2, 1.2 + 0.16 * len(r.mlp)), 1, 2) as (fig, axes):
        draw.residue_map(r.moduli, r.attention, axes[0], "attention")
        draw.residue_map(r.moduli, r.mlp, axes[1], "MLP")
        body = drawing(style.svg(fig, "Share of module logits that n mod m explains, by layer and modulus"), f"Mean over {r.prompts:,} questions: share of the variance of the "
                       "number logits, without their smooth trend, that the residue of the number explains; adjusted, so that 0 is chance.")  # fmt: skip
    rows = []
    for layer in range(len(r.mlp)):
        for kind, shuffled, smooth in (
            ("attention", r.attention_shuffled, r.attention_smooth),
            ("mlp", r.mlp_shuffled, r.mlp_smooth),
        ):
            rows.append([f"{layer + 1} {'MLP' if kind == 'mlp' else kind}", *(float(r.share(kind, m)[layer]) for m in (2, 5, 10)),
                         float(r.control(kind)[layer]), float(shuffled[layer].max()), float(smooth[layer])])  # fmt: skip
    body += table(["layer", "n mod 2", "n mod 5", "n mod 10", "best of 3, 7, 9, 11", "random order, any", "smooth"], rows, "Smooth: share of the variance that a cubic "
                  "polynomial in the number explains, before residues are looked at.")  # fmt: skip
    picked = [phases.at(t) for t in (float(phases.period[0]), 50, 20, 10, 5, 2.5, 2) if t <= phases.period[0]]
    table_rows = [[f"{phases.period[i]:.3g}", float(phases.magnitude[i]), float(phases.error[i]), float(phases.chance[i]), float(phases.hit[i]),
                   float(phases.hit_chance[i])] for i in dict.fromkeys(picked)]  # fmt: skip
    body += table(["period", "mean size in the logits", "median distance of the nearest peak", "random phases", "peaks at the answer", "random phases "], table_rows,
                  "Waves of the final logits: how far, in numbers, each one's nearest peak is from the answer, and how often within half a number.")  # fmt: skip
    return Section("residues", "Modules and moduli", "Which modules write functions of n mod m, and how well each wave of the final logits points at the answer.", body,
                   ("A modulus explains whatever its divisors do: 10 includes 2 and 5.", "What is written need not matter: see the removals."))  # fmt: skip


def waves_section(found: Explanation) -> Section | None:
    """The answer of one prompt as a sum of waves."""
    if found.modules is None:
        return None
    m = found.modules
    basis = additive(m.numbers)
    norms = fourier_norms(m.example_final[:, None], basis)
    best = np.argsort(-norms.power, kind="stable")[:5]
    curves = [keep(m.example_final[:, None], basis, basis.frequency[[i]])[:, 0] for i in best]
    with style.figure(9.2, 2.8) as (fig, ax):
        draw.waves(curves, [float(m.period[i]) for i in best], m.example_answer, ax)
        top = np.flatnonzero(peaks(np.sum(curves, axis=0)[:, None])[:, 0])
        where = f"{len(top)} numbers alike" if len(top) > 3 else " and ".join(map(str, top))
        body = drawing(style.svg(fig, "The five largest waves of the final logits of one prompt and their sum"),
                       f"{m.example_prompt.strip()!r}: the sum of the five largest waves peaks at {where}; the answer is {m.example_answer}.")  # fmt: skip
    body += table(
        ["largest waves kept", *map(str, TOP_WAVES)],
        [["share of questions whose sum peaks at the answer", *map(float, m.top_waves)]],
    )
    return Section("waves", "The answer as a sum of waves", "The final logits over the numbers, cut to their largest waves.", body,
                   ("Any curve with one peak has such a sum: this shows economy, not mechanism.",))  # fmt: skip


def ablations_section(found: Explanation) -> Section | None:
    """What is lost without a band, beside random subspaces."""
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
    body += table(["period removed", "rank", "accuracy", "random, in sight", "multiples of 10 among errors"],
                  [[row["period"], row["rank"], f"{row['accuracy']:.2%}", f"{min(nearest_controls(row)['accuracy']):.2%} to {max(nearest_controls(row)['accuracy']):.2%}",
                    share(row["errors"]["multiples_of_10"])] for row in a.periods],
                  "All harmonics of a whole period removed from attention and MLPs; 3, 7, 9 and 11 are controls that decimal writing has no use for.")  # fmt: skip
    if _is_published(found):
        body += table(["module", "band removed", "published loss", "published accuracy"], [[which[m], b, *PUBLISHED[m, b]] for m, b in PUBLISHED],
                      "Zhou et al. 2024, Table 1: GPT-2-XL, 3,419 validation questions, one run.")  # fmt: skip
    where = {"answer": "at the answer position only", "all": "at every position"}[a.settings["positions"]]
    fold = "gain of the final norm folded in" if a.settings["is_folded"] else "final norm left out"
    return Section("ablations", "What the answers depend on", "Attention or MLP outputs lose the directions that write a band of waves into the number logits.", body,
                   (f"Removed {where}, {fold}, {a.settings['convention']} basis, high band: periods up to {a.settings['high_period']:g}.",
                    "The nearest point without the band is taken in activation space; what that does outside the number logits is not controlled, except by the "
                    "random removals.", "An intact last digit alone makes every error a multiple of ten."))  # fmt: skip


def residual_section(found: Explanation) -> Section | None:
    """The stream at the last token of a number, for tokenizers of digits."""
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


def helix_section(found: Explanation) -> Section | None:
    """The operand as a helix, what putting it in does, and who builds the answer."""
    h, b = found.helix, found.builders
    if h is None or b is None:
        return None
    with style.figure(9.2, 2.9) as (fig, ax):
        effects(h.effect, ax)
        body = drawing(style.svg(fig, "Share of the logit difference regained by putting descriptions of the operand in, by layer"),
                       f"{h.pairs} pairs of questions of the form {h.template!r} that differ in the first operand, {'all' if h.is_right_only else 'not all'} answered right: 1 as if the other "
                       "operand had been asked, 0 as without.")  # fmt: skip
    layers = [i for i in range(len(h.effect["full"])) if np.isfinite(h.effect["full"][i])]
    rows = [[i + 1, *(float(h.explained[k][i]) for k in ("helix", "polynomial", "shuffled helix")), float(h.ahead["helix"][i]), *(float(values[i]) for values in h.effect.values())]
            for i in layers]  # fmt: skip
    body += table(["layer", "helix explains", "polynomial", "shuffled", "helix, held out", *(f"put in: {kind}" for kind in h.effect)], rows,
                  f"{h.columns} columns each ({', '.join(f'{t:g}' for t in h.periods)} and a line); white rows: {h.chance:.3f}.")  # fmt: skip
    with style.figure(9.2, 2.6, 1, 2) as (fig, axes):
        builders(b.sum, axes[0], "What the answer adds to the operands", "share of variance")
        builders(b.total, axes[1], "Effect of one module's clean output", "regained")
        body += drawing(
            style.svg(fig, "Share of each module's output that depends on the sum, and its effect on the answer")
        )
    text = lambda value: "" if np.isnan(value) else f"{value:.3f}"  # noqa: E731
    table_rows = [[f"{i + 1} {name}", text(b.operands[kind][i]), text(b.sum[kind][i]), float(b.helix_sum[kind][i]), float(b.direct[kind][i]), float(b.total[kind][i])]
                  for i in range(len(b.sum["mlp"])) for kind, name in (("attention", "attention"), ("mlp", "MLP"))]  # fmt: skip
    body += table(
        ["module", "operands explain", "answer adds", "its helix adds", "direct effect", "total effect"],
        table_rows,
        f"{b.prompts} questions; effects over {b.pairs} pairs that differ in both operands.",
    )
    best_paths = b.strongest_paths()
    if best_paths:
        body += table(["from", "to", "regained along this path"], [[one, two, effect] for one, two, effect in best_paths],
                      "Path patching at the answer position: the first module is clean, the second reads that difference and no other module does, and what it then writes goes "
                      f"to the answer. The {len(best_paths)} strongest of {int(np.isfinite(b.paths).sum())} paths.")  # fmt: skip
    known = np.argwhere(np.isfinite(b.total["heads"]))
    best = sorted(known.tolist(), key=lambda at: -abs(b.total["heads"][at[0], at[1]]))[:12]
    body += table(["head", "operands explain", "answer adds", "direct effect", "total effect"],
                  [[f"{i + 1}.{j}", text(b.operands["heads"][i, j]), text(b.sum["heads"][i, j]), text(b.direct["heads"][i, j]), float(b.total["heads"][i, j])] for i, j in best],
                  f"The {len(best)} heads with the largest total effect of {len(known)} that were run; layer.head.")  # fmt: skip
    notes = ["A description that is enough for the answer need not be what the model computes with.", "Effects of single modules need not add up to 1.",
             f"Of no use on whole numbers and left out: {', '.join(h.unidentifiable) or 'none'}."]  # fmt: skip
    if h.left_out:
        notes.append(
            f"Longer than the range of {h.numbers} numbers and left out: period {', '.join(f'{t:g}' for t in h.left_out)}."
        )
    return Section("helix", "Operands as a helix, and who adds", b.sentence(), body, tuple(notes))


def digits_section(found: Explanation) -> Section | None:
    """Digits as circles, in several bases, and what turning one does."""
    d, turn = found.digits, found.turn
    if d is None:
        return None
    body = table(
        ["base", "place", *d.tables, "numbers shuffled, largest"],
        as_rows(d),
        "Kappa of a circular probe on held-out numbers; place 0 is the last digit.",
    )
    if turn is not None:
        names = ("circle", "digit", "random", "swapped", "circle_kept", "digit_kept", "random_kept")
        rows = [[i + 1, *(f"{getattr(turn, name)[i]:.0%}" for name in names)] for i in range(len(turn.circle))]
        body += table(["before layer", "circle turned", "digit's mean moved", "random step", "whole vector", "answer stays: circle", "mean", "random"], rows,
                      f"Share of {turn.questions} questions whose answer's last digit moves by five when the first operand's last digit is moved by five in the stream.")  # fmt: skip
    return Section("digits", "Digits as circles", "In which base, and at which place, the digits of a number can be read from held-out rows.", body,
                   ("Numbers are written in base ten, so its digits can be read from the writing alone; bases without a factor of ten are the control.",))  # fmt: skip
