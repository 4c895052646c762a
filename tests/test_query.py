"""Runs as a table: filters, groups, comparisons, export, SQL; and that thousands are listed at once."""

import csv
import dataclasses
import json
import time
from pathlib import Path

import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError, DataError
from epicycle.runs.directory import create_run, open_run, run_id
from epicycle.runs.query import chosen, differences, grouped, longest, rows
from epicycle.training.config import FrozenConfig, to_dict


def finished(root, config, first, accuracy=1.0, history=3):
    run = create_run(root, config.name, to_dict(config), {}, {"threads": 1, "device": "cpu", "revision": "abc"})
    steps = {"memorised": 100, "first": first, "sustained": first, "stable": first, "trained": 1000}
    final = {"train_loss": 1e-7, "test_loss": 0.1, "train_accuracy": 1.0, "test_accuracy": accuracy}
    run.update(status="finished", outcome="grokked" if first else "memorised", steps=steps, final=final, seconds=1.5)
    run.append_history(*({"step": 100 * i, "train_loss": 1.0 / (i + 1), "test_accuracy": accuracy * i / history,
                          "measures": {"weights": {"additive": {"W_E": {"ffd": 1.0 - 0.1 * i}}}}} for i in range(history + 1)))  # fmt: skip
    return run


@pytest.fixture
def root(tiny, tmp_path):
    for seed, first in enumerate((300, 500, None)):
        finished(tmp_path, tiny("a+b", seed=seed), first, 1.0 if first else 0.4)
        finished(tmp_path, tiny("a*b", seed=seed), 400 + seed)
    frozen = dataclasses.replace(tiny("2a+b"), frozen=FrozenConfig(parts=("embedding",)))
    finished(tmp_path, frozen, None, 0.2)
    return tmp_path


def test_filters_and_groups(root):
    table, faults = rows(root)
    assert (len(table), faults) == (7, [])
    ids = lambda *conditions: len(chosen(table, conditions))  # noqa: E731
    assert ids("formula=a+b") == 3
    assert ids("formula=a + b", "outcome=grokked") == 2
    assert ids("first<=400") == 2
    assert ids("first=none") == 2
    assert ids("first!=none", "seed>0") == 3
    assert ids("frozen=embedding") == ids("frozen!=none") == 1
    assert ids("formula~*") == 4
    assert ids("test_accuracy<0.5") == 2
    groups = grouped(table, ["formula"])
    assert {key: len(found) for key, found in groups.items()} == {("2*a + b",): 1, ("a + b",): 3, ("a*b",): 3}
    pair = chosen(table, ["formula=a*b", "seed<2"])
    assert set(differences(pair)) == {"id", "directory", "trajectory", "seed", "first", "sustained", "stable"}
    for bad in ("colour=red", "first", "first<few", "formula<a"):
        with pytest.raises(ConfigError):
            chosen(table, [bad])


def test_runs_that_differ_in_their_bound_are_one_observation(tiny, tmp_path, capsys):
    for seed in (0, 1):
        for steps, first in ((300, None), (900, 700)):
            run = finished(tmp_path, tiny(steps=steps, seed=seed), first)
            run.update(steps=run.record()["steps"] | {"trained": steps})
    frozen = [
        dataclasses.replace(tiny(steps=steps), frozen=FrozenConfig(parts=("embedding",), source=f"run-{steps}"))
        for steps in (300, 900)
    ]
    for config, took in zip(frozen, ("aa", "bb"), strict=True):  # frozen weights of two different runs
        finished(tmp_path, config, 500).update(source={"sha256": took})
    table, _ = rows(tmp_path)
    assert [(each["seed"], each["max_steps"]) for each in longest(table) if not each["frozen"]] == [(0, 900), (1, 900)]
    assert len(longest(table)) == 4
    assert main(["runs", "--out", str(tmp_path), "--group-by", "formula,frozen", "--json"]) == 0
    said = capsys.readouterr()
    groups = {each["frozen"]: (each["grokked"], each["runs"]) for each in json.loads(said.out)["groups"]}
    assert groups == {None: (2, 2), "embedding": (2, 2)}
    assert "left out: 2 shorter runs" in said.err
    for config in frozen:  # the same weights from two sources that differ in their bound
        open_run(tmp_path / run_id(config.name, to_dict(config))).update(source={"sha256": "aa"})
    assert len(longest(rows(tmp_path)[0])) == 3


