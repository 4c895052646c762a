"""The 44 figures of Zhou et al. 2024 (arXiv v1, 43 files) by name: what draws each, from which model, and the paper's takeaway.

To add a figure: a function (Explanation or Study, figure) -> None, and one line in FIGURES. A figure whose model is not there is listed
as such and never drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import escape

from epicycle._files import atomic
from epicycle.analysis.explain import Explanation
from epicycle.analysis.modules import ModuleSpectra
from epicycle.fourier.bands import HIGH_PERIOD, keep
from epicycle.fourier.bases import additive
from epicycle.fourier.spectra import fourier_norms
from epicycle.plots import language as draw
from epicycle.plots import style
from epicycle.plots.spectra import spectrum
from epicycle.report.page import Page, Section, Tile, drawing
from epicycle.studies.ledger import Entry
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_presets import GENTLE, PROMPTED

LAYERS = 15
"""Last layers shown, as in the paper."""
WINDOW = 10

ROLES = {
    "tuned": "a pre-trained model tuned on sums",
    "base": "the same model before tuning",
    "scratch": "the same shape trained on sums from scratch",
    "prompted": "an untuned model that adds from examples",
    "second prompted": "a second untuned model that adds from examples",
    "second format": "a model tuned on the second format",
    "products": "a model tuned on products",
    "arms": "arms with and without a frozen pre-trained embedding",
    "RoBERTa": "RoBERTa, whose embedding `epicycle spectrum` reads",
    "Phi-2": "Phi-2, whose embedding `epicycle spectrum` reads",
}
"""Which model a figure needs."""


class Figure(NamedTuple):
    """One published figure: its file, number in arXiv v1, the model it needs, claims it belongs to, the paper's takeaway in our words."""

    place: int
    file: str
    published: str
    role: str
    claims: tuple[str, ...]
    takeaway: str
    draw: Callable[[Any, Any], None]


def _modules(found: Explanation) -> ModuleSpectra:
    assert found.modules is not None
    return found.modules


def _lens(found: Explanation, fig: Any) -> None:
    lens = found.lens
    assert lens is not None
    draw.lens(lens.exact, lens.within_2, lens.within_10, lens.guess_within_10, fig.subplots())


def _logits(kind: str) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        m = _modules(found)
        low = max(0, m.example_answer - WINDOW)
        table = getattr(m, f"example_{kind}")[-LAYERS:, low : low + 2 * WINDOW + 1]
        draw.logit_heat_map(
            table,
            low,
            m.example_answer,
            fig.subplots(),
            f"{kind}, {m.example_prompt.strip()}",
            max(0, len(m.mlp) - LAYERS),
        )

    return figure


def _strongest(found: Explanation, kind: str, period: float) -> int:
    """The layer whose logits carry the largest share of a period; 33 and 40 of GPT-2-XL in the paper."""
    m = _modules(found)
    power = getattr(m, kind) ** 2
    i = int(np.argmin(np.abs(1 / m.period - 1 / period)))
    return int((power[:, i] / power.sum(1)).argmax())


def _one_module(kind: str, period: float) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        m, layer = _modules(found), _strongest(found, kind, period)
        norms = fourier_norms(getattr(m, f"example_{kind}")[layer][:, None], additive(m.numbers))
        size = np.sqrt(norms.power)
        high = np.flatnonzero(m.period <= HIGH_PERIOD + 1e-9)
        marked = [int(i) for i in high[np.argsort(-size[high])[:10]]]
        draw.magnitudes(
            m.frequency, m.period, size, marked, fig.subplots(), f"{kind} of layer {layer + 1}, one question"
        )

    return figure


def _curve(kind: str, period: float) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        m, layer = _modules(found), _strongest(found, kind, period)
        draw.logit_curve(
            getattr(m, f"example_{kind}")[layer],
            m.example_answer,
            fig.subplots(),
            f"{kind} of layer {layer + 1}, one question",
        )

    return figure


