"""The command `epicycle`: finds the subcommand, turns what the user can mend into one sentence and exit code 2.

A command is a module with HELP, `add_options(parser)` and `run(options) -> dict`; the dict is what --json prints. No
module of this folder imports a framework at its top: `epicycle --help` must answer at once.
"""

import argparse
import errno
import importlib
import keyword
import os
import re
import shlex
import sys
from typing import Any, NoReturn

COMMANDS = {
    "demo": "both tracks, small and complete: two reports in about two minutes",
    "grok": "train on a formula until it groks, analyse, report",
    "pretrain": "train a small language model on number text, or on a folder of files",
    "finetune": "train it on sums in words: tuned, from scratch, or with a frozen embedding",
    "explain": "how a causal language model adds: spectra, lens, removal of bands, errors",
    "answers": "what kind of wrong: errors of answers in a CSV file, of any model",
    "reproduce": "a paper's experiment, offline, with a ledger of its claims",
    "spectrum": "spectrum of any matrix whose rows are numbers, with nulls",
    "sweep": "many runs on processes, a GPU or a cluster",
    "task": "what is known of a formula before training",
    "import": "a checkpoint of another project as a run, analysed",
    "runs": "list, filter, compare and export runs; SQL over their histories",
    "report": "write the report of a run again",
    "selftest": "every measure against networks and signals with known answers",
    "doctor": "versions, threads, device, compiler: what to put into an issue",
    "cite": "references of what was run",
}

# Their numpy matrices are small: a second thread gains nothing, and on a busy machine its waiting cost 80 s of 86.
SINGLE_BLAS = ("grok", "sweep", "import", "report")


FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of places that cannot be read or written: the user's to mend, wherever they come up."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


def _module(command: str) -> Any:
    """The module of a command; `import` is a word of Python, so its module has an underscore."""
    return importlib.import_module(f"epicycle.cli.{command}{'_' * keyword.iskeyword(command)}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="epicycle",
        description="Shows how transformers do arithmetic, in the Fourier basis.",
        epilog="`epicycle COMMAND --help` explains a command. Start with `epicycle demo`.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        module = _module(name)
        command = commands.add_parser(name, help=text, description=module.HELP,
                                      formatter_class=argparse.ArgumentDefaultsHelpFormatter)  # fmt: skip
        module.add_options(command)
        add_common_options(command)
    return parser


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that every command takes."""
    group = parser.add_argument_group("common options")
    group.add_argument("--out", metavar="DIR", default="runs", help="directory of all runs")
    group.add_argument("--json", action="store_true", help="print one JSON object on stdout, progress on stderr")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    group.add_argument("--threads", type=int, default=available_cores(), metavar="N", help="CPU threads")


def available_cores() -> int:
    """Cores this process may use, at most 8."""
    try:
        return min(len(os.sched_getaffinity(0)), 8)
    except AttributeError:
        return min(os.cpu_count() or 1, 8)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 our fault, 2 the user can mend it."""
    from epicycle.errors import EpicycleError

    parser = _parser()
    # argparse takes "-a+b" for an option; a leading space makes it the formula it is
    given = sys.argv[1:] if arguments is None else arguments
    options, unknown = parser.parse_known_args([re.sub(r"^-(?=[abc(0-9])", " -", word) for word in given])
    if unknown:
        return _unknown(parser, options.command, unknown)
    options.typed = shlex.join(["epicycle", *given])
    if options.version:
        from importlib.metadata import version

        sys.stdout.write(version("epicycle") + "\n")
        return 0
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        from epicycle.errors import ConfigError

        if not options.out:
            raise ConfigError("got an empty --out; expected a directory. Use --out . for this one.")
        if options.threads < 1 or options.threads > 64:
            raise ConfigError(f"got --threads {options.threads}; expected 1 to 64. Leave it out to use all cores.")
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        os.environ["OPENBLAS_NUM_THREADS"] = "1" if options.command in SINGLE_BLAS else str(options.threads)
        # idle threads of torch and numpy must not spin on the cores that the exact step uses
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
        found = _module(options.command).run(options)
    except EpicycleError as error:
        sys.stderr.write(f"epicycle {options.command}: {error}\n")
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno not in FORBIDDEN or not error.filename:
            raise
        sys.stderr.write(f"epicycle {options.command}: got '{error.strerror}' at {os.fsdecode(error.filename)}; expected a place that can be read and written. "
                         "Change its permissions, or choose another.\n")  # fmt: skip
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; nothing is lost: run the same command again to go on\n")
        return 130
    if options.json and _is_first_process():
        from epicycle._files import to_json

        sys.stdout.write(to_json(found) + "\n")
    return found.get("exit_code", 0) if isinstance(found, dict) else 0


def _unknown(parser: argparse.ArgumentParser, command: str | None, words: list[str]) -> int:
    """Name the command, and the option that was perhaps meant."""
    import difflib

    name = " ".join(["epicycle", *([command] if command else [])])
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    flags = commands.choices[command]._option_string_actions if command else parser._option_string_actions
    near = difflib.get_close_matches(words[0], flags, n=1)
    perhaps = f", perhaps {near[0]}" if near else ""
    expected = f"it after {command}" if command and words[0] in flags else f"an option of this command{perhaps}"
    sys.stderr.write(f"{name}: got {' '.join(words)!r}; expected {expected}. See `{name} --help`.\n")
    return 2


def _is_first_process() -> bool:
    """False in the second and later processes of a launcher, which stay silent."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """A line about what is being done, on stderr."""
    if _is_first_process():
        sys.stderr.write(text + "\n")


def answer(text: str) -> None:
    """A line of what was asked for, on stdout: for commands that answer a question, and without --json alone."""
    sys.stdout.write(text + "\n")


def rich_console() -> Any:
    """A rich console on stdout, for answers that are tables."""
    from rich.console import Console

    return Console(highlight=False)
