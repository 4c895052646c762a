"""epicycle: how transformers do arithmetic, in the Fourier basis.

Names are resolved when they are used, so importing the package loads no framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epicycle.analysis.circuit import Circuit as Circuit
    from epicycle.analysis.circuit import Trajectory as Trajectory
    from epicycle.analysis.grok import analyse_run as analyse_run
    from epicycle.analysis.grok import grok as grok
    from epicycle.analysis.matrix import MatrixSpectrum as MatrixSpectrum
    from epicycle.analysis.matrix import load_array as load_array
    from epicycle.analysis.matrix import matrix_spectrum as matrix_spectrum
    from epicycle.analysis.selftest import selftest as selftest
    from epicycle.errors import EpicycleError as EpicycleError
    from epicycle.fourier.bases import additive as additive
    from epicycle.fourier.bases import multiplicative as multiplicative
    from epicycle.fourier.measures import fcr as fcr
    from epicycle.fourier.measures import ffd as ffd
    from epicycle.fourier.measures import gini as gini
    from epicycle.fourier.nulls import null_test as null_test
    from epicycle.fourier.spectra import fourier_norms as fourier_norms
    from epicycle.models.config import ModelConfig as ModelConfig
    from epicycle.report.grok import grok_page as grok_page
    from epicycle.report.grok import write_report as write_report
    from epicycle.runs.directory import Run as Run
    from epicycle.runs.directory import list_runs as list_runs
    from epicycle.runs.directory import open_run as open_run
    from epicycle.sweep.pool import grok_all as grok_all
    from epicycle.tasks.modular import TaskConfig as TaskConfig
    from epicycle.tasks.modular import modular_task as modular_task
    from epicycle.training.config import OptimiserConfig as OptimiserConfig
    from epicycle.training.config import RunConfig as RunConfig
    from epicycle.training.config import ScheduleConfig as ScheduleConfig
    from epicycle.training.config import furuta2024 as furuta2024
    from epicycle.training.config import nanda2023 as nanda2023
    from epicycle.training.loop import train_run as train_run

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
    "train_run": "epicycle.training.loop",
    "write_report": "epicycle.report.grok",
}

__all__ = [
    "Circuit",
    "EpicycleError",
    "MatrixSpectrum",
    "ModelConfig",
    "OptimiserConfig",
    "Run",
    "RunConfig",
    "ScheduleConfig",
    "TaskConfig",
    "Trajectory",
    "additive",
    "analyse_run",
    "fcr",
    "ffd",
    "fourier_norms",
    "furuta2024",
    "gini",
    "grok",
    "grok_all",
    "grok_page",
    "list_runs",
    "load_array",
    "matrix_spectrum",
    "modular_task",
    "multiplicative",
    "nanda2023",
    "null_test",
    "open_run",
    "selftest",
    "train_run",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'epicycle' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
