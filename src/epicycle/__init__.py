"""epicycle: how transformers do arithmetic, in the Fourier basis.

Names are resolved when they are used, so importing the package loads no framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epicycle.analysis.ablation import AblationConfig as AblationConfig
    from epicycle.analysis.circuit import Circuit as Circuit
    from epicycle.analysis.circuit import Trajectory as Trajectory
    from epicycle.analysis.clock import clock_or_pizza as clock_or_pizza
    from epicycle.analysis.decomposition import decomposition_of as decomposition_of
    from epicycle.analysis.explain import ExplainConfig as ExplainConfig
    from epicycle.analysis.explain import Explanation as Explanation
    from epicycle.analysis.explain import explain as explain
    from epicycle.analysis.grok import analyse_run as analyse_run
    from epicycle.analysis.grok import grok as grok
    from epicycle.analysis.matrix import MatrixSpectrum as MatrixSpectrum
    from epicycle.analysis.matrix import load_array as load_array
    from epicycle.analysis.matrix import matrix_spectrum as matrix_spectrum
    from epicycle.analysis.selftest import selftest as selftest
    from epicycle.analysis.statistics import time_to_event as time_to_event
    from epicycle.errors import EpicycleError as EpicycleError
    from epicycle.fourier.bases import additive as additive
    from epicycle.fourier.bases import multiplicative as multiplicative
    from epicycle.fourier.measures import fcr as fcr
    from epicycle.fourier.measures import ffd as ffd
    from epicycle.fourier.measures import gini as gini
    from epicycle.fourier.nulls import null_test as null_test
    from epicycle.fourier.spectra import fourier_norms as fourier_norms
    from epicycle.interop.imported import import_checkpoint as import_checkpoint
    from epicycle.models.config import ModelConfig as ModelConfig
    from epicycle.models.language import language_model as language_model
    from epicycle.models.language import load_language_model as load_language_model
    from epicycle.models.language import start_digest as start_digest
    from epicycle.report.explain import explain_page as explain_page
    from epicycle.report.grok import grok_page as grok_page
    from epicycle.report.grok import write_report as write_report
    from epicycle.runs.directory import Run as Run
    from epicycle.runs.directory import list_runs as list_runs
    from epicycle.runs.directory import open_run as open_run
    from epicycle.studies.zhou2024 import reproduce as reproduce
    from epicycle.sweep.sweep import grok_all as grok_all
    from epicycle.tasks.facts import task_facts as task_facts
    from epicycle.tasks.modular import TaskConfig as TaskConfig
    from epicycle.tasks.modular import modular_task as modular_task
    from epicycle.tasks.number_space import NumberSpace as NumberSpace
    from epicycle.tasks.number_space import number_space as number_space
    from epicycle.tasks.number_text import NumberTextConfig as NumberTextConfig
    from epicycle.tasks.prompts import PromptConfig as PromptConfig
    from epicycle.tasks.prompts import prompt_task as prompt_task
    from epicycle.training.config import FrozenConfig as FrozenConfig
    from epicycle.training.config import OptimiserConfig as OptimiserConfig
    from epicycle.training.config import RunConfig as RunConfig
    from epicycle.training.config import ScheduleConfig as ScheduleConfig
    from epicycle.training.config import furuta2024 as furuta2024
    from epicycle.training.config import nanda2023 as nanda2023
    from epicycle.training.finetune import finetune as finetune
    from epicycle.training.language_config import FinetuneConfig as FinetuneConfig
    from epicycle.training.language_config import PretrainConfig as PretrainConfig
    from epicycle.training.language_config import ShapeConfig as ShapeConfig
    from epicycle.training.language_config import StepConfig as StepConfig
    from epicycle.training.loop import train_run as train_run
    from epicycle.training.pretrain import pretrain as pretrain

_WHERE = {
    "AblationConfig": "epicycle.analysis.ablation",
    "Circuit": "epicycle.analysis.circuit",
    "EpicycleError": "epicycle.errors",
    "ExplainConfig": "epicycle.analysis.explain",
    "Explanation": "epicycle.analysis.explain",
    "FinetuneConfig": "epicycle.training.language_config",
    "MatrixSpectrum": "epicycle.analysis.matrix",
    "ModelConfig": "epicycle.models.config",
    "NumberSpace": "epicycle.tasks.number_space",
    "NumberTextConfig": "epicycle.tasks.number_text",
    "OptimiserConfig": "epicycle.training.config",
    "PretrainConfig": "epicycle.training.language_config",
    "PromptConfig": "epicycle.tasks.prompts",
    "Run": "epicycle.runs.directory",
    "RunConfig": "epicycle.training.config",
    "ScheduleConfig": "epicycle.training.config",
    "ShapeConfig": "epicycle.training.language_config",
    "StepConfig": "epicycle.training.language_config",
    "TaskConfig": "epicycle.tasks.modular",
    "Trajectory": "epicycle.analysis.circuit",
    "additive": "epicycle.fourier.bases",
    "analyse_run": "epicycle.analysis.grok",
    "explain": "epicycle.analysis.explain",
    "explain_page": "epicycle.report.explain",
    "fcr": "epicycle.fourier.measures",
    "ffd": "epicycle.fourier.measures",
    "finetune": "epicycle.training.finetune",
    "fourier_norms": "epicycle.fourier.spectra",
    "furuta2024": "epicycle.training.config",
    "gini": "epicycle.fourier.measures",
    "grok": "epicycle.analysis.grok",
    "grok_all": "epicycle.sweep.sweep",
    "time_to_event": "epicycle.analysis.statistics",
    "task_facts": "epicycle.tasks.facts",
    "import_checkpoint": "epicycle.interop.imported",
    "decomposition_of": "epicycle.analysis.decomposition",
    "clock_or_pizza": "epicycle.analysis.clock",
    "FrozenConfig": "epicycle.training.config",
    "grok_page": "epicycle.report.grok",
    "language_model": "epicycle.models.language",
    "list_runs": "epicycle.runs.directory",
    "load_array": "epicycle.analysis.matrix",
    "load_language_model": "epicycle.models.language",
    "matrix_spectrum": "epicycle.analysis.matrix",
    "modular_task": "epicycle.tasks.modular",
    "multiplicative": "epicycle.fourier.bases",
    "nanda2023": "epicycle.training.config",
    "null_test": "epicycle.fourier.nulls",
    "number_space": "epicycle.tasks.number_space",
    "open_run": "epicycle.runs.directory",
    "pretrain": "epicycle.training.pretrain",
    "prompt_task": "epicycle.tasks.prompts",
    "reproduce": "epicycle.studies.zhou2024",
    "selftest": "epicycle.analysis.selftest",
    "start_digest": "epicycle.models.language",
    "train_run": "epicycle.training.loop",
    "write_report": "epicycle.report.grok",
}

__all__ = [
    "AblationConfig",
    "Circuit",
    "EpicycleError",
    "ExplainConfig",
    "Explanation",
    "FinetuneConfig",
    "FrozenConfig",
    "MatrixSpectrum",
    "ModelConfig",
    "NumberSpace",
    "NumberTextConfig",
    "OptimiserConfig",
    "PretrainConfig",
    "PromptConfig",
    "Run",
    "RunConfig",
    "ScheduleConfig",
    "ShapeConfig",
    "StepConfig",
    "TaskConfig",
    "Trajectory",
    "additive",
    "analyse_run",
    "clock_or_pizza",
    "decomposition_of",
    "explain",
    "explain_page",
    "fcr",
    "ffd",
    "finetune",
    "fourier_norms",
    "furuta2024",
    "gini",
    "grok",
    "grok_all",
    "grok_page",
    "import_checkpoint",
    "language_model",
    "list_runs",
    "load_array",
    "load_language_model",
    "matrix_spectrum",
    "modular_task",
    "multiplicative",
    "nanda2023",
    "null_test",
    "number_space",
    "open_run",
    "pretrain",
    "prompt_task",
    "reproduce",
    "selftest",
    "start_digest",
    "task_facts",
    "time_to_event",
    "train_run",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'epicycle' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
