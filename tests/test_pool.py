"""Several ledgers graded together: the committed ones cut apart and pooled again, and ledgers made by hand."""

import copy
import json
from pathlib import Path

import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError
from epicycle.report.pool import reservations
from epicycle.studies.furuta2024_claims import CELLS, CLAIMS, HELPED
from epicycle.studies.pool import Pooled, looking_at, pooled, trainings, ungraded
from epicycle.studies.stored import read_ledgers
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
    assert (found.entry.verdict, found.ledgers, found.apart) == ("confirmed", ("here", "more", "there"), ())
    never = ledger(tmp_path / "never.json", [holds(1, False)])
    found = pool(here, there, never)
    assert found.entry.verdict == "undetermined" and "2 of 3 seeds" in found.entry.reason


def test_readings_of_one_seed_that_differ_all_count(tmp_path):
    """A verdict never depends on the order of ledgers, nor on which of two trainings of a seed ended first."""
    three = ledger(tmp_path / "three.json", [holds(s) for s in (0, 1, 2)], runs=[(s, 5_000, 10_000) for s in (0, 1, 2)])
    no = ledger(tmp_path / "no.json", [holds(2, False)], runs=[(2, None, 300_000)])
    for first, second in ((three, no), (no, three)):
        found = pool(first, second)
        assert found.entry.verdict == "undetermined"
        assert "the rule holds in 3 of 4 trainings of 3 seeds" in found.entry.reason
        assert sorted(r.seed for r in found.entry.readings) == [0, 1, 2, 2]
    again = ledger(tmp_path / "again.json", [holds(2)], runs=[(2, 7_000, 10_000)])
    found = pool(three, again)  # a second training that says the same is no fourth seed
    assert (found.entry.verdict, found.ledgers) == ("confirmed", ("three", "three", "three"))
    late = ledger(tmp_path / "late.json", [is_open(2)], runs=[(2, None, 299_900)])
    found = pool(three, late)  # open long after the other had grokked: another training
    assert found.entry.verdict == "undetermined" and "1 of 4 were not looked at long enough" in found.entry.reason
    assert "another training of this seed" in found.entry.readings[-1].note
    early = ledger(tmp_path / "early.json", [is_open(2)], runs=[(2, None, 4_900)])
    found = pool(early, three)  # it may be the beginning of the same
    assert (found.entry.verdict, found.ledgers) == ("confirmed", ("three", "three", "three"))


def test_what_can_tell_nothing_hides_no_reading(tmp_path):
    """A final reading without an answer stands back behind one with an answer, whichever, and is more than an open one."""
    nothing = {"seed": 1, "note": "nothing to follow"}
    some = ledger(tmp_path / "some.json", [holds(0), holds(1, False), holds(2), holds(3)], bound=100_000)
    final = ledger(tmp_path / "final.json", [nothing], runs=[(1, None, 300_000)])
    for first, second in ((some, final), (final, some)):
        assert "3 of 4 seeds" in pool(first, second).entry.reason
    open_ = ledger(tmp_path / "open.json", [is_open(1)], runs=[(1, None, 100_000)])
    rest = ledger(tmp_path / "rest.json", [holds(0), holds(2), holds(3)])
    assert pool(open_, rest).entry.verdict == "undetermined"
    assert pool(open_, rest, final).entry.verdict == "confirmed"
    short = ledger(tmp_path / "short.json", [is_open(1)], runs=[(1, None, 20_000)])
    assert pool(short, open_).ledgers == ("open",)
    absent = ledger(tmp_path / "absent.json", [{"seed": 1, "is_censored": True, "missing": "all"}])
    assert pool(absent, short).ledgers == ("short",)
    never = ledger(tmp_path / "never.json", [{"seed": s, "is_censored": True, "missing": "all"} for s in (4, 5)], verdict="not run")  # fmt: skip
    assert pool(rest, never).entry.verdict == "confirmed"  # a ledger that never ran it has no part in it
    assert pool(never).entry.verdict == "not run"


