"""Several ledgers graded together: the committed ones cut apart and pooled again, and ledgers made by hand."""

import copy
import json
from pathlib import Path

import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError
from epicycle.studies.furuta2024_claims import CELLS, CLAIMS, HELPED
from epicycle.studies.pool import Pooled, pooled, read_ledgers, trainings
from epicycle.studies.zhou2024_claims import CLAIMS as ZHOU2024

RESULTS = Path(__file__).parents[1] / "docs" / "results"
FURUTA2024 = (*CLAIMS, *HELPED, *CELLS)


def ledger(
    path: Path, readings, *, bound=300_000, runs=(), rule=None, min_steps=10_000, verdict="undetermined"
) -> Path:
    """A file with claim C1a."""
    claim = next(c for c in CLAIMS if c.id == "C1a")
    blank = {"value": None, "control": None, "holds": None, "note": "", "what": "", "is_censored": False, "missing": ""}
    numbers = {
        "preset": {"name": "full", "seeds": [r["seed"] for r in readings], "max_steps": bound, "min_steps": min_steps, "hold_evaluations": 20},
        "command": "epicycle reproduce furuta2024", "provenance": {"revision": "abc"},
        "claims": [{"id": "C1a", "statement": claim.statement, "source": claim.source, "verdict": verdict, "published": claim.published, "measured_is": claim.measured,
                    "control_is": claim.control, "rule": rule or claim.rule, "readings": [blank | r for r in readings], "rerun": f"again {bound}"}],
        "runs": [{"condition": claim.conditions[0]._asdict(), "label": "a + b", "seed": seed, "steps": {"first": first, "trained": trained}, "final": {"test_accuracy": 0.5},
                  "provenance": {}, "source": None} for seed, first, trained in runs],
    }  # fmt: skip
    path.write_text(json.dumps(numbers))
    return path


def pool(*paths: Path) -> Pooled:
    (found,) = pooled(read_ledgers(paths), FURUTA2024)
    return found


def holds(seed, value=True):
    return {"seed": seed, "value": 1.0 if value else 0.5, "control": 0.3, "holds": value}


def is_open(seed, value=0.7):
    return {"seed": seed, "value": value, "control": 0.3, "is_censored": True}


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("furuta2024-laptop-subset", FURUTA2024),
        ("furuta2024-full-so-far", FURUTA2024),
        ("furuta2024-full-subtraction", FURUTA2024),
        ("furuta2024-quick", FURUTA2024),
        ("zhou2024-laptop", ZHOU2024),
    ],
)
def test_a_ledger_cut_by_seeds_and_pooled_is_the_ledger(name, claims, tmp_path):
    whole = json.loads((RESULTS / f"{name}.json").read_text())
    seeds = {r["seed"] for entry in whole["claims"] for r in entry["readings"]}
    for seed in seeds:
        part = copy.deepcopy(whole)
        for entry in part["claims"]:
            entry["readings"] = [r for r in entry["readings"] if r["seed"] == seed]
        part["runs"] = [run for run in part.get("runs", []) if run["seed"] == seed]
        (tmp_path / f"seed-{seed}.json").write_text(json.dumps(part))
    found = pooled(read_ledgers(sorted(tmp_path.glob("seed-*.json"))), claims)
    before = {entry["id"]: entry for entry in whole["claims"]}
    assert {each.entry.claim.id for each in found} == set(before)
    for each in found:
        own, old = each.as_json(), before[each.entry.claim.id]
        assert (own["verdict"], own["measured"], own["interval"], own["control"], own["seeds"]) == tuple(
            old[key] for key in ("verdict", "measured", "interval", "control", "seeds")
        )
        assert set(each.ledgers) <= {f"seed-{seed}" for seed in seeds}
        for reading in own["readings"]:
            assert reading["ledger"] == f"seed-{reading['seed']}"


def test_seeds_of_different_places_make_a_verdict(tmp_path):
    here = ledger(tmp_path / "here.json", [holds(0), is_open(1)], runs=[(1, None, 20_000)])
    there = ledger(tmp_path / "there.json", [holds(2)])
    assert pool(here, there).entry.verdict == "undetermined"
    more = ledger(tmp_path / "more.json", [holds(1)])
    found = pool(here, there, more)
    assert (found.entry.verdict, found.ledgers, found.otherwise) == ("confirmed", ("here", "more", "there"), ())
    never = ledger(tmp_path / "never.json", [holds(1, False)])
    found = pool(here, there, never)
    assert found.entry.verdict == "undetermined" and "2 of 3" in found.entry.reason


def test_which_ledger_a_seed_is_taken_from_does_not_depend_on_what_it_says(tmp_path):
    yes = ledger(tmp_path / "yes.json", [holds(0)], runs=[(0, 2000, 10_000)])
    no = ledger(tmp_path / "no.json", [holds(0, False)], runs=[(0, None, 300_000)])
    for first, second in ((yes, no), (no, yes)):  # equal looks: the first given
        found = pool(first, second)
        assert found.ledgers == (first.stem,)
        assert found.otherwise == (
            f"seed 0: {'the rule holds' if first is yes else 'it does not hold'} in {first.stem}, {'the rule holds' if second is yes else 'it does not hold'} in {second.stem}",
        )
    brief = ledger(tmp_path / "brief.json", [holds(0, False)], bound=20_000, runs=[(0, None, 20_000)])
    assert pool(brief, yes).ledgers == ("yes",)
    assert pool(brief, no).ledgers == ("no",)
    short = ledger(tmp_path / "short.json", [is_open(0)], runs=[(0, None, 20_000)])
    long = ledger(tmp_path / "long.json", [is_open(0, 0.8)], runs=[(0, None, 100_000)])
    absent = ledger(tmp_path / "absent.json", [{"seed": 0, "is_censored": True, "missing": "all"}])
    assert pool(absent, short, long).ledgers == ("long",)
    assert pool(absent, short).ledgers == ("short",)
    assert pool(long, no, short).ledgers == ("no",)  # final rather than open


