"""The report of a study: why pre-training matters, arm by arm, and the ledger of claims."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import escape

from epicycle.analysis.embedding import PERIODS, named_periods, smallest_high_p
from epicycle.analysis.explain import Explanation
from epicycle.plots import language as draw
from epicycle.plots import style
from epicycle.report.explain_sections import spectrum_drawing
from epicycle.report.ledger import ledger_section, verdict_counts
from epicycle.report.page import Page, Section, Tile, drawing, number, table
from epicycle.report.references import LANGUAGE, REFERENCES
from epicycle.studies.ledger import Entry
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_presets import GENTLE, PROMPTED, preset
from epicycle.training.arm_names import ARMS

STARTS = ARMS | {
    GENTLE: "everything from a model whose text also stated training questions with their answers; five epochs at 1e-4 without decay"
}
"""Arm -> what it starts from."""


def _accuracies(study: Study, arm: str) -> list[float]:
    found = [study.explanations[arm, seed].ablations for seed in study.preset.seeds]
    return [a.row("none", "none")["accuracy"] for a in found if a is not None]


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1%}", f"{max(values):.1%}"
    return low if low == high else f"{low} to {high}"


def finding(study: Study, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The sentences at the top."""
    chosen = study.preset
    seeds = f"{len(chosen.seeds)} seeds" if len(chosen.seeds) > 1 else "one seed"
    sentences = []
    if {"scratch", "frozen-embedding"} <= set(chosen.arms):
        frozen, scratch = _accuracies(study, "frozen-embedding"), _accuracies(study, "scratch")
        sentences.append(
            f"Trained on sums of two numbers up to {chosen.largest_operand} for equally many steps, a small GPT-2 answers {_range(frozen)} of the test questions with "
            f"its number embedding frozen from a model that only read number text, and {_range(scratch)} from scratch ({seeds}).")  # fmt: skip
    at = [named_periods(found.spectrum) for found in study.embeddings.values() if found.spectrum is not None]
    beyond = sum(all(a["p_value"] <= 0.01 for a in found) for found in at)
    top = sum(all(a["place"] <= 10 for a in found) for found in at)
    sentences.append(f"Periods 2, 2.5, 5 and 10 of the pre-trained embedding are all beyond numbers permuted within decades (p <= 0.01) in {beyond} of {len(at)} seeds, and "
                     f"all among its ten largest without the trend in {top}. No sentence that these read states a sum.")  # fmt: skip
    if GENTLE in chosen.arms:
        sentences.append(f"A model whose text also states training sums answers {_range(_accuracies(study, GENTLE))} of the held-out ones after five gentle epochs.")  # fmt: skip
    prompted = [
        found.ablations.row("none", "none")["accuracy"]
        for (name, _), found in study.variants.items()
        if name == PROMPTED and found.ablations
    ]
    if prompted:
        sentences.append(
            f"Shown four solved sums and not tuned at all, a model whose text also states training sums answers {_range(prompted)}."
        )
    counts = verdict_counts(entries)
    if len(chosen.seeds) >= 3:
        sentences.append(f"Of {len(entries)} claims, {counts['confirmed']} are confirmed, {counts['refuted']} refuted and {counts['undetermined']} undetermined on these models; "
                         f"{counts['not run']} were not run.")  # fmt: skip
    return tuple(sentences)


def _but(study: Study) -> str:
    return f" but {GENTLE}" if GENTLE in study.preset.arms else ""


