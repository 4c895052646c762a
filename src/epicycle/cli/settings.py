"""Options that `grok` and `sweep` share: settings of the task, the model and the optimiser."""

import argparse
from typing import Any


def add_setting_options(parser: argparse.ArgumentParser) -> None:
    """One option per entry of `training.config.SETTINGS`; what is not given stays the recipe's."""
    task = parser.add_argument_group("settings of the task")
    task.add_argument(
        "--split-by", choices=("ordered", "unordered"), help="unordered keeps (a,b) and (b,a) on the same side"
    )
    task.add_argument("--operand-range", choices=("modulus", "published"),
                      help="published: 0..p+4 with the authors' shuffle, operator tokens included")  # fmt: skip
    task.add_argument(
        "--zeros", choices=("included", "excluded"), help="ask questions with an operand that is 0, or not"
    )
    task.add_argument("--task-tokens", choices=("distinct", "published"),
                      help="in a mixture; published: polynomials share one token, as the authors' code writes them")  # fmt: skip
    task.add_argument(
        "--split-per", choices=("tuple", "formula"), help="in a mixture; formula: each has a split of its own"
    )
    model = parser.add_argument_group("settings of the model; the recipe's if not given")
    model.add_argument("--width", type=int, help="residual width")
    model.add_argument("--num-heads", type=int, help="attention heads")
    model.add_argument("--mlp-width", type=int, help="neurons")
    model.add_argument("--init", choices=("furuta2024", "furuta2024-paper", "nanda2023"),
                       help="spread of the initial weights: of the authors' code, of their text (1/sqrt(fan out)), or of Nanda et al.")  # fmt: skip
    model.add_argument("--scores", choices=("scaled", "unscaled"),
                       help="attention scores over sqrt(head width), as in the authors' code, or as they are, as in their text")  # fmt: skip
    optimiser = parser.add_argument_group("settings of the optimiser; the recipe's if not given")
    optimiser.add_argument("--loss", choices=("float64", "margin", "float32", "stablemax"),
                           help="log-softmax in float64 (published), its margin form, log-softmax in float32, or StableMax")  # fmt: skip
    optimiser.add_argument(
        "--classes", choices=("all", "numbers"), help="tokens that can be answers: all (published) or the numbers"
    )
    optimiser.add_argument("--learning-rate", type=float, help="step size of AdamW")
    optimiser.add_argument("--weight-decay", type=float, help="decoupled weight decay")


MOST_SEEDS = 10_000


def check_seeds(options: argparse.Namespace) -> None:
    """Refuse numbers of seeds that cannot be meant, and seeds below 0.

    Raises:
        ConfigError: As it says.
    """
    from epicycle.errors import ConfigError

    if options.seeds is not None and not 1 <= options.seeds <= MOST_SEEDS:
        raise ConfigError(f"got --seeds {options.seeds}; expected 1 to {MOST_SEEDS:,}. Try 3.")
    for name in ("seed", "split_seed", "weight_seed"):
        if (getattr(options, name, None) or 0) < 0:
            raise ConfigError(
                f"got --{name.replace('_', '-')} {getattr(options, name)}; expected 0 or a larger number. Try 0."
            )


def with_settings(config: Any, options: argparse.Namespace, leave: tuple[str, ...] = ()) -> Any:
    """A run configuration with the settings that were given, but those to `leave` as they are."""
    import dataclasses

    from epicycle.training.config import SETTINGS

    for part, names in SETTINGS.items():
        given = {
            name: getattr(options, name) for name in names if name not in leave and getattr(options, name) is not None
        }
        if given:
            config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **given)})
    return config
