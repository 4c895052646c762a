"""Base of every analysis result: a frozen value that prints its shapes, saves, loads and plots.

A result is a keyword-only frozen dataclass whose fields are numbers, strings, tuples, JSON-like dicts, numpy arrays or
dicts of numpy arrays. On disk: result.json (kind, schema, values) and arrays.safetensors beside it.
"""

import dataclasses
import html
import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from epicycle._files import save_arrays, sha256, write_json
from epicycle.errors import DataError


def _is_arrays(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(part, np.ndarray) for part in value.values())


class Result:
    """What every result can do; subclasses are frozen dataclasses that add fields and `plot`."""

    schema: ClassVar[int] = 1

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Everything that is not an array, and all arrays (those of a dict under `field:key`)."""
        values, arrays = {}, {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                arrays[field.name] = value
            elif _is_arrays(value):
                arrays |= {f"{field.name}:{key}": part for key, part in value.items()}
            else:
                values[field.name] = value
        return values, arrays

    def __repr__(self) -> str:
        parts = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                shown = f"{value.dtype}[{', '.join(map(str, value.shape))}]"
            elif _is_arrays(value):
                shown = f"{len(value)} arrays"
            elif isinstance(value, dict):
                shown = "{" + ", ".join(map(str, value)) + "}"
            else:
                shown = repr(value)
            parts.append(f"{field.name}={shown}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in self.summary().items()
        )
        return f"<b>{html.escape(type(self).__name__)}</b><table>{rows}</table>"

    def summary(self) -> dict[str, Any]:
        """Every field that is a single number, text or truth value."""
        values, _ = self.parts()
        return {k: v for k, v in values.items() if v is None or isinstance(v, bool | int | float | str)}

    def save(self, directory: Path | str) -> None:
        """Write result.json and arrays.safetensors, each atomically; the directory is made if it does not exist."""
        values, arrays = self.parts()
        file = Path(directory) / "arrays.safetensors"
        save_arrays(file, arrays)
        write_json(Path(directory) / "result.json", {"kind": type(self).__name__, "schema": self.schema, "arrays_sha256": sha256(file),
                                                     "values": values})  # fmt: skip

    @classmethod
    def is_current(cls, directory: Path | str) -> bool:
        """True if a result of this kind and schema is saved there, whole."""
        file, arrays = Path(directory) / "result.json", Path(directory) / "arrays.safetensors"
        if not file.exists() or not arrays.exists():
            return False
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError):
            return False
        if stored.get("arrays_sha256") not in (None, sha256(arrays)):  # None: written before hashes were kept
            return False
        return (stored.get("kind"), stored.get("schema")) == (cls.__name__, cls.schema)

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: Nothing is there, it is another kind of result, or it was written by a newer epicycle.
        """
        from safetensors.numpy import load_file

        file = Path(directory) / "result.json"
        if not file.exists():
            raise DataError(
                f"got {directory}, which holds no result; expected a {cls.__name__}. Run the analysis first."
            )
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored.get("kind") != cls.__name__:
            raise DataError(f"got a {stored.get('kind')} in {directory}; expected a {cls.__name__}. Load it as that.")
        if stored["schema"] < cls.schema:
            raise DataError(
                f"got schema {stored['schema']} in {directory}; this epicycle writes {cls.schema}. Run the analysis again."
            )
        if stored["schema"] > cls.schema:
            raise DataError(f"got schema {stored['schema']} in {directory}; this epicycle reads up to {cls.schema}. "
                            "Upgrade epicycle.")  # fmt: skip
        values = dict(stored["values"])
        for name, array in load_file(Path(directory) / "arrays.safetensors").items():
            field, _, key = name.partition(":")
            if key:
                values.setdefault(field, {})[key] = array
            else:
                values[field] = array
        known = {field.name: str(field.type).startswith("tuple") for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(
            **{
                name: tuple(values[name]) if is_tuple else values[name]
                for name, is_tuple in known.items()
                if name in values
            }
        )