def _heat(kind: str, *, low_only: bool = False) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        m = _modules(found)
        kept = m.period > HIGH_PERIOD + 1e-9 if low_only else np.ones(len(m.period), bool)
        top = float(max(m.attention[-LAYERS:, kept].max(), m.mlp[-LAYERS:, kept].max()))
        draw.module_heat_map(
            getattr(m, kind)[-LAYERS:, kept],
            m.frequency[kept],
            m.period[kept],
            fig.subplots(),
            kind,
            top,
            max(0, len(m.mlp) - LAYERS),
        )

    return figure


def _waves_of(
    found: Explanation, chosen: np.ndarray, fig: Any, *, sum_only: bool = False, around: bool = False
) -> None:
    m = _modules(found)
    basis = additive(m.numbers)
    curves = [keep(m.example_final[:, None], basis, basis.frequency[[i]])[:, 0] for i in chosen]
    first, stop = (max(0, m.example_answer - WINDOW), m.example_answer + WINDOW + 1) if around else (0, m.numbers)
    if sum_only:
        draw.logit_curve(np.sum(curves, axis=0), m.example_answer, fig.subplots(), f"sum of {len(curves)} waves")
    else:
        draw.waves(
            [curve[first:stop] for curve in curves],
            [float(m.period[i]) for i in chosen],
            m.example_answer,
            fig.subplots(),
            first,
        )


def _largest(found: Explanation, count: int) -> np.ndarray:
    m = _modules(found)
    return np.argsort(-fourier_norms(m.example_final[:, None], additive(m.numbers)).power, kind="stable")[:count]


def _band_of_largest(is_high: bool) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        best = _largest(found, 10)
        high = _modules(found).period[best] <= HIGH_PERIOD + 1e-9
        chosen = best[high == is_high]
        if len(chosen):
            _waves_of(found, chosen, fig, around=True)
        else:
            draw.nothing(fig.subplots(), f"none of the ten largest waves is {'short' if is_high else 'long'}")

    return figure


def _embedding(found: Explanation, fig: Any) -> None:
    s = found.spectrum
    assert s is not None
    spectrum(
        s.frequency,
        s.cosine,
        s.sine,
        [int(k) for k in s.frequency[np.argsort(-s.share)[:6]]],
        fig.subplots(),
        found.facts["name"],
    )


def _map(found: Explanation, fig: Any) -> None:
    assert found.map is not None
    draw.number_map(
        found.map.tsne, found.map.cluster, fig.subplots(), "t-SNE, coloured by ten k-means clusters", "cluster"
    )


def _arms(study: Study, fig: Any) -> None:
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (arm, _), run in study.finetuned.items():
        if arm in ("scratch", "frozen-embedding"):
            history = run.history()
            curves.setdefault(arm, []).append(
                (np.array([h["epoch"] for h in history]), np.array([h["validation_accuracy"] for h in history]))
            )
    draw.arm_curves(curves, fig.subplots())


def _kept(which: int, key: str) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        assert found.ablations is not None
        row = sorted(found.ablations.keeps, key=lambda each: each["period"])[which]
        ax = fig.subplots()
        if "refused" in row:
            draw.nothing(ax, row["refused"])
        else:
            draw.beside_controls(
                row[key], [control[key] for control in row["control"]], ax, f"only period {row['period']:g} kept", key
            )

    return figure


def _errors(*keys: str, longest: bool = False) -> Callable[[Explanation, Any], None]:
    def figure(found: Explanation, fig: Any) -> None:
        a = found.ablations
        assert a is not None
        chosen = (
            [max((k for k in a.differences if k.startswith("keep ")), key=lambda k: float(k[5:]), default="")]
            if longest
            else list(keys)
        )
        shown = {name: a.differences[name] for name in chosen if name in a.differences}
        ax = fig.subplots()
        if shown:
            draw.error_histogram(shown, ax)
        else:
            refused = [row["refused"] for row in [*a.rows, *a.keeps] if "refused" in row]
            draw.nothing(ax, refused[0] if refused else "not measured")

    return figure


