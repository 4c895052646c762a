"""SQL over runs and histories, through DuckDB, and Parquet files. An extra: pip install "epicycle[query]".

Tables: `runs`, one row per run with the columns of `runs.query`; `history`, one row per evaluation with `id`, the step, losses,
accuracies, and `measures` as nested fields (measures.weights.additive.W_E.ffd).
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epicycle._files import atomic
from epicycle.errors import ConfigError, DataError, DiskError
from epicycle.runs.query import COLUMNS, NUMBERS


def _connect() -> Any:
    try:
        import duckdb
    except ImportError:
        raise ConfigError(
            'got a query without DuckDB; expected it to be installed. Run: pip install "epicycle[query]".'
        ) from None
    return duckdb.connect()


def _with_runs(table: Sequence[dict[str, Any]]) -> Any:
    connection = _connect()
    columns = ", ".join(f'"{name}" {NUMBERS.get(name, "VARCHAR")}' for name in COLUMNS)
    connection.execute(f"CREATE TABLE runs ({columns})")
    if table:
        connection.executemany(
            f"INSERT INTO runs VALUES ({', '.join('?' * len(COLUMNS))})",
            [[each[name] for name in COLUMNS] for each in table],
        )
    return connection


def query(table: Sequence[dict[str, Any]], text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names and rows of a query. The query sees two tables and no file: DuckDB's access to files is off while it runs.

    Raises:
        DataError: DuckDB refuses the query.
        DiskError: There is no room for a copy of the histories.
        ConfigError: DuckDB is not installed.
    """
    import re

    if not text.strip():
        raise DataError("got an empty query; expected SQL over the tables runs and history. Try SELECT * FROM runs.")
    connection = _with_runs(table)
    import duckdb

    try:
        if re.search(r"\bhistory\b", text, re.IGNORECASE):
            _load_histories(connection, [Path(each["directory"]) / "history.jsonl" for each in table])
        connection.execute("SET enable_external_access = false")
        found = connection.execute(text)
        names = [column[0] for column in found.description or []]
        return names, [tuple(_plain(value) for value in row) for row in found.fetchall()]
    except duckdb.Error as error:
        raise DataError(
            f"got a query that DuckDB refuses ({str(error).splitlines()[0]}); expected SQL over the tables runs and history. Mend it."
        ) from None
    finally:
        connection.close()


def _load_histories(connection: Any, files: Sequence[Path]) -> None:
    """Make the table `history` of all evaluations. One file of all lines: DuckDB sets 32 MiB aside for each that it reads.

    Raises:
        DiskError: The scratch folder has no room for that file.
    """
    with tempfile.TemporaryDirectory(prefix="epicycle-") as folder:
        joined, lines = Path(folder) / "history.jsonl", 0
        try:
            with joined.open("wb") as out:
                for path in filter(Path.is_file, files):
                    opening = b'{"id": %s, ' % json.dumps(path.parent.name).encode()
                    with path.open("rb") as history:
                        for line in history:
                            if line.startswith(b"{") and line.endswith(b"}\n"):  # the last may be torn
                                out.write(opening + line[1:])
                                lines += 1
        except OSError as error:
            raise DiskError(f"could not write {joined} ({error.strerror}); expected room for a copy of all histories. "
                            "Free some, choose runs with --where, or set TMPDIR.") from None  # fmt: skip
        if lines:
            connection.execute("CREATE TABLE history AS SELECT * FROM read_json(?, format='newline_delimited', ignore_errors=true, "
                               "sample_size=-1, maximum_object_size=67108864)", [str(joined)])  # fmt: skip


def write_parquet(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows of `runs.query` as a Parquet file."""
    names = ", ".join(f'"{name}"' for name in (table[0] if table else COLUMNS))
    connection = _with_runs([dict.fromkeys(COLUMNS) | each for each in table])
    try:
        with atomic(path) as scratch:
            connection.execute(
                f"COPY (SELECT {names} FROM runs) TO '{str(scratch).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)"
            )
    finally:
        connection.close()


def _plain(value: Any) -> Any:
    """A cell as JSON knows it: DuckDB gives decimals for 1.5 and dates for dates."""
    from decimal import Decimal

    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float | str | list | dict) else str(value)
