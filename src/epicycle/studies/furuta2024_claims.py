"""The claims of Furuta et al. 2024 as data: statement, source, what has to be run, measure, control, rule, published value.

To add a claim: one entry in CLAIMS, with a measure from `furuta2024_accuracy`, `furuta2024_spectra` or `furuta2024_times`, or a new one there.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from epicycle.studies.furuta2024 import Study, hindered, scratch, transfer
from epicycle.studies.furuta2024_accuracy import (
    does_not,
    faster,
    groks,
    hastened,
    helped,
    mixture,
    order,
    plateaus,
    smallest_fraction,
)
from epicycle.studies.furuta2024_published import FRACTIONS, SMALLEST, SOURCES, published_cell
from epicycle.studies.furuta2024_readings import MINUS, PLUS, TIMES, Measure, several
from epicycle.studies.furuta2024_spectra import (
    FALLS,
    always_dense,
    bias,
    dependents,
    labels_do_not_tell,
    moves,
    parity,
    restricted,
    same_pattern,
    uses_sine,
)
from epicycle.studies.furuta2024_times import earlier_fall, inflections, no_inflections, thresholds
from epicycle.studies.ledger import Claim, Entry, Reading, grade, names_of
from epicycle.sweep.grid import Condition
from epicycle.tasks.operation_names import OPERATIONS

LINEAR = tuple(OPERATIONS["linear"].values())
LATER = (*LINEAR, "a*b + b", "a*b - b", "a^2 - b", "(a - b)^3")
"""Formulas that grok from more than 30 % alone."""


def _smallest(formula: str) -> float:
    """The smallest fraction from which a formula groks in Table A.5."""
    return next(r for r in FRACTIONS if published_cell(formula, r) == "groks")


def _claim(name: str, statement: str, source: str, published: str, measured: str, control: str, rule: str, measure: Measure,
           *conditions: Condition) -> Claim:  # fmt: skip
    def every_seed(study: Study) -> list[Reading]:
        return [measure(study, seed) for seed in study.preset.seeds]

    return Claim(
        name, statement, source, published, measured, control, rule, "more seeds, or more steps", every_seed, conditions
    )


def _groks(name: str, statement: str, source: str, *conditions: Condition) -> Claim:
    return _claim(name, statement, source, "groks (3 seeds, averaged)", "lowest best test accuracy", "best by looking up", "0.99 in every condition, within 300,000 steps; one that looking up alone brings there tells nothing",
                  partial(groks, conditions), *conditions)  # fmt: skip


def _fails(name: str, statement: str, source: str, published: str, *conditions: Condition, bands: Sequence[tuple[float, float]] = (),
           where: str = "") -> Claim:  # fmt: skip
    return _claim(name, statement, source, published, "highest best test accuracy", "best by looking up", f"below 0.99 for 300,000 steps{where}",
                  partial(does_not, conditions, bands=bands), *conditions)  # fmt: skip


def _near(*published: float) -> dict[str, Any]:
    """Options of `_fails`: each best test accuracy within five points of the published one (percent)."""
    return {
        "bands": tuple((each / 100 - 0.05, each / 100 + 0.05) for each in published),
        "where": ", the best within five points of the published",
    }


def _at_most(*published: float) -> dict[str, Any]:
    """Options of `_fails`: no best test accuracy more than five points above the published one (percent)."""
    return {
        "bands": tuple((0.0, each / 100 + 0.05) for each in published),
        "where": ", the best at most five points above the published",
    }


FALLING = f" (falls: to {FALLS} of its initial value or less; stays: above that)"


def _moves(
    name: str,
    statement: str,
    source: str,
    condition: Condition,
    *expected: tuple[str, str, str],
    needs_grok: bool = True,
) -> Claim:
    rule = ", ".join(f"{measure.upper()}({site}) {what}" for site, measure, what in expected) + FALLING
    return _claim(name, statement, source, "shown in curves", "final value (the least favourable)", "its initial value", rule,
                  partial(moves, condition, expected, needs_grok=needs_grok), condition)  # fmt: skip


def _faster(
    name: str, statement: str, *pairs: tuple[Condition, Condition], factor: float = 1.0, is_slower: bool = False
) -> Claim:
    rule = (
        f"{'later' if is_slower else 'earlier'} than from scratch{f' by a factor of {factor:g}' if is_slower else ''}"
    )
    conditions = tuple(dict.fromkeys(c for pair in pairs for c in pair))
    return _claim(
        name,
        statement,
        "section 6.1, Fig. 2",
        "shown in bars",
        "step at which it grokked over that from scratch, the least favourable pair",
        "from scratch with another seed over the same",
        rule,
        partial(hastened, pairs, factor=factor, is_slower=is_slower),
        *conditions,
    )


POWERS = tuple(scratch(f"a^{n} + b^{n}") for n in range(2, 8))
SUMS = {n: scratch(f"(a + b)^{n}") for n in range(2, 8)}
ELEMENTARY = ("a + b", "a - b", "a*b")
RANDOM_EMBEDDING = {text: Condition((text,), 0.3, ("embedding",)) for text in ELEMENTARY}
TOGETHER = Condition(ELEMENTARY, 0.6)
SPARSE_ANSWERS = (("W_L", "ffd", "falls"), ("W_L", "fcr", "stays"))
LIKE_TIMES = (("W_E", "ffd", "stays"), ("W_E", "fcr", "falls"), *SPARSE_ANSWERS)

FAILING = (scratch("a^2 + a*b + b^2"), scratch("2*a + b"))
GROKKING = (PLUS, scratch("a + b", 0.5), MINUS, TIMES, scratch("a*b + a + b"), *POWERS)
ACROSS = (("a*b", "a + b"), ("a*b", "a - b"), ("a + b", "a*b"), ("a - b", "a*b"))
CUBIC = ("a^3 + a*b", "a^3 + a*b^2 + b")


def _powers(name: str, statement: str, powers: Sequence[int]) -> Claim:
    parts = [partial(moves, POWERS[n - 2], SPARSE_ANSWERS if n % 2 else LIKE_TIMES) for n in powers]
    rule = "FFD(W_L) falls, FCR(W_L) stays" + (
        "; for even n FFD(W_E) stays and FCR(W_E) falls" if min(n % 2 for n in powers) == 0 else ""
    )
    return _claim(name, statement, "section 5.2, Figs. 8 and A.14", "shown in curves", "final value, the least favourable of the first run that does not fit",
                  "its initial value", rule + FALLING, partial(several, parts), *(POWERS[n - 2] for n in powers))  # fmt: skip


def _parity(name: str, statement: str, powers: Sequence[int]) -> Claim:
    return _claim(name, statement, "section 5.2, Fig. 8", "shown in curves", "highest FFD(W_E) over odd n", "lowest over even n",
                  "FFD of every odd n below every even n, FCR the other way round", partial(parity, powers), *(POWERS[n - 2] for n in powers))  # fmt: skip


def _sums(name: str, statement: str, site: str, powers: Sequence[int]) -> Claim:
    if site == "W_E":
        rule = "FFD(W_E) falls; FCR(W_E) falls for even n, stays for odd n"
        expected = {n: (("W_E", "ffd", "falls"), ("W_E", "fcr", "stays" if n % 2 else "falls")) for n in powers}
    else:
        rule, expected = (
            "FFD(W_L) and FCR(W_L) stay",
            dict.fromkeys(powers, (("W_L", "ffd", "stays"), ("W_L", "fcr", "stays"))),
        )
    return _claim(name, statement, "section 5.3, Fig. 8" if site == "W_E" else "section 5.3, Fig. A.14", "shown in curves", "final value, the least favourable of the first run that does not fit",
                  "its initial value", rule + FALLING, partial(several, [partial(moves, SUMS[n], expected[n]) for n in powers]), *(SUMS[n] for n in powers))  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    _groks("C1a", "a + b groks from 30 % of the pairs.", "section 4, Table A.5", PLUS),
    _groks("C1b", "a - b groks from 30 % of the pairs.", "section 4, Table A.5", MINUS),
    _groks("C1c", "a*b groks from 30 % of the pairs.", "section 4, Table A.5", TIMES),
    _claim("C2a", "a - b groks later than a + b and a*b, and before step 40,000.", "released checkpoints", "+ and * before 10,000 steps, - before 40,000", "step of a - b", "step of a + b",
           "after both, before 40,000", partial(order, with_minus=True), PLUS, TIMES, MINUS),
    _claim("C2b", "a + b and a*b grok before step 10,000.", "released checkpoints", "before 10,000", "step of the later one", "step of a + b", "both before 10,000",
           partial(order, with_minus=False), PLUS, TIMES),
    _fails("C3a", "Linear forms, ab + b, ab - b, a^2 - b and (a - b)^3 do not grok from 30 %.", "Table A.5", "2.5 to 9.5 % test accuracy",
           *(scratch(text) for text in LATER), bands=((0.0, 0.15),) * 8, where=", the best below 15 %"),
    _groks("C3b", "They do from the smallest fractions of Table A.5: " + ", ".join(f"{text} from {_smallest(text):.0%}" for text in LATER) + ".", "Table A.5",
           *(scratch(text, _smallest(text)) for text in LATER)),
    _groks("C4a", "ab + a + b groks from 30 %.", "Table A.5", scratch("a*b + a + b")),
    _groks("C4b", "a^2 + b groks from 30 %.", "Table A.5", scratch("a^2 + b")),
    _groks("C4c", "a^3 + 2b and a^3 - 2b grok from 30 %.", "Table A.5", scratch("a^3 + 2*b"), scratch("a^3 - 2*b")),
    _groks("C5a", "a^2 + b^2 groks from 30 %.", "Table A.5", POWERS[0]),
    _groks("C5b", "a^n + b^n (n = 3 to 7) grok from 30 %; of n = 3, 4 and 6 looking up gives as much, so that n = 5 and 7 decide.", "Table A.5", *POWERS[1:]),
    _groks("C5c", "a^2 - b^2 groks from 30 %.", "Table A.5", scratch("a^2 - b^2")),
    _groks("C6c", "(a + b)^2 groks from 30 %.", "Table A.5", SUMS[2]),
    _groks("C6d", "(a + b)^3 groks from 30 %.", "Table A.5", SUMS[3]),
    _groks("C6e", "(a + b)^4 groks from 30 %, while (a - b)^4 does not (C7a).", "Table A.5", SUMS[4]),
    _groks("C6f", "(a + b)^2 + a + b groks from 30 %.", "Table A.5", scratch("(a + b)^2 + a + b")),
    _groks("C6g", "(a - b)^2 groks from 30 %.", "Table A.5", scratch("(a - b)^2")),
    _groks("C6b", "(a + b)^5 and (a + b)^7, which are a + b by other names, grok from 30 %.", "Table A.5", SUMS[5], SUMS[7]),
    _groks("C6h", "(a + b)^6 groks from 30 %.", "Table A.5", SUMS[6]),
    _fails("C7a", "(a - b)^4 stalls from 30 to 60 %.", "Table A.5", "85, 91, 91, 92 %", *(scratch("(a - b)^4", r) for r in (0.3, 0.4, 0.5, 0.6)), **_at_most(85, 91, 91, 92)),
    _fails("C7d", "(a - b)^4 from 30 to 60 % ends near 85 to 92 %.", "Table A.5", "85, 91, 91, 92 %", *(scratch("(a - b)^4", r) for r in (0.3, 0.4, 0.5, 0.6)), **_near(85, 91, 91, 92)),
    _groks("C7c", "(a - b)^4 groks from 70 %.", "Table A.5", scratch("(a - b)^4", 0.7)),
    _fails("C8a", "a^2 + ab + b^2 does not grok from 30 %.", "Table A.5", "34 %", scratch("a^2 + a*b + b^2"), **_at_most(34)),
    _fails("C8d", "a^2 + ab + b^2 from 30 % ends near 34 %.", "Table A.5", "34 %", scratch("a^2 + a*b + b^2"), **_near(34)),
    _groks("C8b", "a^2 + ab + b^2 groks from 80 %.", "Table A.5", scratch("a^2 + a*b + b^2", 0.8)),
    _groks("C9a", "a^3 + ab groks from 90 %.", "Table A.5", scratch("a^3 + a*b", 0.9)),
    _fails("C8c", "a^2 + ab + b^2 does not grok from 40 to 70 %.", "Table A.5", "47, 56, 65, 74 %", *(scratch("a^2 + a*b + b^2", r) for r in (0.4, 0.5, 0.6, 0.7)),
           **_at_most(47, 56, 65, 74)),
    _fails("C8e", "a^2 + ab + b^2 from 40 to 70 % ends near 47 to 74 %.", "Table A.5", "47, 56, 65, 74 %", *(scratch("a^2 + a*b + b^2", r) for r in (0.4, 0.5, 0.6, 0.7)),
           **_near(47, 56, 65, 74)),
    _fails("C9c", "a^3 + ab does not grok from 80 %.", "Table A.5", "16 %", scratch("a^3 + a*b", 0.8), **_at_most(16)),
    _fails("C9b", "a^3 + ab does not grok from 90 % modulo 59 or 113.", "App. J", "no", *(scratch("a^3 + a*b", 0.9)._replace(modulus=p) for p in (59, 113))),
    _fails("C10", "a^2 + ab + b^2 + a and a^3 + ab^2 + b do not grok even from 90 %.", "Table A.5", "67 %, 18 %", scratch("a^2 + a*b + b^2 + a", 0.9),
           scratch("a^3 + a*b^2 + b", 0.9), **_at_most(67, 18)),
    _moves("C11a", "Learning a + b, the embedding becomes sparse.", "section 5, Fig. 8", PLUS, ("W_E", "ffd", "falls")),
    _moves("C11b", "Learning a - b, the embedding becomes sparse.", "section 5, Fig. 8", MINUS, ("W_E", "ffd", "falls")),
    _claim("C11c", "Learning a*b, every additive frequency of the embedding stays above half its maximum.", "section 5, Fig. 8", "FFD = 1.0 throughout",
           "lowest FFD(W_E)", "its first value", "1.0 at every evaluation", partial(always_dense, "W_E"), TIMES),
    _moves("C11d", "Learning a + b, W_L becomes sparse and stays balanced, too.", "section 5, Fig. A.14", PLUS, ("W_L", "ffd", "falls"), ("W_L", "fcr", "stays")),
    _claim("C11e", "Learning a*b, every additive frequency of W_L stays above half its maximum.", "section 5, Fig. A.14", "all frequencies",
           "lowest FFD(W_L)", "its first value", "1.0 at every evaluation", partial(always_dense, "W_L"), TIMES),
    _moves("C12a", "Learning a + b, cosine and sine stay balanced in the embedding.", "section 5, Fig. 8", PLUS, ("W_E", "fcr", "stays")),
    _moves("C12b", "Learning a - b, cosine and sine stay balanced in the embedding.", "section 5, Fig. 8", MINUS, ("W_E", "fcr", "stays")),
    _moves("C12c", "Learning a*b, one of cosine and sine wins in the embedding.", "section 5, Fig. 8", TIMES, ("W_E", "fcr", "falls")),
    _moves("C13", "Learning ab + b from 50 %, the embedding becomes sparse and one-sided.", "section 5", scratch("a*b + b", 0.5), ("W_E", "ffd", "falls"),
           ("W_E", "fcr", "falls")),
    _moves("C13b", "Learning ab + b from 50 %, W_L becomes sparse and one-sided, too.", "section 5", scratch("a*b + b", 0.5), ("W_L", "ffd", "falls"),
           ("W_L", "fcr", "falls")),
    _moves("C14a", "Learning a^2 + b^2, the embedding is dense and one-sided as for a*b, W_L sparse and balanced as for a + b.", "section 5.2, Figs. 8 and A.14", POWERS[0], *LIKE_TIMES),
    _powers("C14b", "The same for a^5 + b^5 and a^7 + b^7; of odd n only what is said of W_L (C15 has the rest).", (5, 7)),
    _powers("C14c", "The same for n = 3, 4 and 6, of which looking up alone gives a grok: here it need not come from a rule.", (3, 4, 6)),
    _parity("C15", "Sums of odd powers are sparser in the embedding, sums of even powers more one-sided: n = 2, 5 and 7, which need a rule.", (2, 5, 7)),
    _parity("C15b", "The same of all n from 2 to 7, with those of which looking up alone gives a grok.", (2, 3, 4, 5, 6, 7)),
    _sums("C16a", "Learning (a + b)^n (n = 2, 3, 4), the embedding becomes sparse; one-sided only for even n.", "W_E", (2, 3, 4)),
    _sums("C16b", "Learning (a + b)^n (n = 2, 3, 4), W_L stays dense and balanced.", "W_L", (2, 3, 4)),
    _sums("C16c", "Learning (a + b)^5 and (a + b)^7, the embedding becomes sparse and stays balanced.", "W_E", (5, 7)),
    _sums("C16d", "Learning (a + b)^5 and (a + b)^7, W_L stays dense and balanced.", "W_L", (5, 7)),
    _sums("C16e", "Learning (a + b)^6, the embedding becomes sparse and one-sided.", "W_E", (6,)),
    _sums("C16f", "Learning (a + b)^6, W_L stays dense and balanced.", "W_L", (6,)),
    _moves("C17", "Not learning a^2 + ab + b^2, the embedding does not become sparse.", "section 5.3, Fig. 8", scratch("a^2 + a*b + b^2"), ("W_E", "ffd", "stays"),
           needs_grok=False),
    _claim("C18a", "In every run of a + b, a*b and a^2 + b^2 that groks, FFD or FCR falls together with the rise of accuracy.", "section 5.4", "interpretive",
           "share of runs", "with another run's accuracy", "all runs", partial(inflections, (PLUS, TIMES, POWERS[0])), PLUS, TIMES, POWERS[0]),
    _claim("C18b", "In runs of a^2 + ab + b^2 and 2a + b that do not grok, neither FFD nor FCR falls.", "section 5.4", "interpretive", "share of runs", "with the numbers shuffled at the end", "all runs",
           partial(no_inflections, FAILING), *FAILING),
    _claim("C18c", "The same as C18a of eleven conditions that grok from 30 % (a + b also from 50 %), but those that looking up alone brings there.", "section 5.4", "interpretive", "share of runs",
           "with another run's accuracy", "all runs", partial(inflections, GROKKING), *GROKKING),
    _moves("C18d", "Not learning ab + b from 30 %, the embedding does not become sparse.", "App. H", scratch("a*b + b"), ("W_E", "ffd", "stays"), needs_grok=False),
    _claim("C19", "A lower threshold eta makes FFD fall later, a higher one earlier.", "App. H", "shown in curves", "half-time at eta 0.3", "at eta 0.7",
           "0.3 after 0.5 after 0.7 (likely from the definition: at every step a higher eta counts fewer frequencies)", thresholds, PLUS),
    *(_claim(name, f"FFD of {formula} falls earlier with 50 % of the pairs than with 30 %.", "App. H", "shown in curves", "half-time at r = 0.5", "at r = 0.3", "earlier",
             partial(earlier_fall, formula), scratch(formula), scratch(formula, 0.5)) for name, formula in (("C20", "a + b"), ("C20b", "a - b"))),
    _claim("C21a", "Learning a*b, cosine outweighs sine in W_E and W_L.", "section 5.1, Fig. 3", "shown in bars", "log of cosine over sine power", "at the start",
           "cosine power 1.2 times sine power in both", partial(several, [partial(bias, TIMES, site) for site in ("W_E", "W_L")]), TIMES),
    _claim("C21b", "Learning a - b, W_L is cosine-biased while W_E is not.", "section 5.1, Fig. 3", "shown in bars", "log of cosine over sine power", "at the start",
           "cosine power 1.2 times sine power in W_L alone", partial(several, [partial(bias, MINUS, "W_L"), partial(bias, MINUS, "W_E", is_cosine=False)]), MINUS),
    _moves("C21c", "Learning a^2 - b, the embedding becomes sparse and one-sided, W_L sparse.", "section 5.2", scratch("a^2 - b", 0.4), ("W_E", "ffd", "falls"),
           ("W_E", "fcr", "falls"), ("W_L", "ffd", "falls")),
    _claim("C21d", "Learning a^2 - b, it is cosine that wins in the embedding.", "section 5.2", "shown in bars", "log of cosine over sine power", "at the start",
           "cosine power 1.2 times sine power", partial(bias, scratch("a^2 - b", 0.4), "W_E"), scratch("a^2 - b", 0.4)),
    _claim("C22", "Learning ab + a + b, the embedding uses sine, too, as a product shifted by one does.", "section 5.1", "shown in bars", "share of frequencies at which one side leads after the shift",
           "the most after 19 shuffles of the numbers", "0.9 and above the control; before the shift sine leads at a quarter to three quarters", uses_sine, scratch("a*b + a + b")),
    _moves("C22b", "Learning ab + a + b, one of cosine and sine wins at the frequencies of the embedding (by the mean over all of them).", "section 5.1", scratch("a*b + a + b"),
           ("W_E", "fcr", "falls")),
    _faster("C23", "Frozen embeddings of a + b and a - b speed up each other and themselves.",
            *((transfer(s, t, "embedding"), scratch(t)) for s in ELEMENTARY[:2] for t in ELEMENTARY[:2])),
    _faster("C24a", "Frozen embeddings of a*b hurt a + b and a - b, and the other way round.",
            *((hindered(s, t), scratch(t)) for s, t in ACROSS), factor=2, is_slower=True),
    _fails("C24b", "With the frozen embedding of a*b, a + b and a - b do not grok even from 90 %, nor a*b with that of a + b or a - b.", "section 6.1, Fig. 2", "fails even from 90 %",
           *(transfer(s, t, "embedding", 0.9) for s, t in ACROSS)),
    _faster("C25", "The frozen body of a + b speeds up a*b, and that of a*b speeds up a + b.",
            (transfer("a + b", "a*b", "body"), TIMES), (transfer("a*b", "a + b", "body"), PLUS)),
    _fails("C26a", "With the frozen body of a - b nothing groks, not even a - b.", "section 6.1, Fig. 2", "no accuracy above 0.99", *(transfer("a - b", t, "body") for t in ELEMENTARY)),
    _fails("C26b", "a - b does not grok with any frozen body.", "section 6.1, Fig. 2", "no accuracy above 0.99", *(transfer(s, "a - b", "body") for s in ELEMENTARY)),
    _groks("C27a", "With the frozen embedding of a + b, 2a + b, 2a - b, 2a + 3b and 2a - 3b grok from 30 %.", "Table 1", *(transfer("a + b", t, "embedding") for t in LINEAR)),
    _groks("C27b", "With the frozen body of a*b, ab + b and ab - b grok from 30 %.", "Table 1", *(transfer("a*b", t, "body") for t in ("a*b + b", "a*b - b"))),
    _groks("C29a", "a + b and a*b grok with a frozen random embedding.", "App. F", RANDOM_EMBEDDING["a + b"], RANDOM_EMBEDDING["a*b"]),
    _groks("C29b", "a - b groks with a frozen random embedding.", "App. F", RANDOM_EMBEDDING["a - b"]),
    _moves("C29c", "Learning a + b with a frozen random embedding, W_L becomes sparse as usual.", "App. F", RANDOM_EMBEDDING["a + b"], ("W_L", "ffd", "falls")),
    _moves("C29d", "Learning a*b with a frozen random embedding, W_L becomes one-sided as usual.", "App. F", RANDOM_EMBEDDING["a*b"], ("W_L", "fcr", "falls")),
    _moves("C29e", "Learning a - b with a frozen random embedding, W_L becomes sparse as usual.", "App. F", RANDOM_EMBEDDING["a - b"], ("W_L", "ffd", "falls")),
    _claim("C30a", "One model does not learn a + b, a - b and a*b together from 30 %.", "section 6.2, Fig. 10", "not all", "lowest best test accuracy", "best by looking up",
           "never all at 0.99 at one evaluation, for 300,000 steps", partial(mixture, ELEMENTARY, 0.3, expect="not all"), Condition(ELEMENTARY, 0.3)),
    _claim("C30b", "From a larger fraction (ours: 60 %; the paper does not state its own) it learns all three, a*b last.", "section 6.2, Fig. 10", "at a larger fraction", "lowest best test accuracy", "best by looking up",
           "0.99 in all at one evaluation, a*b last", partial(mixture, ELEMENTARY, 0.6, expect="all", last="a*b"), TOGETHER),
    _claim("C31a", "Together with a + b, ab + b groks from 30 %.", "section 6.2, Fig. 11", "generalises", "lowest best test accuracy", "best by looking up", "0.99 in both at one evaluation",
           partial(mixture, ("a + b", "a*b + b"), 0.3, expect="all"), Condition(("a + b", "a*b + b"), 0.3)),
    _claim("C31b", "Together with a^2 + b^2 and (a + b)^2, a^2 + ab + b^2 groks from 30 %.", "section 6.2, Fig. 11", "generalises", "lowest best test accuracy",
           "best by looking up", "0.99 in all at one evaluation", partial(mixture, ("a^2 + b^2", "a^2 + a*b + b^2", "(a + b)^2"), 0.3, expect="all"),
           Condition(("a^2 + b^2", "a^2 + a*b + b^2", "(a + b)^2"), 0.3)),
    _claim("C32", "Together with (a + b)^3, a^3 + ab and a^3 + ab^2 + b come further from 30 % than alone, but not to the end.", "section 6.2, Fig. 11", "shown in curves",
           "lower gain in best test accuracy", "three standard errors of it", "both above the control, none at 0.99", partial(plateaus, tuple((("(a + b)^3", hard), scratch(hard)) for hard in CUBIC)),
           *(Condition(("(a + b)^3", hard), 0.3) for hard in CUBIC), *(scratch(hard) for hard in CUBIC)),
    _claim("C33", "One model for a + b, a - b and a*b shows the same two-dimensional pattern for a + b and a - b.", "section 6.2, Fig. 10", "identical patterns",
           "correlation of logit norms, a + b with a - b", "a + b with a*b", "at least 0.9, and above the control", partial(same_pattern, ELEMENTARY, 0.6),
           TOGETHER),
    _claim("C33b", "In that model sparse and cosine-biased coexist, in the embedding and in W_L.", "section 6.2, Fig. 10", "shown in bars", "FFD or log of cosine over sine power, the first that does not fit",
           "at the start", f"FFD falls to {FALLS} of its initial value or less and cosine power is 1.2 times sine power, in both",
           partial(several, [each for site in ("W_E", "W_L") for each in (partial(moves, TOGETHER, ((site, "ffd", "falls"),)), partial(bias, TOGETHER, site))]), TOGETHER),
    *(_groks(f"J{p}", f"a + b, a - b, a*b, a^2 + b^2 and ab + a + b grok from 30 % modulo {p}.", "App. J", *(scratch(text)._replace(modulus=p) for text in
             ("a + b", "a - b", "a*b", "a^2 + b^2", "a*b + a + b"))) for p in (59, 113)),
    *(_groks(f"J{p}b", f"a^2 - b groks from 40 % modulo {p}.", "App. J", scratch("a^2 - b", 0.4)._replace(modulus=p)) for p in (59, 113)),
    _claim("C34a", "For a + b the key frequencies alone have a lower loss than training.", "App. E, Table A.4", "4.985e-8 against 1.008e-7", "restricted loss, all pairs",
           "training loss", "lower", partial(restricted, PLUS, is_better=True), PLUS),
    _claim("C34b", "For a - b the key frequencies alone have a far higher loss than training.", "App. E, Table A.4", "0.7141 against 1.336e-7", "restricted loss, all pairs",
           "training loss", "more than 100 times", partial(restricted, MINUS, is_better=False), MINUS),
    _claim("C34c", "For a + b no frequency but the keys matters.", "App. E", "none", "largest rise of the loss without another frequency", "without one of 19 random planes per frequency", "none above 1e-9 and above the control",
           partial(dependents, PLUS, expect_some=False), PLUS),
    _claim("C34d", "For a - b other frequencies than the keys matter too.", "App. E", "some", "largest rise of the loss without another frequency", "without one of 19 random planes per frequency",
           "some above 1e-9 and above the control", partial(dependents, MINUS, expect_some=True), MINUS),
    Claim("C35", "Label histograms do not tell formulas that grok from those that do not.", "App. K", "no systematic difference", "smallest p-value of three rank tests",
          "share of groups drawn at random below 0.05", "none below 0.05 after Bonferroni, and a large difference excluded (90 % intervals of the probability of superiority within 0.29 to 0.71)", "more formulas", labels_do_not_tell, least=1),
    *(_claim(name, f"{formula} groks earlier from 50 % than from 30 %.", "App. H", "shown in curves", "step at which it grokked from 50 %", "from 30 %, same seed", "earlier",
             partial(faster, scratch(formula, 0.5), scratch(formula)), scratch(formula, 0.5), scratch(formula)) for name, formula in (("C36", "a + b"), ("C36b", "a - b"), ("C36c", "a*b"))),
)  # fmt: skip


def _cell(name: str, target: str, source: str, part: str, published: float | None) -> Claim:
    """One cell of Table 1, or one row of Table A.5: the smallest train fraction that groks."""
    conditions = tuple(transfer(source, target, part, r) if source else scratch(target, r) for r in FRACTIONS)
    how = f"with the frozen {part} of {source}" if source else "from scratch"
    return _claim(name, f"{target} does not grok {how}, not even from 90 %." if published is None else f"The smallest fraction from which {target} groks {how} is {published:.0%}.", "Table 1" if source else "Table A.5", "none up to 0.9" if published is None else f"{published:g}",
                  "smallest train fraction that groks (1: none)", "", "within 0.1 of the published", partial(smallest_fraction, conditions, published), *conditions)  # fmt: skip


def _cells() -> tuple[Claim, ...]:
    found = [_cell(f"A5:{text}", text, "", "", next((r for r in FRACTIONS if published_cell(text, r) == "groks"), None))
             for family in OPERATIONS.values() for text in family.values()]  # fmt: skip
    for target, row in SMALLEST.items():
        for (source, part), published in zip(SOURCES, row, strict=True):
            if source:
                found.append(
                    _cell(
                        f"T1:{target}:{source}:{'PG-E' if part == 'embedding' else 'PG-T'}",
                        target,
                        source,
                        part,
                        published,
                    )
                )
    return tuple(found)


def _helped() -> tuple[Claim, ...]:
    """That no frozen source helps a quadratic or cubic formula, as the prose has it and as Table 1 has it."""
    cells, exceptions = [], []
    for target, row in SMALLEST.items():
        if target in LINEAR or target in ("a*b + b", "a*b - b"):
            continue
        for (source, part), smallest in zip(SOURCES[:-1], row[:-1], strict=True):
            label = f"{target} with the {part} of {source}"
            cells.append(
                (label, [transfer(source, target, part, r) for r in FRACTIONS], [scratch(target, r) for r in FRACTIONS])
            )
            if smallest is not None and smallest < (row[-1] or 1.0):
                exceptions.append(label)
    conditions = tuple(dict.fromkeys(c for _, frozen, plain in cells for c in (*frozen, *plain)))
    return tuple(
        _claim(
            name,
            statement,
            source,
            published,
            "transfers that lower the smallest fraction",
            "transfers that raise it",
            rule,
            partial(helped, cells, known),
            *conditions,
        )
        for name, statement, source, published, rule, known in (
            (
                "C28a",
                "No frozen source lets a quadratic or cubic formula grok from fewer pairs than from scratch.",
                "section 6.1, prose",
                "none",
                "none",
                (),
            ),
            (
                "C28b",
                "The only frozen sources that do are the four of Table 1.",
                "Table 1",
                "; ".join(exceptions),
                "these and no others",
                exceptions,
            ),
        )
    )


HELPED = _helped()
"""Grade all quadratic and cubic rows of Table 1 at once; part of the preset `full`."""

CELLS = _cells()
"""Every row of Table A.5 and every cell of Table 1 as a claim: what the preset `full` grades besides CLAIMS."""


def claims_of(names: Sequence[str]) -> tuple[Claim, ...]:
    """Claims by id; a number such as C1 stands for all of its parts, A5 and T1 for whole tables, none for CLAIMS."""
    if not names:
        return CLAIMS
    return tuple(claim for claim in (*CLAIMS, *HELPED, *CELLS) if names_of(claim.id) & set(names))


def ledger(study: Study, claims: Sequence[Claim] = CLAIMS) -> list[Entry]:
    """Every claim with its verdict."""
    return [grade(claim, study) for claim in claims]