def _curves(study: Study) -> Section:
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (arm, _), run in study.finetuned.items():
        history = run.history()
        curves.setdefault(arm, []).append(
            (np.array([line["epoch"] for line in history]), np.array([line["validation_accuracy"] for line in history]))
        )
    with style.figure(9.2, 3.2) as (fig, ax):
        draw.arm_curves(curves, ax)
        body = drawing(
            style.svg(fig, "Validation accuracy over epochs, per arm and seed"),
            "Thin: one seed. Thick: mean of an arm.",
        )
    rows = []
    for arm in study.preset.arms:
        test = _accuracies(study, arm)
        final = [study.finetuned[arm, seed].record()["final"] for seed in study.preset.seeds]
        rows.append([arm, STARTS[arm], *(f"{a:.2%}" for a in test), number(float(np.mean([f["train_loss"] for f in final]))),
                     number(float(np.mean([f["validation_loss"] for f in final])))])  # fmt: skip
    body += table(["arm", "start", *(f"test, seed {seed}" for seed in study.preset.seeds), "training loss", "validation loss"], rows,
                  f"Same questions, same steps, same optimiser in every arm{_but(study)}; losses in nats, means over seeds.")  # fmt: skip
    return Section("arms", "Arms", "The same model trained on the same sums from different starts.", body,
                   ("Seeds share the split of questions.", "Embedding and unembedding are tied, so freezing one freezes both (frozen-input and frozen-output tell them apart).",
                    f"One recipe serves all arms{_but(study)}: an arm that fails may succeed with another, or with more steps."))  # fmt: skip


def _spectra(study: Study) -> Section:
    seed = study.preset.seeds[0]
    shown: list[tuple[str, Explanation]] = [("pre-trained", study.embeddings[seed])]
    shown += [
        (arm, study.explanations[arm, seed])
        for arm in study.preset.arms
        if arm in ("scratch", "pretrained", "planted-embedding", "random-embedding", GENTLE)
    ]
    body = ""
    for title, found in shown:
        spectrum = found.spectrum
        if spectrum is None:
            continue
        marked = [int(i) for i in np.argsort(-spectrum.share, kind="stable")[:6]]
        body += spectrum_drawing(spectrum, marked, f"Embedding spectrum: {title}", title=f"{title}, seed {seed}")
    named = [(f"pre-trained, seed {seed}", found) for seed, found in study.embeddings.items()]
    named += [
        (f"pre-trained with sums, seed {seed}", found)
        for (name, seed), found in study.variants.items()
        if name == PROMPTED
    ]
    named += [(f"{arm}, seed {seed}", found) for (arm, seed), found in study.explanations.items() if arm in ("scratch", "pretrained", "random-embedding", GENTLE)]  # fmt: skip
    rows = []
    for name, found in named:
        if found.spectrum is not None:
            p, period = smallest_high_p(found.spectrum)
            places = (f"{a['place']} (p {a['p_value']:.3f})" for a in named_periods(found.spectrum))
            rows.append([name, *places, f"{p:.3f} at period {period:.3g}"])
    body += table(["embedding", *(f"period {period:g}" for period in PERIODS), "high band, smallest family-wise p"], rows,
                  "Place by share of power without the trend, and p-value of that period under numbers permuted within decades, 999 draws.")  # fmt: skip
    steps = [line["step"] for line in study.pretrained[study.preset.seeds[0]].history()]
    watch = {
        f"{period:g}": [
            np.array([line["embedding"][f"{period:g}"] for line in run.history()]) for run in study.pretrained.values()
        ]
        for period in PERIODS
    }
    with style.figure(9.2, 2.4) as (fig, ax):
        draw.period_shares(np.array(steps), watch, ax)
        body += drawing(
            style.svg(fig, "Shares of the named periods during pre-training"),
            "Share of the embedding's power, without the trend, while it reads number text.",
        )
    return Section("embeddings", "Number embeddings", "What pre-training puts into the rows of the numbers, and what training on sums alone does.", body,
                   ("How often numbers occur also has these periods; each model's own page has the token-frequency null.",
                    "A spike does not show that residues can be told apart, nor that they are used."))  # fmt: skip


def _modules(study: Study) -> Section:
    body = ""
    for arm in study.preset.arms:
        m = study.explanations[arm, study.preset.seeds[0]].modules
        if m is None:
            continue
        top = float(max(m.attention.max(), m.mlp.max()))
        with style.figure(9.6, 1.9, 1, 2) as (fig, axes):
            draw.module_heat_map(m.attention, m.frequency, m.period, axes[0], f"{arm}: attention", top)
            draw.module_heat_map(m.mlp, m.frequency, m.period, axes[1], f"{arm}: MLP", top)
            body += drawing(style.svg(fig, f"Module spectra of {arm}"))
    return Section("modules", "What modules write, arm by arm", "Mean Fourier magnitude of the number logits of each module, first seed.", body,
                   ("Each arm has its own scale of colours.",))  # fmt: skip


