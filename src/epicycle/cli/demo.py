"""`epicycle demo`."""

import argparse
from typing import Any

HELP = (
    "Both tracks, small and complete. A one-layer transformer discovers a + b modulo 97 in the Fourier basis; then a small GPT-2 reads number "
    "text, and its number embedding lets another one learn to add. Trains, analyses, writes and names two reports; about two minutes on two cores."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """This command has no options of its own."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Grok a + b modulo 97 with seed 0, then the language track over the numbers 0..99 with one layer and one seed."""
    from epicycle.cli.grok import grok_and_report
    from epicycle.cli.main import say
    from epicycle.cli.reproduce import reproduce_and_report
    from epicycle.tasks.modular import TaskConfig
    from epicycle.training.config import furuta2024

    say(
        "A one-layer transformer sees 30 % of all sums modulo 97. It memorises them in seconds; then it finds the rule."
    )
    found = grok_and_report([furuta2024(TaskConfig())], options, {"command": "demo"})
    say()
    say("A small GPT-2 reads sentences with numbers in them, none of which states a sum. Then two others learn to add two numbers up to 49: "
        "one from scratch, one with the first one's number embedding, frozen.")  # fmt: skip
    language = reproduce_and_report("demo", options, {"command": "demo"})
    say()
    say("Open the two reports in a browser. Then try your own formula, or a model you have:")
    say('  epicycle grok "a^2 + b^2" --modulus 97')
    say("  epicycle explain MODEL            # a Hugging Face directory or hub name")
    return found | {"language_report": language["report"]}
