"""An explanation as the plain values that `epicycle explain --json` prints."""

import dataclasses
from typing import Any

import numpy as np

from epicycle.analysis.explain import Explanation


def _fields(result: Any) -> dict[str, Any]:
    """The fields of a result as plain values."""
    plain = lambda value: value.tolist() if isinstance(value, np.ndarray) else value  # noqa: E731
    found = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {
        name: {key: plain(part) for key, part in value.items()} if isinstance(value, dict) else plain(value)
        for name, value in found.items()
    }


def as_json(found: Explanation, report: str) -> dict[str, Any]:
    """The object that `epicycle explain --json` prints."""
    spectrum, lens, ablations = found.spectrum, found.lens, found.ablations
    periods = []
    if spectrum is not None:
        order = np.argsort(-spectrum.share, kind="stable")
        periods = [{"period": spectrum.period[i], "frequency": int(spectrum.frequency[i]), "share": spectrum.share[i],
                    "p_value": spectrum.p_single[spectrum.null][i], "p_family": spectrum.p_family[spectrum.null][i]} for i in order]  # fmt: skip
    base = None if ablations is None else ablations.row("none", "none")
    bands = [] if ablations is None else [
        {key: row.get(key) for key in ("modules", "band", "rank", "width", "loss", "accuracy", "control_accuracy", "controls", "errors", "number_accuracy",
                                       "refused")} for row in ablations.rows]  # fmt: skip
    return {
        "id": found.run.id,
        "directory": str(found.run.path),
        "model": found.facts["name"],
        "facts": found.facts,
        "number_space": found.facts["number_space"],
        "accuracy": None if base is None else base["accuracy"],
        "loss": None if base is None else base["loss"],
        "prompts": None if lens is None else lens.prompts,
        "embedding": None if spectrum is None else {
            "null": spectrum.null, "draws": spectrum.draws, "detrended": spectrum.is_detrended, "rows": spectrum.rows,
            "convention": spectrum.convention, "periods": periods},
        "geometry": None if found.geometry is None else [found.geometry.at(int(t)) for t in found.geometry.period],
        "layers": [] if lens is None else [
            {"layer": i, "exact": lens.exact[i], "within_2": lens.within_2[i], "within_10": lens.within_10[i]} for i in range(len(lens.exact))],
        "guess": None if lens is None else {"exact": lens.guess_exact, "within_2": lens.guess_within_2, "within_10": lens.guess_within_10},
        "bands": bands,
        "keeps": [] if ablations is None else ablations.keeps,
        "errors": None if base is None else base["errors"],
        "residual": None if found.residual is None else {
            "numbers": found.residual.numbers, "null": found.residual.null, "draws": found.residual.draws, "periods": found.residual.period,
            "share": found.residual.share, "p_family": found.residual.p_family, "level_95": found.residual.level},
        "helix": None if found.helix is None else _fields(found.helix),
        "builders": None if found.builders is None else _fields(found.builders) | {"finding": found.builders.sentence()},
        "digits": None if found.digits is None else _fields(found.digits),
        "turn": None if found.turn is None else _fields(found.turn),
        "report": report,
    }  # fmt: skip
