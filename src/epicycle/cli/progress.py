"""Progress of training on stderr: a live line on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Any


def spelled_seconds(seconds: float) -> str:
    """42 s, 3 min 10 s, 2 h 5 min."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class TrainingProgress:
    """Callable that shows step, accuracies, speed and the time left at most."""

    def __init__(self, every_seconds: float | None = None):
        self.live = sys.stderr.isatty()
        self.every = every_seconds if every_seconds is not None else (0.2 if self.live else 5.0)
        self.last = 0.0

    def __call__(
        self, runs: Sequence[str], step: int, max_steps: int, lines: Sequence[dict[str, Any]], speed: float
    ) -> None:
        """Show the newest history line of each run."""
        now = time.monotonic()
        if now - self.last < self.every and step < max_steps:
            return
        self.last = now
        if not lines:
            return
        train = sum(line["train_accuracy"] for line in lines) / len(lines)
        test = sum(line["test_accuracy"] for line in lines) / len(lines)
        which = "" if len(runs) == 1 else f"{len(runs)} runs, mean "
        slowest = f"slowest at step {min(line['step'] for line in lines):,}"
        begun = f"{len(lines)} of {len(runs)} runs begun, {slowest} of these" if len(lines) < len(runs) else slowest
        steps = f"step {step:,} of at most {max_steps:,}" if len(runs) == 1 else begun
        left = f", at most {spelled_seconds((max_steps - step) * len(runs) / speed)} left" if speed > 0 else ""
        text = f"{steps}  {which}train {train:.3f}  test {test:.3f}  {speed:.0f} steps/s{left}"
        sys.stderr.write(f"\r\x1b[2K{text}" if self.live else text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the live line."""
        if self.live and self.last:
            sys.stderr.write("\n")
            self.last = 0.0


class _Line:
    """One line on stderr that is written over on a terminal, and now and then elsewhere."""

    def __init__(self, every_seconds: float | None = None):
        self.live = sys.stderr.isatty()
        self.every = every_seconds if every_seconds is not None else (0.2 if self.live else 10.0)
        self.last = 0.0
        self.began = time.monotonic()

    def show(self, text: str, *, always: bool = False) -> None:
        """Write the line if it is time."""
        now = time.monotonic()
        if now - self.last < self.every and not always:
            return
        self.last = now
        sys.stderr.write(f"\r\x1b[2K{text}" if self.live else text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the live line."""
        if self.live and self.last:
            sys.stderr.write("\n")
            self.last = 0.0


class LanguageProgress(_Line):
    """Progress of one training of the language track."""

    def __call__(self, report: Any) -> None:
        """Show the newest evaluation."""
        line, left = report.line, report.steps - report.step
        scores = ", ".join(f"{name.replace('_', ' ')} {line[name]:.3f}" for name in ("train_loss", "validation_loss", "validation_accuracy")
                           if line.get(name) is not None)  # fmt: skip
        rest = f", {spelled_seconds(left / report.speed)} left" if report.speed > 0 and left else ""
        self.show(f"step {report.step:,} of {report.steps:,}  {scores}{rest}", always=not self.live)


class StageProgress(_Line):
    """Progress of an analysis: what is being done, how much of it is, how long it will take."""

    def __init__(self, every_seconds: float | None = None):
        super().__init__(every_seconds)
        self.stage, self.stage_began = "", 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show the stage."""
        now = time.monotonic()
        if what != self.stage:
            self.stage, self.stage_began = what, now
            self.last = 0.0 if self.live else self.last
        rest = f", {spelled_seconds((now - self.stage_began) * (total - done) / done)} left" if 0 < done < total else ""
        self.show(f"{what}: {done:,} of {total:,}{rest}" if total > 1 else what)


class JobsProgress(_Line):
    """Progress of many jobs: which run, how many are done, how long the rest will take."""

    def __call__(self, now: Any) -> None:
        """Show the jobs; the last of them at once."""
        left = now.seconds_left
        is_over = now.finished == now.jobs
        # a training can end before its bound; those that did are in the forecast
        how_sure = "about" if now.ended else "at most"
        rest = f", {how_sure} {spelled_seconds(left)} left" if left is not None and not is_over else ""
        names = [name if share is None else f"{name} ({share:.0%})" for name, share in zip(now.running, now.shares, strict=True)]  # fmt: skip
        running = "" if is_over else f"; running: {', '.join(names) or 'none'}"
        self.show(
            f"{now.finished} of {now.jobs} jobs done, {spelled_seconds(now.seconds)}{rest}{running}", always=is_over
        )