def _ablations(study: Study) -> Section:
    header = ["arm", "seed", "as it is", *(f"{m}, {b}" for m in ("attention", "MLPs", "both") for b in ("low", "high"))]
    rows = []
    for arm in study.preset.arms:
        for seed in study.preset.seeds:
            a = study.explanations[arm, seed].ablations
            if a is None:
                continue
            cells = []
            for modules in ("attn", "mlp", "both"):
                for band in ("low", "high"):
                    row = a.row(modules, band)
                    cells.append(
                        "refused"
                        if "refused" in row
                        else f"{row['accuracy']:.1%} (random {row['control_accuracy']:.1%})"
                    )
            rows.append([arm, str(seed), f"{a.row('none', 'none')['accuracy']:.1%}", *cells])
    body = table(header, rows, "Test accuracy without a band; in brackets the mean with random subspaces of the same rank (inside what the number logits can see, where that is "
                 "less than the width).")  # fmt: skip
    example = study.explanations.get(("pretrained", study.preset.seeds[0])) or study.explanations.get(
        ("frozen-embedding", study.preset.seeds[0])
    )
    if example is not None and example.ablations is not None:
        low, high = (example.ablations.row("attn", band)["rank"] for band in ("low", "high"))
        body += f"<p class='caveat'>{escape(f'Rank removed: {low} for the low band, {high} for the high band, of width {example.ablations.width}.')}</p>"
    return Section("ablations", "Removing bands, arm by arm", "Attention or MLP outputs lose the low or the high band at the answer position.", body,
                   ("Read a removal against its own brackets: the bands differ in rank.",))  # fmt: skip


def _models(study: Study) -> Section:
    rows = [["pre-trained", str(seed), run.id, study.embeddings[seed].run.id] for seed, run in study.pretrained.items()]
    rows += [
        ["pre-trained with sums", str(seed), run.id, study.reader_embeddings[seed].run.id]
        for seed, run in study.readers.items()
    ]
    rows += [
        [arm, str(seed), run.id, study.explanations[arm, seed].run.id] for (arm, seed), run in study.finetuned.items()
    ]
    record = study.run.record()
    facts = record["provenance"]
    chosen = study.preset
    body = f"<pre>{escape(command(study))}</pre>" if chosen.name != "demo" else "<pre>epicycle demo</pre>"
    body += table(
        ["model", "seed", "run", "its explanation"],
        rows,
        "Every explanation has a page of its own; every run holds a Hugging Face directory, model/.",
    )
    body += table(["what", "value"], [["epicycle", str(facts["epicycle"])], ["revision", str(facts["revision"] or "installed")], ["python", facts["python"]],
                                      *[[name, str(version)] for name, version in facts["packages"].items()], ["platform", facts["platform"]]])  # fmt: skip
    body += "".join(f"<p class='caveat'>{escape(REFERENCES[key][0])}</p>" for key in LANGUAGE)
    return Section("provenance", "Models, and how to run this again", "Where everything lies.", body)


def command(study: Study) -> str:
    """The shell command that runs the study again."""
    chosen, seeds = study.preset, study.preset.seeds
    words = ["epicycle reproduce zhou2024 --preset", chosen.name]
    if seeds != preset(chosen.name).seeds:
        words += ["--seed", str(seeds[0]), "--seeds", str(len(seeds))]
    if chosen.arms != preset(chosen.name).arms:
        words += ["--arms", ",".join(chosen.arms)]
    return " ".join(words)