def test_several_experiments_are_no_sample_of_one(tiny, tmp_path, capsys):
    plain = tiny()
    wide = dataclasses.replace(plain, model=dataclasses.replace(plain.model, width=64))
    for seed in range(3):
        finished(tmp_path, dataclasses.replace(plain, seed=seed), 300)
    assert main(["runs", "--out", str(tmp_path), "--group-by", "formula", "--json"]) == 0
    [group] = json.loads(capsys.readouterr().out)["groups"]
    assert group["mixed"] == [] and (group["grokked"], group["low"]) == (3, pytest.approx(0.4385, abs=1e-3))
    finished(tmp_path, wide, None)
    finished(
        tmp_path,
        dataclasses.replace(plain, frozen=FrozenConfig(parts=("body",), source="a+b-p11-seed7-0123abcd")),
        None,
    )
    assert main(["runs", "--out", str(tmp_path), "--group-by", "formula", "--json"]) == 0
    said = capsys.readouterr()
    [group] = json.loads(said.out)["groups"]
    assert (
        group["mixed"] == ["width", "frozen", "source_run", "afresh", "drawn_by"]
        and group["low"] is group["high"] is None
    )
    assert "differ in width, frozen, source_run" in said.err
    assert (
        main(["runs", "--out", str(tmp_path), "--group-by", "width,source_run", "--where", "width=128", "--json"]) == 0
    )
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [(g["source_run"], g["runs"], g["mixed"]) for g in groups] == [("a+b-p11", 1, []), (None, 3, [])]
    assert (
        main(
            [
                "runs",
                "--out",
                str(tmp_path),
                "--compare",
                *(each["id"] for each in rows(tmp_path)[0] if each["seed"] == 0),
            ]
        )
        == 0
    )
    assert "width" in capsys.readouterr().out


def test_runs_of_other_kinds_are_rows_too(tmp_path):
    """A tuned language model names its source by a text, and has no schedule of its own."""
    run = create_run(
        tmp_path,
        "tuned",
        {"kind": "finetune", "seed": 1, "schedule": "linear", "model": "gpt2", "optimiser": "adamw"},
        {},
        {},
    )
    run.update(source="pretrain-numbers-0to49-seed0-72b99ca1", status="finished")
    create_run(tmp_path, "other", {"kind": "pretrain"}, {}, {})
    assert [(each["kind"], each["max_steps"]) for each in rows(tmp_path)[0]] == [("pretrain", None), ("finetune", None)]


def test_a_run_that_was_broken_off_shows_how_far_it_got(tiny, tmp_path):
    config = tiny()
    run = create_run(tmp_path, config.name, to_dict(config), {}, {})
    run.save_checkpoint(200, {})
    run.update(status="training")
    [found] = rows(tmp_path)[0]
    assert (found["status"], found["outcome"], found["trained"]) == ("training", None, 200)


