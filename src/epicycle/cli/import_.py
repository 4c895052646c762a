"""`epicycle import`."""

import argparse
from typing import Any

HELP = (
    "Makes a run of a checkpoint that another project trained (layouts of Furuta et al., Nanda et al., Zhong et al., TransformerLens), analyses it and "
    "writes its report. Nothing but tensors is read."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("file", metavar="FILE", help="a .safetensors, .npz, .pt or .pth file")
    parser.add_argument("formulas", nargs="+", metavar="FORMULA", help="what it was trained on")
    parser.add_argument("--modulus", type=int, default=97, help="answers are taken modulo this")
    parser.add_argument("--train-fraction", type=float, default=0.3, help="share of all pairs it was trained on")
    parser.add_argument(
        "--split-seed", type=int, default=0, help="seed of the split; that of the other project cannot be known"
    )
    parser.add_argument(
        "--operand-range",
        choices=("modulus", "published"),
        default="modulus",
        help="published: 0..p+4 with the authors' shuffle",
    )
    parser.add_argument("--layout", default="auto", help="furuta2024, nanda2023, pizza, transformer_lens or auto")
    parser.add_argument("--key", help="beginning of the names of its tensors, where a file holds several models")
    parser.add_argument(
        "--attention-rate", type=float, help="of a model of Zhong et al.: 0 adds all values up; 1 if not given"
    )
    parser.add_argument(
        "--scores",
        choices=("scaled", "unscaled"),
        default="scaled",
        help="its attention scores are divided by sqrt(head width), or not",
    )
    parser.add_argument(
        "--extra-tokens", type=int, default=0, metavar="N", help="tokens it has beyond those of the formulas given"
    )
    parser.add_argument("--step", type=int, default=0, help="step it was saved at, for the record")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Import, analyse, report."""
    from epicycle.analysis.clock import clock_or_pizza
    from epicycle.analysis.grok import analyse_run, config_of
    from epicycle.cli.grok import as_json
    from epicycle.cli.main import say
    from epicycle.cli.pretrain import given_of
    from epicycle.interop.imported import import_checkpoint
    from epicycle.report.grok import grok_page
    from epicycle.tasks.modular import TaskConfig, modular_task

    task = TaskConfig(formulas=tuple(options.formulas), modulus=options.modulus, train_fraction=options.train_fraction, split_seed=options.split_seed,
                      operand_range=options.operand_range)  # fmt: skip
    rate = 1.0 if options.attention_rate is None else options.attention_rate
    made = import_checkpoint(options.file, task, options.out, layout=options.layout, key=options.key, attention_rate=rate, step=options.step,
                             scores=options.scores, extra_tokens=options.extra_tokens, given=given_of(options))  # fmt: skip
    if options.attention_rate is None and made.record()["config"]["resolved"]["imported"]["layout"] == "pizza":
        say(
            "attention rate 1 is assumed, which the file does not hold; give --attention-rate if it was trained at another"
        )
    found = analyse_run(made)
    page = grok_page(found)
    path = page.save(made.path / "report.html")
    for sentence in page.finding:
        say(sentence)
    values = as_json(found, str(path))
    built = modular_task(task)
    if [rule.text for rule in built.rules] == ["a + b"]:
        how = clock_or_pizza(built, config_of(made), made.weights())
        how.save(made.path / "results" / "clock")
        said = "not defined" if how.distance_irrelevance is None else f"{how.distance_irrelevance:.4f}"
        say(f"Clock or pizza: distance irrelevance {said} (noise {how.noise_distance_irrelevance:.4f}), gradient symmetricity {how.gradient_symmetricity:.4f} over all "
            f"triples, circularity {how.circularity:.4f}.")  # fmt: skip
        values["clock"] = how.summary()
    say(f"report: {path}")
    return values
