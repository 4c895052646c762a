"""Answers from a file: every kind of error counted by hand, and files that cannot be read."""

import json

import numpy as np
import pytest

from epicycle.analysis.answers import carries, carry_errors, digit_accuracy
from epicycle.cli.main import main
from epicycle.tasks.answer_table import number_in, read_answers

ROWS = """a,b,answer
15,93,108
15,93,98
27,45,The sum is 72.
27,45,62
88,88,176
9,9,8
40,30,71
40,30,80
12,34,about forty-six
12,34,46.5
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text(ROWS)
    return path


def test_counts_by_hand(file, capsys, tmp_path):
    assert main(["answers", str(file), "--json", "--plot", str(tmp_path / "e.svg")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["questions"], found["right"], found["unread"]) == (10, 3, 2)
    # wrong: 98 (-10), 62 (-10), 8 (-10), 71 (+1), 80 (+10)
    assert found["errors"]["wrong"] == 5
    assert found["errors"]["multiples_of_10"] == pytest.approx(4 / 5) and found["errors"][
        "off_by_one"
    ] == pytest.approx(1 / 5)
    assert (found["errors"]["minus_10"], found["errors"]["plus_10"]) == (pytest.approx(3 / 5), pytest.approx(1 / 5))
    # 15 + 93 carries into the hundreds only: -10 is no carry left out there; 27 + 45 and 9 + 9 carry into the tens
    assert found["carry"]["dropped"] == pytest.approx(2 / 5) and found["carry"]["added"] == pytest.approx(1 / 5)
    assert found["carry"]["without_any"] == pytest.approx(2 / 5)  # 62 and 8
    assert found["digits"][0] == {"digit": 0, "questions": 8, "right": pytest.approx(7 / 8)}
    assert (tmp_path / "e.svg").read_text().startswith("<svg")


def test_carries_against_decimal_writing():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 10**6, (2, 300))
    into = carries(a, b)
    for i in range(300):
        for k in range(1, 8):
            assert into[i, k] == int(int(a[i]) % 10**k + int(b[i]) % 10**k >= 10**k)


def test_errors_that_follow_carries_are_seen_and_others_not():
    generator = np.random.default_rng(1)
    a, b = generator.integers(0, 100, (2, 4000))
    carry = carries(a, b)[:, 1] == 1
    with_it = a + b - 10 * (carry & (generator.random(4000) < 0.2))
    found = carry_errors(a, b, with_it)
    assert found["dropped"] == 1.0 and found["p_value"] < 1e-6 and found["minus_10_without"] == 0
    blind = carry_errors(a, b, a + b - 10 * (generator.random(4000) < 0.2))
    assert blind["p_value"] > 0.01 and 0.3 < blind["dropped"] < 0.6
    assert carry_errors(a, b, a + b)["dropped"] is None


def test_digits_of_longer_numbers():
    found = digit_accuracy(np.array([123, 45, 7]), np.array([193, 45, 8]))
    assert [(each["questions"], round(each["right"], 3)) for each in found] == [(3, 0.667), (2, 0.5), (1, 1.0)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("72", 72),
        (" -5 ", -5),
        ("It is 1,234.", 1234),
        ("3 + 4 = 7", 7),
        ("no idea", None),
        ("3.5", None),
        ("", None),
        ("−12", -12),
    ],
)
def test_the_last_number_counts(text, number):
    assert number_in(text) == number


@pytest.mark.parametrize(("content", "words", "said"), [
    (ROWS, ["--given", "reply"], "'reply' among them"),
    ("x,y\n1,2\n", [], "'a' among them"),
    ("a,b,answer\n1,two,3\n", [], "line 2"),
    ("a,b,answer\n1,2,none\n", [], "no answer that holds a number"),
    ("", [], "columns none"),
    ("a,b,answer\n1,2,3\n", ["--plot", "x.png"], ".svg"),
])  # fmt: skip
def test_bad_files_are_one_sentence(tmp_path, capsys, content, words, said):
    (tmp_path / "f.csv").write_text(content)
    assert main(["answers", str(tmp_path / "f.csv"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert main(["answers", str(tmp_path / "gone.csv")]) == 2


def test_other_operations_have_no_carries(tmp_path):
    (tmp_path / "f.csv").write_text("x,y,z\n3,4,12\n5,6,31\n")
    table = read_answers(tmp_path / "f.csv", a="x", b="y", given="z", operation="multiply")
    assert table.right.tolist() == [12, 30] and table.given.tolist() == [12, 31]


@pytest.mark.parametrize(("text", "number"), [
    ("5+3=8, 100 in all", 100), ("The numbers 93, 108", 108), ("In 2024, 108", 108), ("= 8 10", 10), ("Answer: 5-3", 3), ("108.0", 108), ("about 46.5", None),
    ("12,345,678", 12345678), ("1 234", 1234), ("1,76", None), ("9" * 5000, None),
])  # fmt: skip
def test_numbers_are_not_glued_together(text, number):
    assert number_in(text) == number


def test_answers_beyond_the_integers_are_refused(tmp_path, capsys):
    (tmp_path / "f.csv").write_text("a,b,answer\n999999999999,999999999999,1\n")
    assert main(["answers", str(tmp_path / "f.csv"), "--operation", "multiply"]) == 2
    assert "more than 18 digits" in capsys.readouterr().err