def test_command_line(root, capsys, tmp_path):
    assert (
        main(
            [
                "runs",
                "--out",
                str(root),
                "--where",
                "outcome=grokked",
                "--sort",
                "first",
                "--descending",
                "--columns",
                "formula,first",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["formula", "first"]
    assert [int(line.split()[-1]) for line in said[1:]] == [500, 402, 401, 400, 300]
    table = [{"afresh": value} for value in (True, False, None)]
    assert chosen(table, ["afresh=true"]) == chosen(table, ["afresh=True"]) == table[:1]
    assert main(["runs", "--out", str(root), "--group-by", "formula", "--json"]) == 0
    found = {g["formula"]: g for g in json.loads(capsys.readouterr().out)["groups"]}
    assert (found["a + b"]["grokked"], found["a + b"]["runs"], found["a + b"]["median"]) == (2, 3, 500)
    assert found["a + b"]["restricted_mean"] == pytest.approx((300 + 500 + 1000) / 3)
    two = [each["id"] for each in chosen(rows(root)[0], ["formula=a*b", "seed<2"])]
    assert main(["runs", "--out", str(root), "--compare", *two]) == 0
    assert "first" in capsys.readouterr().out
    assert main(["runs", "--out", str(root), "--columns", "colour"]) == 2
    assert main(["runs", "--out", str(root), "--export", str(tmp_path / "x.txt")]) == 2
    assert main(["runs", "--out", str(root), "--compare", "nowhere"]) == 2
    assert main(["runs", "--out", str(root / "nowhere")]) == 2
    assert main(["runs", "--out", str(root), "--export", str(tmp_path / "runs.csv")]) == 0
    with (tmp_path / "runs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 7
    assert {each["formula"] for each in table} == {"a + b", "a*b", "2*a + b"}


def test_ids_are_never_cut(root, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["runs", "--out", str(root)]) == 0
    said = capsys.readouterr().out
    assert all(each["id"] in said for each in rows(root)[0])


def test_sql_and_parquet(root, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    from epicycle.runs.sql import query, write_parquet

    table, _ = rows(root)
    names, found = query(
        table, "SELECT formula, count(*) AS n, median(first) AS m FROM runs GROUP BY formula ORDER BY formula"
    )
    assert names == ["formula", "n", "m"]
    assert found == [("2*a + b", 1, None), ("a + b", 3, 400.0), ("a*b", 3, 401.0)]
    _, found = query(table, "SELECT r.id, h.step, h.measures.weights.additive.W_E.ffd FROM runs r JOIN history h USING (id) WHERE r.formula = 'a*b' "
                            "AND r.seed = 0 ORDER BY h.step")  # fmt: skip
    assert [(step, ffd) for _, step, ffd in found] == [(0, 1.0), (100, 0.9), (200, 0.8), (300, pytest.approx(0.7))]
    write_parquet(table, tmp_path / "it's.parquet")
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet('{tmp_path / 'it'!s}''s.parquet')").fetchall() == [(7,)]
    assert json.loads(json.dumps(query(table, "SELECT 1.5 AS x, DATE '2024-01-02' AS d")[1])) == [[1.5, "2024-01-02"]]
    write_parquet(table, tmp_path / "new" / "runs.parquet")
    with pytest.raises(DataError, match="empty query"):
        query(table, " ")
    with pytest.raises(DataError, match="DuckDB refuses"):
        query(table, "SELECT * FROM nothing")
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    for text in (f"SELECT * FROM read_csv('{secret}')", f"COPY runs TO '{tmp_path / 'out.csv'}'"):
        with pytest.raises(DataError):
            query(table, text)
    assert not (tmp_path / "out.csv").exists()


def test_sql_over_hundreds_of_histories_with_different_columns(tmp_path):
    """DuckDB sets 32 MiB and more aside for each file that it reads: 600 would be 19 GB."""
    pytest.importorskip("duckdb")
    from epicycle.runs.query import COLUMNS
    from epicycle.runs.sql import query

    table = []
    for i in range(600):
        folder = tmp_path / f"run-{i:03}"
        folder.mkdir()
        more = ', "measures": {"late": {"value": 0.5}}' if i == 599 else ""
        (folder / "history.jsonl").write_text(f'{{"step": 0{more}}}\n{{"step": {i}}}\n{{"step": 7')
        table.append(dict.fromkeys(COLUMNS) | {"id": folder.name, "directory": str(folder)})
    text = "SELECT count(*), count(DISTINCT id), sum(step), max(measures.late.value) FROM history"
    assert query(table, text)[1] == [(1200, 600, sum(range(600)), 0.5)]


def test_a_torn_history_and_a_broken_record_hide_nothing_else(root, capsys):
    pytest.importorskip("duckdb")
    some, other = [each["directory"] for each in rows(root)[0][:2]]
    with (Path(some) / "history.jsonl").open("a") as file:
        file.write('{"step": 4')
    (Path(other) / "run.json").write_text("{")
    assert main(["runs", "--out", str(root), "--sql", "SELECT count(DISTINCT id) FROM history", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == [[6]]
    assert "cannot be read" in said.err


@pytest.mark.slow
def test_two_thousand_runs_are_listed_within_a_second(tiny, tmp_path):
    import shutil

    first = finished(tmp_path, tiny("a+b"), 300)
    for i in range(1999):
        shutil.copytree(first.path, tmp_path / f"a+b-p11-seed{i}-{i:08x}")
    began = time.perf_counter()
    table, _ = rows(tmp_path)
    assert len(chosen(table, ["first<400", "formula~a"])) == 2000
    assert time.perf_counter() - began < 5  # a guard; the bar of one second is in the benchmark


def test_what_is_exported_is_what_is_shown(root, tmp_path, capsys):
    out = ["runs", "--out", str(root)]
    table = tmp_path / "t.csv"
    assert main([*out, "--limit", "2", "--columns", "id,formula", "--export", str(table)]) == 0
    lines = table.read_text().splitlines()
    assert lines[0] == "id,formula" and len(lines) == 3
    assert main([*out, "--group-by", "formula", "--export", str(table)]) == 0
    assert table.read_text().startswith("formula,runs,grokked")
    ids = [line.split(",")[0] for line in lines[1:]]
    assert main([*out, "--compare", *ids, "--export", str(table)]) == 0
    assert table.read_text().splitlines()[0] == f"column,{ids[0]},{ids[1]}"
    capsys.readouterr()
    assert main([*out, "--compare", ids[0], ids[0]]) == 2
    assert main([*out, "--group-by", "formula", "--export", str(tmp_path / "t.parquet")]) == 2
    assert main(["runs", "--out", ""]) == 2
    assert "two different ones" in (said := capsys.readouterr().err) and ".csv" in said and "empty --out" in said


@pytest.mark.parametrize("way", [["--group-by", "formula"], ["--sql", "SELECT 1"], ["--compare", "x", "y"]])
@pytest.mark.parametrize("more", [["--limit", "1"], ["--sort", "first"], ["--columns", "id"]])
def test_what_is_for_the_list_of_runs_cuts_no_sample(root, capsys, way, more):
    """Groups of the first few runs by outcome would have rates, and intervals, of their own choice."""
    assert main(["runs", "--out", str(root), *way, *more]) == 2
    assert f"got {way[0]} with {more[0]}, which is for the list of runs" in capsys.readouterr().err


def test_runs_of_one_seed_from_two_sources_are_no_sample():
    from epicycle.runs.query import SETTINGS, lender, mixed

    same = dict.fromkeys(SETTINGS, 1)
    runs = [same | {"seed": seed, "split_seed": seed, "source": source} for seed, source in ((0, "p"), (0, "q"), (1, "r"))]  # fmt: skip
    assert mixed(runs) == ["source"] and mixed(runs[1:]) == []
    assert mixed([runs[0], runs[0]]) == ["settings that have no column"]  # such as how often checkpoints are kept
    assert lender(runs) is None and lender(runs[:1]) is None
    assert lender([each | {"source": "p"} for each in runs]) == "p"
    assert lender([each | {"source": None} for each in runs]) is None


def test_parts_have_one_order():
    assert FrozenConfig(parts=("body", "embedding")) == FrozenConfig(parts=("embedding", "body"))


def test_conditions_know_formulas_and_numbers(root, capsys):
    def count(*words):
        assert main(["runs", "--out", str(root), "--json", *words]) == 0
        return len(json.loads(capsys.readouterr().out)["runs"])

    everything = count()
    assert 0 < count("--where", "formula~a+b") == count("--where", "formula~a + b") < everything
    assert count("--where", "formula=a+b") == count("--where", "formula = a + b") > 0
    assert count("--where", "formula=ab") == count("--where", "formula=a*b") > 0
    assert main(["runs", "--out", str(root), "--json", "--sql", "SELECT count(*) FROM HISTORY"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0][0] > 0
    for words, said in (
        (["--where", "first<abc"], "a number with 'abc'"),
        (["--descending"], "without --sort"),
        (["--group-by", "formula", "--sql", "SELECT 1"], "--sql and --group-by"),
        (["--sql", "SELECT 1", "--export", "x.parquet"], "ends in .csv"),
    ):
        assert main(["runs", "--out", str(root), *words]) == 2
        shown = capsys.readouterr()
        assert said in shown.err and not shown.out
