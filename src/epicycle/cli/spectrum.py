"""`epicycle spectrum`."""

import argparse
from typing import Any

HELP = (
    "Which periods a matrix uses whose rows are numbers (.npy, .npz, .safetensors), and whether they are more than chance. "
    "Nulls: permuted numbers, permuted within decades (keeps a trend), ramp, white noise."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("file", metavar="FILE", help=".npy, .npz or .safetensors")
    parser.add_argument("--key", metavar="NAME", help="array in the file; may be left out if there is one")
    parser.add_argument("--axis", type=int, default=0, help="axis that counts the numbers")
    parser.add_argument("--rows", metavar="A:B", help="keep the numbers A to B-1")
    parser.add_argument(
        "--numbers",
        metavar="NAME",
        help="array of the same file with the number of each row; single missing numbers are filled in",
    )
    parser.add_argument(
        "--similarities",
        action="store_true",
        help="the matrix holds inner products or cosines of numbers, not their vectors",
    )
    parser.add_argument(
        "--basis", choices=("additive", "multiplicative", "auto"), default="additive", help="waves to use"
    )
    parser.add_argument("--null", choices=("permuted", "within decades", "ramp", "token frequency", "white noise"), default="permuted",
                        help="null that p-values and key frequencies refer to; all are in --json")  # fmt: skip
    parser.add_argument("--token-frequency", metavar="NAME",
                        help="array of the same file with how often each number occurs; adds the null 'token frequency'")  # fmt: skip
    parser.add_argument("--detrend", action="store_true", help="remove each channel's straight line first")
    parser.add_argument("--draws", type=int, default=999, help="null tables")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw the spectrum against the null")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Load, measure, print a table."""
    from epicycle.analysis.matrix import from_similarities, load_array, matrix_spectrum, placed
    from epicycle.cli.main import rich_console, say
    from epicycle.errors import ConfigError

    rows = None
    if options.plot and not options.plot.endswith(".svg"):
        raise ConfigError(f"got --plot {options.plot}; expected a name that ends in .svg. Try --plot spectrum.svg.")
    if options.rows:
        start, _, stop = options.rows.partition(":")
        if not (start.isdigit() and stop.isdigit()):
            raise ConfigError(f"got --rows {options.rows!r}; expected two numbers with a colon. Try --rows 0:100.")
        rows = (int(start), int(stop))
    array, first, gaps = load_array(options.file, options.key), 0, None
    if options.similarities:
        if options.numbers:
            raise ConfigError(
                "got --numbers with --similarities; expected one of them. Sort the matrix by its numbers first."
            )
        if rows and array.ndim == 2:
            array, first, rows = array[slice(*rows), slice(*rows)], rows[0], None
        array = from_similarities(array)
    if options.numbers:
        if options.token_frequency:
            raise ConfigError(
                "got --numbers with --token-frequency; expected one of them. Sort and fill the table first."
            )
        numbers = load_array(options.file, options.numbers)
        array, filled = placed(array, numbers)
        gaps = filled
        first = int(numbers.min())
        say(
            f"numbers {first}..{first + len(array) - 1}; filled in from their neighbours: {', '.join(map(str, filled)) or 'none'}"
        )
        rows = None if rows is None else (rows[0] - first, rows[1] - first)
    counts = load_array(options.file, options.token_frequency) if options.token_frequency else None
    found = matrix_spectrum(array, frequency=counts, axis=options.axis, rows=rows, basis=options.basis, null=options.null,
                            detrend=options.detrend, draws=options.draws, first=first, gaps=gaps)  # fmt: skip
    if options.plot:
        from pathlib import Path

        from epicycle._files import atomic
        from epicycle.plots import style

        with style.figure(7.2, 2.8) as (figure, ax), atomic(Path(options.plot)) as scratch:
            found.plot(ax)
            scratch.write_text(style.svg(figure, f"Spectrum of {options.file}"), encoding="utf-8")
    data = found.as_json()
    if not options.json:
        from rich.table import Table

        table = Table(
            title=f"{found.rows} numbers, {found.channels} channels; {found.convention}", title_justify="left"
        )
        for name in ("period", "frequency", "share", f"p ({found.null})", "p, all frequencies"):
            table.add_column(name, justify="right")
        for row in data["periods"][:12]:
            table.add_row(f"{row['period']:.4g}", str(row["frequency"]), f"{row['share']:.4f}", f"{row['p_value']:.3f}",
                          f"{row['p_family']:.3f}")  # fmt: skip
        console = rich_console()
        console.print(table)
        console.print(f"FFD {found.measures['ffd']:.4f} (joint {found.measures['ffd_joint']:.4f}), FCR {found.measures['fcr']:.4f}, "
                      f"Gini {found.measures['gini']:.4f}; {found.draws} draws of each null")  # fmt: skip
        keys = ", ".join(map(str, found.key_frequencies)) or "none"
        console.print(f"frequencies beyond the null '{found.null}' at 5 %, all looked at: {keys}")
    return data
