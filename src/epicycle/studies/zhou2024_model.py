"""The claims of Zhou et al. 2024 on models that a user has: one tuned on sums, and others beside it where there are some.

Nothing is trained, so there are no seeds. The questions are dealt into parts, and a claim is graded on every part: a verdict speaks of
this model, not of others trained like it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epicycle.analysis.explain import ExplainConfig, Explanation, explain, open_explanation
from epicycle.analysis.stage import Stage, silent
from epicycle.errors import ConfigError
from epicycle.models.language import LanguageModel, load_language_model, start_digest
from epicycle.runs.directory import Run, create_run, open_run
from epicycle.runs.provenance import provenance
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_presets import HALF, PROMPTED, VARIANTS
from epicycle.tasks.prompts import PromptConfig

PARTS = 3
MODEL_VARIANTS = tuple(name for name in VARIANTS if name != HALF)
"""Of a given model the whole range is asked: where a removal takes too much of it, the claim is refused."""


def reproduce_model(
    models: Mapping[str, str],
    prompts_for: Callable[[str, LanguageModel], PromptConfig],
    root: Path | str = "runs",
    *,
    limit: int | None = None,
    variants: bool = False,
    helix: bool = False,
    device: str = "cpu",
    threads: int = 1,
    dtype: Any = "float32",
    progress: Stage = silent,
    given: dict[str, Any] | None = None,
) -> Study:
    """Explain models that are there, in parts, and gather them as a study.

    Args:
        models: Role -> run, directory or hub name; `tuned`, and any of base, scratch, prompted, second format, products.
        prompts_for: (role, model) -> what it is asked.
        root: Directory of all runs.
        limit: Questions per model, over all parts; all if None.
        variants: Explain the tuned model in every way of MODEL_VARIANTS too.
        helix: Fit helices and look for who builds the answer.
        device: cpu or cuda.
        threads: CPU threads.
        dtype: Precision of the models.
        progress: Called with what is being done, and how much of it is.
        given: What the user typed.

    Raises:
        DataError: A model cannot be used.
        ConfigError: A role asks for what cannot be.
    """
    values = {"kind": "study", "paper": "zhou2024", "models": {role: start_digest(name) for role, name in models.items()}, "limit": limit, "parts": PARTS,
              "variants": variants, "helix": helix, "dtype": dtype}  # fmt: skip
    if limit is not None and limit < 10 * PARTS:
        raise ConfigError(
            f"got a limit of {limit} questions in {PARTS} parts; expected at least {10 * PARTS}. Try 200."
        )
    made: dict[str, str] = {}
    asked: dict[str, Any] = {}
    for role, name in models.items():
        lm = load_language_model(name, device=device, dtype=dtype)
        usual = ExplainConfig(
            prompts=prompts_for(role, lm),
            limit=None if limit is None else limit // PARTS,
            parts=PARTS,
            dtype=dtype,
        )
        asked[role] = dataclasses.asdict(usual.prompts)
        jobs = {
            f"{role} {part}": dataclasses.replace(
                usual, part=part, ablation=dataclasses.replace(usual.ablation, seed=part)
            )
            for part in range(1 if role == "base" else PARTS)
        }
        if role == "tuned" and helix:
            first = f"{role} 0"  # one reading: its questions are drawn from the whole range, whatever the part
            jobs[first] = dataclasses.replace(jobs[first], helix=())
        if role == "tuned" and variants:
            jobs |= {
                f"{variant} {part}": VARIANTS[variant](dataclasses.replace(jobs[f"{role} {part}"], helix=None))
                for variant in MODEL_VARIANTS
                for part in range(PARTS)
            }
        for done, (key, config) in enumerate(jobs.items()):
            label = f"{key} ({done + 1} of {len(jobs)})"
            report = lambda what, i, n, label=label: progress(f"{label}: {what}", i, n)  # noqa: E731
            found = explain(name, config, root, device=device, threads=threads, loaded=lm, progress=report)
            made[key] = found.run.id
        del lm
    facts = provenance(device=device, threads=threads, dtype=dtype)
    run = create_run(
        Path(root),
        "zhou2024-model",
        values | {"prompts": asked},
        given or values,
        facts,
    )
    with run.lock():
        run.update(status="finished", outcome="reproduced", made=made, provenance=facts)
    return read_model_study(run)


def read_model_study(run: Run) -> Study:
    """What `reproduce_model` left on disk."""
    made = run.record()["made"]
    found: dict[str, Explanation] = {
        key: open_explanation(open_run(run.path.parent / name)) for key, name in made.items()
    }
    parts = tuple(range(PARTS))
    of = lambda role: {part: found[f"{role} {part}"] for part in parts if f"{role} {part}" in found}  # noqa: E731
    base = of("base")
    explanations = {("pretrained", part): each for part, each in of("tuned").items()} | {
        ("scratch", part): each for part, each in of("scratch").items()
    }
    names = (*MODEL_VARIANTS, "second format", "products")
    variants = {(name, part): each for name in names for part, each in of(name).items()} | {
        (PROMPTED, part): each for part, each in of("prompted").items()
    }
    # a table of numbers has no parts: one reading
    return Study(run, None, parts, {}, {}, {0: base[0]} if base else {}, explanations, variants)
