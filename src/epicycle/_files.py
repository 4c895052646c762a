"""Writing files so that a reader never sees half of one, and a full disk is said in a sentence."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from epicycle.errors import DiskError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on leaving it is synced and renamed, on any error it is removed.

    Raises:
        DiskError: The disk is full or the place cannot be written to.
    """
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        scratch.touch(exist_ok=False)
        yield scratch
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if scratch is not None:
            with contextlib.suppress(
                OSError
            ):  # where nothing could be written nothing can be removed, and the first error counts
                scratch.unlink()


def check_writable(directory: Path) -> None:
    """Make a directory if there is none, and see that files can be written there, before long work begins.

    Raises:
        DiskError: They cannot.
    """
    probe = directory / f".{secrets.token_hex(6)}.part"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise cannot_write(directory, error) from None


def cannot_write(path: Path, error: OSError) -> DiskError:
    """The sentence for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(
            f"got no space left on the disk while writing {path}; what was finished before is kept. "
            "Free some space and run the same command again."
        )
    return DiskError(f"got '{error.strerror}' while writing {path}; expected a place that can be written to. "
                    "Choose another with --out.")  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def without_nan(value: Any) -> Any:
    """The same value with NaN and infinity as None: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    if isinstance(value, np.ndarray):
        return without_nan(value.tolist())
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON; NaN becomes null."""
    return json.dumps(without_nan(value), indent=indent, default=_plain, allow_nan=False, ensure_ascii=False)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    with atomic(path) as scratch:
        scratch.write_text(to_json(value, indent=1) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: Path, tensors: dict[str, Any]) -> str:
    """Write tensors as safetensors, atomically; returns the file's SHA-256."""
    from safetensors.torch import save

    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    with atomic(path) as scratch:
        scratch.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write numpy arrays as safetensors, atomically."""
    from safetensors.numpy import save

    with atomic(path) as scratch:
        scratch.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