def test_only_readings_of_one_rule_and_one_setting_are_pooled(tmp_path):
    now = ledger(tmp_path / "now.json", [holds(0)], bound=8_000)
    earlier = ledger(tmp_path / "earlier.json", [holds(1)], min_steps=4_000)
    old = ledger(tmp_path / "old.json", [holds(2)], rule="0.9 somewhere", verdict="confirmed")
    found = pool(now, earlier, old)
    assert found.ledgers == ("earlier",)  # looked at longest
    assert found.otherwise == (
        "undetermined in now, which is not pooled: its settings are others: min_steps 10000",
        "confirmed in old, which is not pooled: its rule is 0.9 somewhere",
    )
    found = pool(old)
    assert found.entry.claim.rule == "0.9 somewhere" and found.otherwise[0].startswith("today's rule is another: 0.99")
    assert found.as_json()["measured_is"] == "lowest best test accuracy"
    unrun = ledger(tmp_path / "unrun.json", [], verdict="not run")
    assert pool(old, unrun).ledgers == ("old",)


def test_a_seed_that_went_two_ways_is_two_trainings(tmp_path):
    one = ledger(tmp_path / "one.json", [holds(0)], runs=[(0, 5_000, 10_000), (1, None, 4_000), (2, None, 9_000)])
    two = ledger(tmp_path / "two.json", [is_open(0)], runs=[(0, None, 30_000), (1, 6_000, 8_000), (2, None, 20_000)])
    found = [(t.run["seed"], t.first, t.trained, t.ledger) for t in trainings(read_ledgers([one, two]))]
    assert found == [(0, 5_000, 10_000, "one"), (0, None, 30_000, "two"), (1, 6_000, 8_000, "two"), (2, None, 20_000, "two")]  # fmt: skip


def test_pooling_from_the_command_line(tmp_path, capsys, browse):
    hostile = {**holds(1), "note": "<script>console.log('CONSOLE')</script>"}
    here, there = ledger(tmp_path / "here.json", [holds(0)], runs=[(0, 2000, 10_000)]), ledger(tmp_path / "there.json", [hostile, holds(2)])  # fmt: skip
    words = ["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--pool", str(here), str(there)]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [(c["id"], c["verdict"], c["seeds"]) for c in found["claims"]] == [("C1a", "confirmed", 3)]
    assert "C1a confirmed" in said.err
    page = Path(found["report"])
    done = browse(page, "--dump-dom")
    assert "CONSOLE" not in done.stderr and "0 of here; 1, 2 of there" in done.stdout
    before = json.loads(page.with_suffix(".json").read_text())
    assert [each["name"] for each in before["pooled"]] == ["here", "there"] and before["command"].endswith(
        f"--pool {here} {there}"
    )
    here.unlink()  # the run keeps a copy
    assert main(["report", str(page.parent)]) == 0
    assert json.loads(page.with_suffix(".json").read_text()) == before
    capsys.readouterr()
    assert main(["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--pool", str(page.parent)]) == 2
    assert "report.json of a finished" in capsys.readouterr().err


def test_bad_ledgers_are_one_sentence(tmp_path, capsys):
    good = ledger(tmp_path / "good.json", [holds(0)])
    torn, half = tmp_path / "torn.json", tmp_path / "half.json"
    torn.write_text(good.read_text()[:-40])
    numbers = json.loads(good.read_text())
    del numbers["claims"][0]["rule"]
    half.write_text(json.dumps(numbers))
    (tmp_path / "other").mkdir()
    twice = ledger(tmp_path / "other" / "good.json", [holds(1)])
    same = tmp_path / "same.json"
    same.write_bytes(good.read_bytes())
    zhou = RESULTS / "zhou2024-laptop.json"
    for paths, said in (
        ([tmp_path / "nowhere.json"], "nowhere.json; expected the report.json"),
        ([tmp_path], "report.json; expected the report.json"),
        ([torn], "torn.json; expected"),
        ([good, half], "half.json; expected"),
        ([good, twice], "two ledgers named good"),
        ([good, same], "same.json, which is good again"),
        ([good, zhou], "ledgers of furuta2024 and zhou2024"),
        ([zhou], "Name zhou2024 instead"),
        ([RESULTS / "number-text-laptop.json"], "expected the report.json"),
        ([good, "--seeds", "3"], "--pool with --seeds"),
        ([good, "--no-train"], "--pool with --no-train"),
        ([good, "--only", "C99"], "C99"),
    ):
        words = ["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--pool", *map(str, paths)]
        assert main(words) == 2, paths
        assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError):
        read_ledgers([good, good])
