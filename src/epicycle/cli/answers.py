"""`epicycle answers`."""

import argparse
from typing import Any

HELP = (
    "What kind of wrong: accuracy and errors of answers in a CSV file, of any model or person. Multiples of ten beside what chance gives, errors of one, of ten, "
    "carries left out, digits."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("file", metavar="FILE.csv", help="one question a row; the first row names the columns")
    parser.add_argument("--a", default="a", metavar="COLUMN", help="first operand")
    parser.add_argument("--b", default="b", metavar="COLUMN", help="second operand")
    parser.add_argument(
        "--given",
        default="answer",
        metavar="COLUMN",
        help="the answer: a number, or a sentence whose last number counts",
    )
    parser.add_argument("--operation", choices=("add", "subtract", "multiply"), default="add", help="what was asked")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw the histogram of the errors")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Read, count, print."""
    from epicycle.analysis.answers import carry_errors, digit_accuracy, error_types
    from epicycle.analysis.statistics import rate
    from epicycle.cli.main import say
    from epicycle.errors import ConfigError
    from epicycle.tasks.answer_table import read_answers

    if options.plot and not options.plot.endswith(".svg"):
        raise ConfigError(f"got --plot {options.plot}; expected a name that ends in .svg. Try --plot errors.svg.")
    table = read_answers(options.file, a=options.a, b=options.b, given=options.given, operation=options.operation)
    right = rate(int((table.given == table.right).sum()), len(table.given) + table.unread)
    errors = error_types(table.given, table.right)
    digits = digit_accuracy(table.given, table.right)
    is_sum = options.operation == "add" and min(table.a.min(), table.b.min()) >= 0
    carry = carry_errors(table.a, table.b, table.given) if is_sum else None
    share = lambda value: "none" if value is None else f"{value:.1%}"  # noqa: E731
    say(
        f"{right.count} of {right.total} right, {right.count / right.total:.1%} (95 % interval {right.low:.1%} to {right.high:.1%}); {table.unread} answers without a number"
    )
    say(f"{errors['wrong']} wrong numbers: multiples of ten {share(errors['multiples_of_10'])} (paired at random {share(errors['expected_multiples_of_10'])}), off by one "
        f"{share(errors['off_by_one'])}, below six {share(errors['below_6'])}, -10 {share(errors['minus_10'])}, +10 {share(errors['plus_10'])}")  # fmt: skip
    if carry is not None:
        p = "" if carry["p_value"] is None else f", chi-squared p = {carry['p_value']:.3g}"
        say(f"of the errors: a carry left out {share(carry['dropped'])}, one too many {share(carry['added'])}, no carry at all {share(carry['without_any'])}; -10 with a carry into the tens "
            f"{share(carry['minus_10_with_carry'])} of the questions, without {share(carry['minus_10_without'])}{p}")  # fmt: skip
    say("digits right, from the last: " + ", ".join(f"{each['right']:.1%} of {each['questions']}" for each in digits))
    if options.plot:
        from pathlib import Path

        from epicycle._files import atomic
        from epicycle.plots import language, style

        with style.figure(7.2, 2.6) as (figure, ax), atomic(Path(options.plot)) as scratch:
            language.error_histogram({"answers": table.given - table.right}, ax)
            scratch.write_text(style.svg(figure, f"Errors of {options.file}"), encoding="utf-8")
    return {"questions": right.total, "right": right.count, "accuracy": right.count / right.total, "interval": [right.low, right.high], "unread": table.unread,
            "errors": errors, "carry": carry, "digits": digits}  # fmt: skip
