"""Compiles exact_step.c once per machine and loads it.

The library is kept in the user's cache under the hash of source, flags and processor, so an update or another
machine sharing the home directory builds its own. Without a C compiler `library` returns None and the caller uses
the same mathematics in PyTorch.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Literal

FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC", "-pthread")
NATIVE = {"x86_64": ("-march=native", "-mprefer-vector-width=512"), "AMD64": ("-march=native",)}


def compiler() -> str | None:
    """Path of the C compiler: `$CC` if set, else cc, gcc or clang; None if there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


def cache_directory() -> Path:
    """Where compiled libraries are kept: `$EPICYCLE_CACHE`, or epicycle/ in the user's cache directory."""
    if given := os.environ.get("EPICYCLE_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "epicycle"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


@functools.cache
def library(precision: Literal["float", "double"] = "float") -> ctypes.CDLL | None:
    """The compiled step for one precision, or None where it cannot be built (reason: `build_failure`)."""
    if os.environ.get("EPICYCLE_NO_COMPILER"):
        return None
    command = compiler()
    if command is None or sys.platform == "win32":
        return None
    source = resources.files("epicycle.training").joinpath("exact_step.c").read_text()
    flags = (*FLAGS, *NATIVE.get(platform.machine(), ()), f"-DREAL={precision}")
    key = hashlib.sha256("\0".join((source, *flags, command, _processor())).encode()).hexdigest()[:16]
    target = cache_directory() / f"exact-step-{precision}-{key}.so"
    try:
        if not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                code, built = Path(scratch) / "exact_step.c", Path(scratch) / "exact_step.so"
                code.write_text(source)
                subprocess.run(
                    [command, *flags, "-o", str(built), str(code), "-lm"], check=True, capture_output=True, text=True
                )
                built.replace(target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError):
        return None


def slow_reason(precision: Literal["float", "double"] = "float") -> str | None:
    """One line that says why the compiled step is not used and what that costs; None when it is used."""
    if library(precision) is not None:
        return None
    why = (
        "EPICYCLE_NO_COMPILER is set"
        if os.environ.get("EPICYCLE_NO_COMPILER")
        else ("no C compiler was found" if compiler() is None else "the C compiler failed")
    )
    return f"{why}: training uses PyTorch, with the same mathematics and about 9 times slower (install gcc to mend it)"
