"""Text as one long row of tokens: number text, or a folder of files."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from epicycle._files import sha256
from epicycle.errors import DataError
from epicycle.tasks.number_text import NumberTextConfig, statements
from epicycle.tasks.prompts import TEMPLATES

SAMPLE = 20_000
"""Statements from which the tokenizer of number text learns its words."""
CHUNK = 2_000
MAX_FILE = 64 * 2**20
"""Larger files are passed over."""


def text_files(paths: list[Path]) -> list[Path]:
    """Files that hold UTF-8 text, in a fixed order; folders are searched through, hidden and binary files passed over.

    Raises:
        DataError: A path does not exist, or none of the files holds text.
    """
    found = []
    for path in paths:
        if not path.exists():
            raise DataError(
                f"got corpus {path}, which does not exist; expected a text file or a folder of them. Check the path."
            )
        inside = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        found += [
            p for p in inside if path.is_file() or not any(part.startswith(".") for part in p.relative_to(path).parts)
        ]
    texts = [path for path in {path.resolve(): path for path in found}.values() if _is_text(path)]
    if not texts:
        raise DataError(f"got {', '.join(map(str, paths))} with {len(found)} file{'s' * (len(found) != 1)}, none of which is UTF-8 text; expected "
                        "text to train on. Choose another folder.")  # fmt: skip
    return texts


def _is_text(path: Path) -> bool:
    try:
        if not 0 < path.stat().st_size <= MAX_FILE:
            return False
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError:
        return False
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == 8192  # a character cut in two by the end of the sample
    return bool(head.strip())


def read_text(files: list[Path]) -> Iterator[str]:
    """Contents of files, one after the other; what is not UTF-8 further on is replaced."""
    for path in files:
        yield path.read_text(encoding="utf-8", errors="replace")


def corpus_digest(files: list[Path]) -> str:
    """SHA-256 over the contents of files, in their order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def tokenizer_texts(config: NumberTextConfig, files: list[Path] | None) -> Iterator[str]:
    """What the tokenizer learns its words from: the text, and the words of the questions that come later.

    The words of number text are those of every kind, whichever are switched off, so that all models share a vocabulary.
    """
    questions = [f"{text.format(a=0, b=0)} Answer: " for texts in TEMPLATES.values() for text in texts]
    yield from (" ".join(questions) for _ in range(100))
    if files is None:
        everything = NumberTextConfig(largest=config.largest, law=config.law)
        yield from itertools.islice(statements(everything), SAMPLE)
    else:
        yield from read_text(files)


def corpus_tokens(
    tokenizer: Any, config: NumberTextConfig, files: list[Path] | None, count: int, skip: int = 0
) -> np.ndarray:
    """The first `count` tokens of the text, int32; a corpus that ends before is read again.

    Args:
        tokenizer: From `models.tokenizer`.
        config: The number text.
        files: Text files instead of it.
        count: Tokens wanted.
        skip: Tokens to pass over at the beginning, every time the corpus is read.
    """
    tokens = np.empty(count, np.int32)
    filled = 0
    while filled < count:
        texts = statements(config) if files is None else _paragraphs(files)
        passed = 0
        while filled < count and (chunk := list(itertools.islice(texts, CHUNK))):
            for row in tokenizer(chunk)["input_ids"]:
                fresh = row[max(skip - passed, 0) :]
                passed += len(row)
                part = fresh[: count - filled]
                tokens[filled : filled + len(part)] = part
                filled += len(part)
    return tokens


def _paragraphs(files: list[Path]) -> Iterator[str]:
    for text in read_text(files):
        yield from (part for part in text.split("\n\n") if part.strip())


def size_of(tokenizer: Any, files: list[Path], most: int) -> int:
    """Tokens of the corpus, counted up to `most`."""
    total = 0
    for text in _paragraphs(files):
        total += len(tokenizer(text)["input_ids"])
        if total >= most:
            return most
    return total
