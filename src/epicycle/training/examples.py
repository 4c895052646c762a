"""Examples as the exact step wants them: rows instead of tokens, sorted so that rows stay in cache."""

from typing import NamedTuple

import numpy as np

from epicycle.axes import Labels, Tokens


class RowMap(NamedTuple):
    """The distinct (token, position) pairs of a data set; without positional embeddings, the distinct tokens.

    The rows that occur at the last position are `first_last .. first_last + num_last - 1`.
    """

    token: np.ndarray
    position: np.ndarray
    first_last: int
    num_last: int
    num_positions: int
    lookup: np.ndarray  # (positions, largest token + 1) -> row, -1 where the pair does not occur


class ExampleSet(NamedTuple):
    """Sorted examples. `order` maps sorted place to original place."""

    rows: np.ndarray
    labels: np.ndarray
    task: np.ndarray
    weight: np.ndarray
    order: np.ndarray
    count_per_task: np.ndarray


def row_map(tokens: Tokens, has_positions: bool) -> RowMap:
    """Number the rows of all examples that will ever be trained on or evaluated (tokens: (examples, positions))."""
    count, size = tokens.shape[1], int(tokens.max()) + 1
    lookup = np.full((count, size), -1)
    token: list[int] = []
    position: list[int] = []
    # the last position first, so that its rows are contiguous
    for s in (count - 1, *range(count - 1)):
        for t in np.unique(tokens[:, s]):
            if not has_positions and (known := lookup[:, t].max()) >= 0:
                lookup[s, t] = known
                continue
            lookup[s, t] = len(token)
            token.append(int(t))
            position.append(s if has_positions else -1)
    num_last = len(np.unique(tokens[:, -1]))
    return RowMap(np.array(token), np.array(position), 0, num_last, count, lookup)


def example_set(tokens: Tokens, labels: Labels, task: Labels, num_tasks: int, rows: RowMap) -> ExampleSet:
    """Look up rows and sort by (later positions, first operand).

    Sorting changes the order of a sum, nothing else: within a run of equal later positions their rows stay in the
    first-level cache.

    Args:
        tokens: Token ids (examples, positions).
        labels: Right answers (examples,).
        task: Index of each example's task (examples,).
        num_tasks: Number of tasks; the loss is the sum over tasks of the mean over a task's examples.
        rows: Row numbers, from `row_map`.
    """
    mapped = np.stack([rows.lookup[s, tokens[:, s]] for s in range(tokens.shape[1])], 1)
    order = np.lexsort((mapped[:, 0], *(mapped[:, s] for s in range(1, mapped.shape[1]))))
    count = np.bincount(task, minlength=num_tasks)
    weight = 1.0 / count[task]
    return ExampleSet(
        np.ascontiguousarray(mapped[order], np.int32),
        np.ascontiguousarray(labels[order], np.int32),
        np.ascontiguousarray(task[order], np.int32),
        np.ascontiguousarray(weight[order]),
        order,
        np.maximum(count, 1),
    )
