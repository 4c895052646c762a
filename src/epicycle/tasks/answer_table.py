"""Answers from a CSV file: those of any model, or person, without any interface to it."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from epicycle.errors import DataError

NUMBER = re.compile(
    r"(?<![\d.,])(?:(?<!\d\s)(?<!\d)[-\u2212])?(?:\d{1,3}(?:[,_ \u202f]\d{3})+(?!\d)|\d+)(?:\.0+)?(?![\d]|\.\d)"
)
"""A whole number: a sign only where no number stands before it, separators between threes only, `.0` at its end."""
MAX_DIGITS = 18


class AnswerTable(NamedTuple):
    """Operands, right answers and given answers (b,), of the rows whose answer is a number; and how many rows had none."""

    a: np.ndarray
    b: np.ndarray
    right: np.ndarray
    given: np.ndarray
    unread: int


def number_in(text: str) -> int | None:
    """The last whole number of an answer such as `The sum is 1,234`.

    None if there is none, it has a fraction or more than 18 digits, or commas do not stand between threes.
    """
    if re.search(r"\d\.\d*[1-9]", text):
        return None
    found = NUMBER.findall(text)
    if (
        not found
        or re.search(r"\d,\d", NUMBER.sub("", text))
        or re.search(r"(?<!\d)\d{1,3},(?:\d{1,2}|\d{4,})(?!\d)", text)
    ):
        return None
    digits = re.sub(r"[^\d-]", "", re.sub(r"\.0+$", "", found[-1]).replace("\u2212", "-"))
    return int(digits) if len(digits.lstrip("-")) <= MAX_DIGITS else None


def read_answers(
    path: Path | str, *, a: str = "a", b: str = "b", given: str = "answer", operation: str = "add"
) -> AnswerTable:
    """Read a CSV file with one question a row.

    Args:
        path: The file; its first row names the columns.
        a: Column of the first operand.
        b: Column of the second.
        given: Column of the answer, a number or a sentence with one; the last number counts.
        operation: add, subtract or multiply.

    Raises:
        DataError: No such file or column, an operand that is no whole number, or no answer that is a number.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"got {file}, which is not a file; expected a CSV file. Check the path.")
    operate = {"add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y}[operation]
    rows: list[tuple[int, int, int, int]] = []
    unread = 0
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or []
            if missing := [name for name in (a, b, given) if name not in names]:
                raise DataError(f"got {file.name} with columns {', '.join(names) or 'none'}; expected {missing[0]!r} among them. Name yours with --a, --b and "
                                "--given.")  # fmt: skip
            for number, row in enumerate(reader, 2):
                operands = []
                for name in (a, b):
                    text = (row[name] or "").strip()
                    if not re.fullmatch(r"-?\d{1,15}", text):
                        raise DataError(
                            f"got {text!r} as {name} in line {number} of {file.name}; expected a whole number. Mend that line."
                        )
                    operands.append(int(text))
                answer = number_in(row[given] or "")
                if abs(operate(*operands)) >= 10**MAX_DIGITS:
                    raise DataError(f"got {operands[0]} and {operands[1]} in line {number} of {file.name}, whose answer has more than {MAX_DIGITS} digits; expected "
                                    "smaller numbers. Leave that line out.")  # fmt: skip
                if answer is None:
                    unread += 1
                else:
                    rows.append((*operands, operate(*operands), answer))
    except UnicodeDecodeError:
        raise DataError(f"got {file.name}, which is not UTF-8 text; expected a CSV file. Save it as UTF-8.") from None
    except csv.Error as error:
        raise DataError(
            f"got {file.name}, which is not readable as CSV ({error}); expected one question a row. Save it again."
        ) from None
    if not rows:
        raise DataError(
            f"got {file.name} with no answer that holds a number in {unread} rows; expected some. Name the column with --given."
        )
    table = np.array(rows, dtype=np.int64)
    first, second, right, answers = table.T
    return AnswerTable(first, second, right, answers, unread)