def numbers_of(study: Study, entries: Sequence[Entry]) -> dict[str, Any]:
    """Every number of the page: accuracies, named periods, module spectra, removals with their controls, claims, curves."""
    record = study.run.record()
    arms: dict[str, Any] = {}
    for (arm, seed), found in study.explanations.items():
        assert found.ablations is not None and found.spectrum is not None and found.modules is not None
        arms[f"{arm} {seed}"] = {
            "run": study.finetuned[arm, seed].id, "explanation": found.run.id,
            "test_accuracy": found.ablations.row("none", "none")["accuracy"], "removals": found.ablations.rows,
            "embedding": named_periods(found.spectrum),
            "high_band_smallest_family_p": smallest_high_p(found.spectrum)[0],
            "turn": None if found.turn is None else found.turn.parts()[1], "helix": None if found.helix is None else found.helix.effect,
            "builders": None if found.builders is None else {"sum": found.builders.sum, "direct": found.builders.direct},
            "modules": {"period": found.modules.period, "attention": found.modules.attention, "mlp": found.modules.mlp},
        }  # fmt: skip
    return {
        "preset": study.preset.name, "config": record["config"]["resolved"], "provenance": record["provenance"],
        "claims": [entry.as_json() for entry in entries], "arms": arms,
        "pretrained": {str(seed): {"run": study.pretrained[seed].id, "embedding": named_periods(found.spectrum)}
                       for seed, found in study.embeddings.items() if found.spectrum is not None},
        "curves": {f"{arm} {seed}": run.history() for (arm, seed), run in study.finetuned.items()},
        "pretraining": {str(seed): run.history() for seed, run in study.pretrained.items()},
        "pretrained_with_sums": {str(seed): {"run": study.readers[seed].id, "embedding": named_periods(found.spectrum), "history": study.readers[seed].history()}
                                 for seed, found in study.reader_embeddings.items() if found.spectrum is not None},
        "variants": {arm: {f"{name} {seed}": found.run.id for (name, seed), found in variants.items()}
                     for arm, variants in (("pretrained", study.variants), (GENTLE, study.gentle_variants))},
    }  # fmt: skip


def study_page(study: Study, entries: Sequence[Entry]) -> Page:
    """The report of a study."""
    chosen = study.preset
    sections = [_curves(study), _spectra(study), _modules(study), _ablations(study)]
    if len(chosen.seeds) >= 3:
        sections.append(
            ledger_section(entries, "A verdict speaks of these small models on number text, not of the paper's.")
        )
    sections.append(_models(study))
    spectrum = study.embeddings[min(chosen.seeds)].spectrum
    assert spectrum is not None
    tiles = [Tile(arm, _range(_accuracies(study, arm)), "test accuracy") for arm in chosen.arms]
    tiles.append(
        Tile(
            "places of 2, 2.5, 5, 10",
            ", ".join(str(a["place"]) for a in named_periods(spectrum)),
            f"of {len(spectrum.period)} periods, pre-trained, seed {min(chosen.seeds)}",
        )
    )
    tokens_read = chosen.pretraining.steps * chosen.pretraining.batch * chosen.shape.context
    doubts = (
        f"The models are small ({chosen.shape.num_layers} layer{'s' * (chosen.shape.num_layers > 1)}, width {chosen.shape.width}) and read {tokens_read:,} tokens of made-up number text, not "
        "prose: agreement with the paper shows that the effect can arise so, not that it arose so there.",
        "Number text counts in fives and tens and names odd and even: its periods are put there by its sentences. Leave kinds out with epicycle pretrain --without.",
        "From scratch is one recipe and so many steps; that an arm fails here does not show that it must.",
        *(
            ["It is one seed: repeat with epicycle reproduce zhou2024 --preset quick before quoting."]
            if len(chosen.seeds) == 1
            else []
        ),
    )
    return Page(
        f"zhou2024: {chosen.name}",
        "Why pre-training matters for addition",
        finding(study, entries),
        tuple(tiles),
        doubts,
        tuple(sections),
        numbers_of(study, entries),
    )


def write_study(study: Study, entries: Sequence[Entry]) -> Path:
    """Write report.html and report.json into the study's directory; returns the path of the former."""
    return study_page(study, entries).save(study.run.path / "report.html")