def test_only_readings_of_one_rule_and_one_setting_are_pooled(tmp_path):
    now = ledger(tmp_path / "now.json", [holds(0)], bound=100_000)
    earlier = ledger(tmp_path / "earlier.json", [holds(1)], min_steps=4_000)
    brief = ledger(tmp_path / "brief.json", [holds(3)], bound=20_000)
    old = ledger(tmp_path / "old.json", [holds(s) for s in range(4)], rule="0.9 somewhere", verdict="confirmed")
    found = pool(now, earlier, old, brief)
    assert found.ledgers == ("now",)  # as many seeds as the other, weights read later
    assert found.apart == (
        "undetermined in earlier, which is not pooled: its settings are others: min_steps 4000, weights read up to step 24000",
        "confirmed in old, which is not pooled: its rule is 0.9 somewhere",
        "undetermined in brief, which is not pooled: its settings are others: weights read up to step 20000",
    )
    more = ledger(tmp_path / "more.json", [holds(2)], bound=300_000)  # the same settings as `now`
    assert pool(now, earlier, old, brief, more).ledgers == ("now", "more")
    found = pool(old)
    assert found.entry.claim.rule == "0.9 somewhere" and found.apart[0].startswith("today it is another: a + b groks")
    assert found.as_json()["measured_is"] == "lowest best test accuracy"


def test_a_seed_more_does_not_outweigh_weights_read_too_early(tmp_path):
    late = ledger(tmp_path / "late.json", [holds(0), holds(1, False), holds(2)])
    early = ledger(tmp_path / "early.json", [holds(s) for s in range(4)], min_steps=4_000)
    assert pool(late, early).entry.verdict == pool(early, late).entry.verdict == "undetermined"
    brief = ledger(
        tmp_path / "brief.json", [holds(s) for s in range(4)], bound=20_000
    )  # what is read late is read at its end
    assert pool(late, brief).entry.verdict == "undetermined"
    one = ledger(tmp_path / "one.json", [holds(0)], min_steps=20_000)
    assert pool(one, early).entry.verdict == "confirmed"  # one seed is no verdict, however late it is read


def test_a_bound_beyond_the_papers_is_no_ledger_of_the_paper(tmp_path):
    """Its claims are that something groks, or not, within 300,000 steps."""
    with pytest.raises(ConfigError, match="300,001 steps, where the paper gives a run up after 300,000"):
        read_ledgers([ledger(tmp_path / "long.json", [holds(0)], bound=300_001)])


def test_one_reading_that_needs_no_seeds_is_disputed_both_ways(tmp_path):
    """C35 is told by one reading: of two that contradict each other none wins."""
    base = json.loads(ledger(tmp_path / "x.json", [holds(0)]).read_text())
    claim = next(c for c in CLAIMS if c.id == "C35")
    for name, value in (("yes", True), ("no", False)):
        entry = base["claims"][0] | {"id": "C35", "statement": claim.statement, "rule": claim.rule, "readings": [holds(0, value) | {"note": ""}]}  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(base | {"claims": [entry], "runs": []}))
    assert pool(tmp_path / "yes.json").entry.verdict == "confirmed"
    for order in (("yes", "no"), ("no", "yes")):
        assert pool(*(tmp_path / f"{name}.json" for name in order)).entry.verdict == "undetermined"


def test_which_claims_rest_on_one_training_and_which_are_not_graded():
    """By the committed ledger of subtraction: a - b of seed 1 never grokked, and all that looks at a - b has it."""
    ledgers = read_ledgers([RESULTS / "furuta2024-full-subtraction.json"])
    found = pooled(ledgers, FURUTA2024)
    (never,) = [t for t in trainings(ledgers) if t.seed == 1 and t.trained == 300_000]
    assert looking_at(found, never, ledgers) == ["C1b", "C2a", "C11b", "C12b", "C21b", "C24a", "C34b", "C34d"]
    (product,) = [
        t for t in trainings(ledgers) if t.seed == 1 and t.condition.formulas == ("a*b",) and not t.condition.parts
    ]
    assert looking_at(found, product, ledgers) == ["C2a", "C24a"]
    missing = ungraded(found, FURUTA2024)
    assert missing[:2] == ["C1a", "C1c"] and missing[-2:] == ["35 of A5", "96 of T1"] and "C2a" not in missing
    assert ungraded(pooled(ledgers, CLAIMS), [c for c in CLAIMS if c.id in ("C1b", "C2a")]) == []


