"""Where a number comes from: versions, machine, threads, revision."""

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@functools.cache
def _revision() -> str | None:
    """Git revision of this package's checkout, with `+changes` if it has uncommitted ones; None if installed."""
    here = Path(__file__).resolve().parent
    try:
        top = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=5
        )
        if top.returncode:
            return None
        head = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
        dirty = subprocess.run(["git", "-C", str(here), "status", "--porcelain", "-uno"], capture_output=True, text=True,
                               timeout=5)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "") if head.returncode == 0 else None


def _named(cpuinfo: str) -> str:
    """Name, family and model of the first processor: virtual machines often call several generations by one name."""
    facts: dict[str, str] = {}
    for key, _, value in (line.partition(":") for line in cpuinfo.splitlines()):
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name") or facts.get("Model") or platform.processor()
    numbers = {"cpu family": "family", "model": "model", "CPU implementer": "implementer", "CPU part": "part"}
    return ", ".join(filter(None, (name, *(f"{short} {facts[key]}" for key, short in numbers.items() if key in facts))))


@functools.cache
def _processor() -> str | None:
    """Model of the processor: another one can round sums otherwise, and send a run another way."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or None
    return _named(cpuinfo) or None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def provenance(**more: Any) -> dict[str, Any]:
    """Facts about this process that a reader needs to judge or repeat a number. No host name, user name or path."""
    return {
        "epicycle": _version("epicycle"),
        "revision": _revision(),
        "python": platform.python_version(),
        "packages": {
            name: _version(name)
            for name in ("torch", "numpy", "safetensors", "transformers", "tokenizers", "scikit-learn")
        },
        "platform": f"{sys.platform} {platform.machine()}",
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