_PEAK = "Broad and near the answer, not on it."
FIGURES: tuple[Figure, ...] = tuple(
    Figure(i + 1, *values)
    for i, values in enumerate([
        ("layer_accuracy_Language_Math", "1a", "tuned", ("P2",), "Answers are near before they are exact; later layers refine.", _lens),
        ("prediction_vs_mlp_layer_Put_together_15_and_93", "1b", "tuned", ("P3",), "Most MLPs favour the neighbourhood of the answer, one parity, one the last digit.", _logits("mlp")),
        ("prediction_vs_attn_layer_Put_together_15_and_93", "1c", "tuned", ("P3",), "Nearly all attention layers are modular.", _logits("attention")),
        ("mlp_33", "2a", "tuned", ("P4",), "Period 2 is the largest of one MLP.", _one_module("mlp", 2.0)),
        ("attn_40", "2b", "tuned", ("P4",), "Periods 5 and 10 are the largest of one attention layer.", _one_module("attention", 10.0)),
        ("layer_logit_fourier_mlp", "3a", "tuned", ("P4", "P5"), "MLPs: outliers at 2, 2.5, 5, 10 and strong low frequencies.", _heat("mlp")),
        ("layer_logit_fourier_attn", "3b", "tuned", ("P4", "P5"), "Attention: the same high outliers, no strong low frequencies.", _heat("attention")),
        ("final_logits_for15+93_topk", "4a", "tuned", ("P6",), "Five waves, periods 2 and 520 among them.", lambda found, fig: _waves_of(found, _largest(found, 5), fig)),
        ("final_logits_for15+93_topk_sum", "4b", "tuned", ("P6",), "Their sum peaks at the answer.", lambda found, fig: _waves_of(found, _largest(found, 5), fig, sum_only=True)),
        ("embedding_finetuned_gpt2xl", "5a", "tuned", ("P11",), "Outliers at 2, 2.5, 5 and 10.", _embedding),
        ("x1", "5b", "base", ("P12",), "Numbers cluster by magnitude and by being multiples of ten.", _map),
        ("layer_logit_fourier_mlp_fromscratch", "6a", "scratch", ("P13",), "From scratch: no outliers.", _heat("mlp")),
        ("layer_logit_fourier_attn_fromscratch", "6b", "scratch", ("P13",), "None in attention either.", _heat("attention")),
        ("embedding_fromscratch_gpt2xl", "7a", "scratch", ("P13",), "No outliers at high frequencies.", _embedding),
        ("with_pretrained_embedding_acc", "7b", "arms", ("P14",), "A frozen pre-trained embedding gives 100 %, without it below 60 %.", _arms),
        ("phi2_mlp_FFT_heatmap", "8a", "prompted", ("P15",), "A prompted model has the same outliers.", _heat("mlp")),
        ("phi2_attn_FFT_heatmap", "8b", "prompted", ("P15",), "So has its attention.", _heat("attention")),
        ("layer_logit_fourier_mlp_low", "9a", "tuned", ("P5",), "MLPs have outliers at low frequencies.", _heat("mlp", low_only=True)),
        ("layer_logit_fourier_attn_low", "9b", "tuned", ("P5",), "Attention much weaker ones.", _heat("attention", low_only=True)),
        ("mod2_ablation", "10a", "tuned", ("P10",), "Period 2 alone: parity right in 99.59 %.", _kept(0, "parity")),
        ("mod520_ablation", "10b", "tuned", ("P10",), "Period 520 alone: wrong in 96.6 %.", _kept(-1, "exact")),
        ("mod520_ablation_distribution", "11", "tuned", ("P10",), "Errors then form a bell around zero.", _errors(longest=True)),
        ("component_less_100", "12a", "tuned", ("P7",), _PEAK, _band_of_largest(False)),
        ("component_greater_100", "12b", "tuned", ("P7",), "Short waves agree at the answer and cancel beside it.", _band_of_largest(True)),
        ("final_logits_for15+93_topk_T520", "13", "tuned", ("P7",), "The longest wave peaks near the answer only.", lambda found, fig: _waves_of(found, np.array([0]), fig)),
        ("embedding_pretrained_gpt2xl", "14a", "base", ("P11",), "The same outliers before tuning.", _embedding),
        ("embedding_finetuned_gpt2xl", "14b", "tuned", ("P11",), "And after it.", _embedding),
        ("embedding_pretrained_roberta", "14c", "RoBERTa", ("P11",), "The same outliers in RoBERTa.", _embedding),
        ("embedding_pretrained_phi2", "14d", "Phi-2", ("P11",), "The same outliers in Phi-2.", _embedding),
        ("layer_logit_fourier_mlp_multiplication", "15a", "products", ("P17",), "Products: 2, 2.5, 3.3, 5, 10.", _heat("mlp")),
        ("layer_logit_fourier_attn_multiplication", "15b", "products", ("P17",), "The same in attention.", _heat("attention")),
        ("prediction_vs_mlp_layer_15,93+", "16a", "second format", ("P16",), "The second format: periodic structure.", _logits("mlp")),
        ("prediction_vs_attn_layer_15,93+", "16b", "second format", ("P16",), "The same in attention.", _logits("attention")),
        ("mlp", "17a", "second format", ("P16",), "2, 2.5, 5, 10, and low outliers in MLPs.", _heat("mlp")),
        ("attn", "17b", "second format", ("P16",), "No low outliers in attention.", _heat("attention")),
        ("gptj_mlp_FFT_heatmap", "18a", "second prompted", ("P15",), "GPT-J, four solved sums: 2, 2.5, 5, 10.", _heat("mlp")),
        ("gptj_attn_FFT_heatmap", "18b", "second prompted", ("P15",), "The same in attention.", _heat("attention")),
        ("layer_33_prediction_vs_mlp_wave33", "19a", "tuned", ("P3",), "One MLP favours even numbers.", _curve("mlp", 2.0)),
        ("layer_40_prediction_vs_attn_wave40", "19b", "tuned", ("P3",), "One attention layer favours the last digit.", _curve("attention", 10.0)),
        ("differences_histogram_low_mlp", "20a", "tuned", ("P9a",), "Errors without the MLPs' low band: multiples of ten.", _errors("mlp low")),
        ("differences_histogram_high_attn", "20b", "tuned", ("P9b",), "Errors without attention's high band: below six.", _errors("attn high")),
        ("prediction_vs_mlp_layer_fromscratch", "21a", "scratch", ("P13",), "From scratch: no periodicity, one MLP decides.", _logits("mlp")),
        ("prediction_vs_attn_layer_fromscratch", "21b", "scratch", ("P13",), "Nothing in attention.", _logits("attention")),
        ("error_dis_from_scratch_gpt2xl", "22", "scratch", ("P13b",), "All errors within two, mostly one.", _errors("none none")),
    ])
)  # fmt: skip
"""The published figures in the order of the paper; file names as there, but for two that are cut short."""