def test_what_is_not_pooled_is_said_beside_the_counts(tmp_path):
    """Three seeds hold, read after step 10,000; a quicker ledger says the contrary and is no part of it, nor are its trainings."""
    whole = ledger(tmp_path / "whole.json", [holds(s) for s in range(3)], runs=[(0, 5_000, 10_000)], verdict="confirmed")  # fmt: skip
    quick = ledger(tmp_path / "quick.json", [holds(s, False) for s in range(3)], runs=[(0, 5_200, 6_000)], min_steps=4_000, verdict="refuted")  # fmt: skip
    older = ledger(tmp_path / "older.json", [holds(s) for s in range(3)], rule="0.98", verdict="confirmed")
    ledgers = read_ledgers([whole, quick])
    found = pooled(ledgers, FURUTA2024)
    assert found[0].entry.verdict == "confirmed" and found[0].elsewhere == (("refuted", "quick"),)
    assert reservations(found, ledgers) == (
        "No reading is taken from quick.",
        "Ledgers whose rule or settings are others, and that are not pooled, say otherwise of C1a (refuted in quick).",
    )
    assert [(t.ledger, looking_at(found, t, ledgers)) for t in trainings(ledgers)] == [("whole", ["C1a"]), ("quick", [])]  # fmt: skip
    assert reservations(pooled(ledgers[:1], FURUTA2024), ledgers[:1]) == ()
    ledgers = read_ledgers([older])
    assert reservations(pooled(ledgers, FURUTA2024), ledgers) == ("Graded by the rule of their ledger, which is another today: C1a.",)  # fmt: skip


def test_models_of_other_settings_are_not_pooled(tmp_path):
    """Claims of zhou2024 name no conditions: what they depend on is in the ledger's settings alone."""
    whole = json.loads((RESULTS / "zhou2024-laptop.json").read_text())
    other = copy.deepcopy(whole)
    for entry in other["claims"]:
        entry["readings"] = [reading | {"seed": reading["seed"] + 10} for reading in entry["readings"]]
    (tmp_path / "one.json").write_text(json.dumps(whole))
    (tmp_path / "two.json").write_text(json.dumps(other))
    same = pooled(read_ledgers([tmp_path / "one.json", tmp_path / "two.json"]), ZHOU2024)
    assert any(set(each.ledgers) == {"one", "two"} for each in same)
    other["config"] |= {"largest": 99}
    (tmp_path / "two.json").write_text(json.dumps(other))
    apart = pooled(read_ledgers([tmp_path / "one.json", tmp_path / "two.json"]), ZHOU2024)
    assert all(len(set(each.ledgers)) <= 1 for each in apart)


def test_a_seed_that_went_two_ways_is_two_trainings(tmp_path):
    one = ledger(tmp_path / "one.json", [holds(0)], runs=[(0, 5_000, 10_000), (1, None, 4_000), (2, None, 9_000)])
    two = ledger(tmp_path / "two.json", [is_open(0)], runs=[(0, None, 30_000), (1, 6_000, 8_000), (2, None, 20_000)])
    found = [(t.seed, t.first, t.trained, t.ledger) for t in trainings(read_ledgers([one, two]))]
    assert found == [(0, 5_000, 10_000, "one"), (0, None, 30_000, "two"), (1, 6_000, 8_000, "two"), (2, None, 20_000, "two")]  # fmt: skip
    three = ledger(tmp_path / "three.json", [holds(0)], runs=[(0, 5_000, 8_000), (0, 5_200, 9_000), (1, None, 6_000)])
    found = [(t.seed, t.first, t.trained) for t in trainings(read_ledgers([one, two, three]))]
    assert found[:5] == [(0, 5_000, 10_000), (0, 5_200, 9_000), (0, None, 30_000), (1, 6_000, 8_000), (1, None, 6_000)]


def test_two_beginnings_beside_one_checkpoint_are_two_trainings(tmp_path):
    """One drawn by the bytes of the checkpoint, one by its run: the shorter is no beginning of the longer."""
    paths = []
    for name, trained, source in (("old", 20_000, {}), ("new", 30_000, {"lineage": "01234567"})):
        path = ledger(tmp_path / f"{name}.json", [is_open(0)], runs=[(0, None, trained)])
        numbers = json.loads(path.read_text())
        numbers["runs"][0]["source"] = {"id": "a+b", "sha256": "ab" * 32, "step": 10_000, **source}
        path.write_text(json.dumps(numbers))
        paths.append(path)
    assert [t.trained for t in trainings(read_ledgers(paths))] == [20_000, 30_000]


