"""How an analysis says how far it is."""

from collections.abc import Callable

Stage = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