def shows_gentle(study: Study) -> bool:
    """Whether the tuned model of the figures is the one that read sums and was tuned gently, which is nearest to the paper's."""
    return any(arm == GENTLE for arm, _ in study.explanations)


def models_of(study: Study) -> Mapping[str, Any]:
    """Role -> what a study has for it: the first seed, for the second prompted model the second."""
    seeds = study.seeds
    first, second = seeds[0], seeds[min(1, len(seeds) - 1)]
    gentle = shows_gentle(study)
    variants = study.gentle_variants if gentle else study.variants
    found = {
        "tuned": study.explanations.get((GENTLE if gentle else "pretrained", first)), "scratch": study.explanations.get(("scratch", first)),
        "base": (study.reader_embeddings if gentle else study.embeddings).get(first),
        "prompted": study.variants.get((PROMPTED, first)), "second prompted": study.variants.get((PROMPTED, second)) if second != first else None,
        "second format": variants.get(("second format", first)), "products": variants.get(("products", first)),
        "arms": study if {("scratch", first), ("frozen-embedding", first)} <= set(study.finetuned) else None,
    }  # fmt: skip
    return {role: found.get(role) for role in ROLES}


class Drawn(NamedTuple):
    """A figure on disk and as markup; `svg` is None where its model is not there."""

    figure: Figure
    svg: str | None
    paths: tuple[Path, ...]