@pytest.mark.parametrize("paper", ["furuta2024", "zhou2024"])
def test_the_order_of_committed_ledgers_changes_no_verdict(paper):
    paths = sorted(RESULTS.glob(f"{paper}-*.json"))
    claims = FURUTA2024 if paper == "furuta2024" else ZHOU2024
    ways = [
        {each.entry.claim.id: (each.entry.verdict, each.entry.reason.split(". ")[0]) for each in pooled(read_ledgers(order), claims)}
        for order in (paths, paths[::-1], paths[1:] + paths[:1])
    ]  # fmt: skip
    assert ways[0] == ways[1] == ways[2] and len(ways[0]) > 20


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
    (tmp_path / "report").mkdir()  # a directory's name is the ledger's, even this one
    (tmp_path / "report" / "report.json").write_text(there.read_text())
    assert main([*words[:4], "--pool", str(tmp_path / "report"), "--only", "C1", "--json"]) == 0
    page = Path(json.loads(capsys.readouterr().out)["report"]).with_suffix(".json")
    before = json.loads(page.read_text())
    assert main(["report", str(page.parent)]) == 0
    assert json.loads(page.read_text()) == before and before["claims"][0]["readings"][0]["ledger"] == "report"


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
        (
            [tmp_path / "nowhere.json"],
            "nowhere.json', which cannot be read (No such file or directory); expected the report.json",
        ),
        ([tmp_path], "report.json', which cannot be read (No such file or directory); expected the report.json"),
        ([torn], "torn.json', which is no JSON; expected"),
        ([good, half], "half.json', which has no 'rule' where a ledger has one; expected"),
        ([good, twice], "two ledgers named good"),
        ([good, same], "same.json, which is good again"),
        ([good, zhou], "ledgers of furuta2024 and zhou2024"),
        ([zhou], "Name zhou2024 instead"),
        ([RESULTS / "number-text-laptop.json"], "expected the report.json"),
        ([good, "--seeds", "3"], "--pool with --seeds"),
        ([good, "--no-train"], "--pool with --no-train"),
        ([good, "--preset", "full"], "--pool with --preset"),
        ([good, "--engine", "ray"], "--pool with --engine"),
        ([good, "--max-steps", "0"], "--pool with --max-steps"),
        ([tmp_path / ("long" * 100)], "expected the report.json"),
        ([good, "--only", "C99"], "C99"),
    ):
        words = ["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--pool", *map(str, paths)]
        assert main(words) == 2, paths
        assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError):
        read_ledgers([good, good])


@pytest.mark.parametrize("change", [
    lambda n: n.update(claims={}), lambda n: n.update(claims=[]), lambda n: n.update(preset=[]), lambda n: n.update(preset="quick"),
    lambda n: n["preset"].update(max_steps=None), lambda n: n["preset"].update(max_steps=float("nan")), lambda n: n.update(command=3), lambda n: n.update(provenance=[]),
    lambda n: n["claims"][0].update(id=["C1a"]), lambda n: n["claims"][0].update(verdict="true"), lambda n: n["claims"][0].update(statement="\x1b[31mred"),
    lambda n: n["claims"][0]["readings"][0].update(seed="0"), lambda n: n["claims"][0]["readings"][0].update(seed=0.5), lambda n: n["claims"][0]["readings"][0].update(seed=True),
    lambda n: n["claims"][0]["readings"][0].update(holds="False"), lambda n: n["claims"][0]["readings"][0].update(value="1"),
    lambda n: n["claims"][0]["readings"][0].update(value=10**400), lambda n: n["claims"][0]["readings"][0].update(control=float("inf")),
    lambda n: n["claims"][0]["readings"][0].update(what=["x"]), lambda n: n["claims"][0]["readings"][0].update(missing="most"), lambda n: n["claims"][0]["readings"][0].update(note="\ud800"),
    lambda n: n["claims"][0].update(readings=2 * n["claims"][0]["readings"]), lambda n: n["runs"][0]["steps"].update(trained="many"), lambda n: n["runs"][0]["final"].update(test_accuracy=None),
    lambda n: n["runs"][0].update(source="x"), lambda n: n["runs"][0]["condition"].update(fraction="0.3"),
])  # fmt: skip
def test_wrong_types_are_refused_before_anything_is_written(tmp_path, capsys, change):
    numbers = json.loads(ledger(tmp_path / "a.json", [holds(0)], runs=[(0, 2_000, 10_000)]).read_text())
    change(numbers)
    (tmp_path / "a.json").write_text(json.dumps(numbers))
    words = ["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--pool", str(tmp_path / "a.json")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "expected the report.json" in error and "\x1b" not in error
    assert not (tmp_path / "runs").exists()


def test_deep_nesting_and_a_bound_beyond_the_paper_are_refused(tmp_path, capsys):
    (tmp_path / "deep.json").write_text("[" * 200_000)
    assert (
        main(["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--pool", str(tmp_path / "deep.json")]) == 2
    )
    assert "expected the report.json" in capsys.readouterr().err
    assert main(["reproduce", "furuta2024", "--out", str(tmp_path / "runs"), "--max-steps", "400000", "--plan"]) == 2
    assert "at most the 300,000" in capsys.readouterr().err and not (tmp_path / "runs").exists()
