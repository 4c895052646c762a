"""The public API as users write it; pyright reads this file, nothing runs it."""

from pathlib import Path

import numpy as np

from epicycle import (
    Circuit,
    ExplainConfig,
    Explanation,
    FinetuneConfig,
    FrozenConfig,
    MatrixSpectrum,
    PretrainConfig,
    PromptConfig,
    Run,
    RunConfig,
    TaskConfig,
    additive,
    clock_or_pizza,
    explain,
    ffd,
    finetune,
    fourier_norms,
    grok,
    import_checkpoint,
    load_array,
    load_language_model,
    matrix_spectrum,
    modular_task,
    number_space,
    open_run,
    pretrain,
    selftest,
    start_digest,
    task_facts,
    write_report,
)

[found] = grok(RunConfig(task=TaskConfig(formulas=("a + b",), modulus=97)), threads=2)
circuit: Circuit = found.circuits[0]
frequencies: tuple[int, ...] = circuit.key_frequencies
page: Path = write_report(found)
spectrum: MatrixSpectrum = matrix_spectrum(load_array("vectors.npz", "W_E"), null="within decades")
density: float = ffd(fourier_norms(np.zeros((97, 4)), additive(97)))
weights = open_run("runs/x").weights()
failed: list[str] = [check.measure for check in selftest() if not check.passed]

base: Run = pretrain(PretrainConfig(), "runs", threads=2)
arm = FinetuneConfig(arm="frozen-embedding", start=start_digest(base.path), prompts=PromptConfig(largest_operand=99))
tuned: Run = finetune(arm, base.path, "runs", threads=2)
explanation: Explanation = explain(tuned.path, ExplainConfig(prompts=PromptConfig(largest_operand=99)), "runs")
last: int = number_space(load_language_model(tuned.path).tokenizer).count

sum_: TaskConfig = TaskConfig(formulas=("2a + b",))
kept = RunConfig(task=sum_, frozen=FrozenConfig(parts=("embedding",), source=found.run.id))
[transferred] = grok(kept, "runs")
symmetric: bool = task_facts(modular_task(sum_)).is_symmetric
foreign: Run = import_checkpoint("model.pt", TaskConfig(modulus=113), "runs")
how: float | None = clock_or_pizza(modular_task(sum_), kept, foreign.weights()).distance_irrelevance