def draw_figures(
    study: Study, directory: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Drawn]:
    """Draw every figure whose model a study has, as SVG and PNG named after the published file.

    Args:
        study: The study, or that of one model.
        directory: Where the files go.
        progress: Called with figures done and in all.
    """
    directory.mkdir(parents=True, exist_ok=True)
    models = models_of(study)
    drawn = []
    for figure in FIGURES:
        model = models[figure.role]
        if model is None:
            drawn.append(Drawn(figure, None, ()))
            continue
        with style.blank(6.0, 3.0) as fig:
            figure.draw(model, fig)
            markup = style.svg(fig, f"{figure.file}: {figure.takeaway}")
            paths = tuple(directory / f"{figure.place:02d}_{figure.file}.{kind}" for kind in ("svg", "png"))
            with atomic(paths[0]) as scratch:
                scratch.write_text(markup + "\n", encoding="utf-8")
            with atomic(paths[1]) as scratch:
                fig.savefig(scratch, format="png", dpi=150)
        drawn.append(Drawn(figure, markup, paths))
        progress(figure.place, len(FIGURES))
    return drawn


def gallery_page(
    study: Study,
    entries: Sequence[Entry],
    directory: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Page:
    """Draw every figure that can be drawn and show it beside the paper's takeaway and our verdict."""
    drawn = draw_figures(study, directory, progress)
    suffix = "-gentle" if shows_gentle(study) else ""
    graded = {entry.claim.id: entry for entry in entries}
    verdicts = {name: graded.get(name + suffix, entry) for name, entry in graded.items() if "-" not in name}
    shown = [each for each in drawn if each.svg is not None]
    sections = []
    for role in dict.fromkeys(figure.role for figure in FIGURES):
        here = [each for each in drawn if each.figure.role == role]
        body = ""
        for each in here:
            claims = [
                entry
                for name, entry in verdicts.items()
                if any(name.rstrip("abcd") == c.rstrip("abcd") and name.startswith(c) for c in each.figure.claims)
            ]
            said = "; ".join(f"{e.claim.id} {e.verdict} ({e.reason})" for e in claims) or "no claim graded"
            head = f"{each.figure.file} (v1 Fig. {each.figure.published})"
            if each.svg is None:
                body += f"<p class='caveat'><b>{escape(head)}</b>: not drawn, needs {escape(ROLES[role])}.</p>"
            else:
                body += drawing(each.svg, f"{head}. Paper: {each.figure.takeaway} Ours: {said}.")
        sections.append(Section(role.replace(" ", "-"), ROLES[role][0].upper() + ROLES[role][1:], "", body, ()))
    missing = sorted({each.figure.role for each in drawn if each.svg is None})
    finding = (f"{len(shown)} of the {len(FIGURES)} figures of Zhou et al. 2024 are drawn from the models at hand; the others need {'; '.join(ROLES[r] for r in missing) or 'nothing'}.",
               "The paper's takeaway stands beside each, with the verdict of the claims it belongs to; a picture that looks like the paper's is no verdict.")  # fmt: skip
    tiles = (Tile("figures", f"{len(shown)} of {len(FIGURES)}", "SVG and PNG in the folder beside this page"),)
    doubts = ("Figures of one question show one question: the claims are graded over all of them.",
              "Layers 33 and 40 of GPT-2-XL are, here, the layers whose question has the largest share of period 2 (MLP) or 10 (attention).",
              "t-SNE places depend on perplexity and seed, which the paper does not give.")  # fmt: skip
    numbers = {"figures": [{"place": each.figure.place, "file": each.figure.file, "published": each.figure.published, "needs": each.figure.role, "takeaway": each.figure.takeaway,
                            "claims": list(each.figure.claims), "files": [path.name for path in each.paths]} for each in drawn]}  # fmt: skip
    return Page(
        "zhou2024: figures", "The figures of Zhou et al. 2024", finding, tiles, doubts, tuple(sections), numbers
    )
