"""epicycle: how transformers do arithmetic, in the Fourier basis.

Names are resolved when they are used, so importing the package loads no framework.
"""

import importlib
from typing import Any

_WHERE = {
    "Circuit": "epicycle.analysis.circuit",
    "EpicycleError": "epicycle.errors",
    "MatrixSpectrum": "epicycle.analysis.matrix",
    "ModelConfig": "epicycle.models.config",
    "OptimiserConfig": "epicycle.training.config",
    "Run": "epicycle.runs.directory",
    "RunConfig": "epicycle.training.config",
    "ScheduleConfig": "epicycle.training.config",
    "TaskConfig": "epicycle.tasks.modular",
    "Trajectory": "epicycle.analysis.circuit",
    "additive": "epicycle.fourier.bases",
    "analyse_run": "epicycle.analysis.grok",
    "ffd": "epicycle.fourier.measures",
    "fcr": "epicycle.fourier.measures",
    "fourier_norms": "epicycle.fourier.spectra",
    "furuta2024": "epicycle.training.config",
    "gini": "epicycle.fourier.measures",
    "grok": "epicycle.analysis.grok",
    "grok_all": "epicycle.sweep.pool",
    "grok_page": "epicycle.report.grok",
    "list_runs": "epicycle.runs.directory",
    "load_array": "epicycle.analysis.matrix",
    "matrix_spectrum": "epicycle.analysis.matrix",
    "modular_task": "epicycle.tasks.modular",
    "multiplicative": "epicycle.fourier.bases",
    "nanda2023": "epicycle.training.config",
    "null_test": "epicycle.fourier.nulls",
    "open_run": "epicycle.runs.directory",
    "selftest": "epicycle.analysis.selftest",
    "write_report": "epicycle.report.grok",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'epicycle' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
