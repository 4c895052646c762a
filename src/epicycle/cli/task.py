"""`epicycle task`."""

import argparse
from typing import Any

HELP = (
    "Says what is known of a formula before anything is trained: how many labels, symmetry, factors over the integers and over the field, whether it is "
    "h(g1(a) + g2(b)) or h(g1(a) * g2(b)) with the witness, and which accuracy needs no rule."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument(
        "formula", metavar="FORMULA", help="such as a^2+ab+b^2, (a+b)^3, a/b, random:0 (quote it in a shell)"
    )
    parser.add_argument("--modulus", type=int, default=97, help="answers are taken modulo this")
    parser.add_argument(
        "--train-fraction", type=float, default=0.3, help="share of all pairs to train on, for the baselines"
    )
    parser.add_argument("--split-seed", type=int, default=0, help="seed of the split")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print the facts of a formula."""
    from epicycle.cli.main import answer
    from epicycle.tasks.facts import task_facts, witness
    from epicycle.tasks.modular import TaskConfig, modular_task

    config = TaskConfig(
        formulas=(options.formula,),
        modulus=options.modulus,
        train_fraction=options.train_fraction,
        split_seed=options.split_seed,
    )
    found = task_facts(modular_task(config))
    witnesses = {form.kind: witness(form) for form in (found.sum, found.product) if form is not None}
    if not options.json:
        for name, text in _lines(found, witnesses, config):
            answer(f"{name:<24}{text}")
    values = found._asdict()
    for kind in ("sum", "product"):
        form = values[kind]
        values[kind] = (
            None
            if form is None
            else {
                "exists": form.exists,
                "reason": form.reason,
                "h_is_injective": form.is_injective,
                "witness": witnesses[kind],
                "tables": _tables(form),
            }
        )
    return values


def _tables(form: Any) -> dict[str, list[int | None]] | None:
    """g1, g2 and h value by value, so that a witness can be checked whatever the modulus; h is null where it is not fixed by the answers."""
    if not form.exists:
        return None
    named = {"g1": form.g1, "g2": form.g2, "h": form.h}
    return {name: [None if value < 0 else int(value) for value in values] for name, values in named.items()}


def _lines(found: Any, witnesses: dict[str, Any], config: Any) -> list[tuple[str, str]]:
    from epicycle.numbers.residues import is_prime

    signs = {"sum": "+", "product": "*"}
    together = [" and ".join(names) for names in found.exchangeable if len(names) > 1]
    partly = f", but the order of {together[0]} does not matter" if together else ""
    lines = [
        ("formula", f"{found.formula} modulo {found.modulus}"),
        (
            "answers",
            f"{found.labels} different one{'s' * (found.labels != 1)} over {found.pairs:,} question{'s' * (found.pairs != 1)}",
        ),
        ("symmetric", "yes, the order of the operands does not matter" if found.is_symmetric else f"no{partly}"),
        ("bijective in", ", ".join(name for name, ok in found.bijective.items() if ok) or "no operand"),
        ("factors over Z", _factors(found.factors_integers)),
        (
            f"factors modulo {found.modulus}",
            _factors(found.factors_field)
            if is_prime(found.modulus)
            else "not said: the modulus is no prime, so factors are not unique",
        ),
    ]
    for kind, sign in signs.items():
        form = getattr(found, kind)
        lines.append(
            (
                f"h(g1(a) {sign} g2(b))",
                "not looked for: only with two operands" if form is None else _form(form, witnesses[kind]),
            )
        )
    lines += [
        ("sparse in basis", found.basis),
        ("commonest answer", f"{found.guess:.1%} of the test questions at train fraction {config.train_fraction:g}"),
        (
            "without any rule",
            f"{found.baseline:.1%} (memory{', symmetry' if together else ''} and one constant for the rest)",
        ),
        ("by looking up", f"{found.lookup:.1%} (with numbers that are interchangeable as operands, besides)"),
        (
            "label histograms",
            f"KL(train || test) {found.divergence:.4f}, entropies {found.train_entropy:.3f} and {found.test_entropy:.3f} nats",
        ),
    ]
    return lines


def _factors(factors: list[tuple[str, int]] | None) -> str:
    if factors is None:
        return "not said (no polynomial of degree up to 12, too many pieces, or three operands over the field)"
    return (
        "1"
        if not factors
        else " * ".join(
            f"({text})" + (f"^{count}" if count > 1 else "") if text.lstrip("-").isdigit() is False else text
            for text, count in factors
        )
    )


def _form(form: Any, found: dict[str, str] | None) -> str:
    if not form.exists:
        return form.reason if form.exists is None else f"no: {form.reason}"
    if found is None:
        return "yes (as tables, which --json has; as polynomials they are looked for modulo primes)"
    many = "" if form.is_injective else ", h gives the same answer to several arguments"
    return f"yes: g1(a) = {found['g1']}, g2(b) = {found['g2']}, h(x) = {found['h']}{many}"
