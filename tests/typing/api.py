"""The public API as users write it; pyright reads this file, nothing runs it."""

from pathlib import Path

import numpy as np

from epicycle import (
    Circuit,
    MatrixSpectrum,
    RunConfig,
    TaskConfig,
    additive,
    ffd,
    fourier_norms,
    grok,
    load_array,
    matrix_spectrum,
    open_run,
    selftest,
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
