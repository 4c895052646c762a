"""A tokenizer in which every number of a range is one token."""

from collections.abc import Iterable
from typing import Any

from epicycle.errors import ConfigError

UNKNOWN, END = "[UNK]", "[END]"


def number_merges(largest: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens 0..largest and the merges that build each from its digits, whatever pair of digits is joined first."""
    tokens = [str(n) for n in range(largest + 1)]
    merges = [(text[:cut], text[cut:]) for text in tokens if len(text) > 1 for cut in range(1, len(text))]
    known = set(tokens)
    return tokens, [pair for pair in merges if set(pair) <= known]


def train_tokenizer(texts: Iterable[str], largest: int, size: int = 4096) -> Any:
    """Byte-pair encoding of words, learned from texts; runs of digits are apart from letters, and 0..largest whole.

    White space separates and is not kept, so a number has one token wherever it stands. Numbers beyond the range are
    read as several tokens.

    Args:
        texts: What to learn words from; digits in it are ignored.
        largest: Largest number of the range, below 10,000.
        size: Entries at most, numbers included.

    Returns:
        A `transformers` fast tokenizer.

    Raises:
        ConfigError: The size has no room for the numbers and the letters.
    """
    import json

    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(33, 127) if not chr(code).isdigit()]
    room = size - (largest + 1)
    if not (0 <= largest < 10_000 and room >= len(letters) + 64):
        raise ConfigError(
            f"got a vocabulary of {size} for the numbers 0..{largest}; expected at least {largest + 1 + len(letters) + 64} and numbers "
            "below 10,000. Give a larger vocabulary or a smaller range."
        )

    def splitter() -> Any:
        digits = pre_tokenizers.Split(Regex(r"\d+"), behavior="isolated")
        return pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated"), digits]
        )

    words = Tokenizer(models.BPE(unk_token=UNKNOWN))
    words.pre_tokenizer = splitter()
    trainer = trainers.BpeTrainer(vocab_size=room, special_tokens=[UNKNOWN, END], initial_alphabet=letters,
                                  limit_alphabet=len(letters) + 256, show_progress=False, min_frequency=2)  # fmt: skip
    without_digits = ("".join(" " if c.isdigit() else c for c in text) for text in texts)
    words.train_from_iterator(without_digits, trainer)
    learned = json.loads(words.to_str())["model"]
    tokens, merges = number_merges(largest)
    names = [UNKNOWN, END, *tokens, *(name for name in learned["vocab"] if name not in (UNKNOWN, END))]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
    whole = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[*(tuple(m) for m in learned["merges"]), *merges], unk_token=UNKNOWN)
    )
    whole.pre_tokenizer = splitter()
    return PreTrainedTokenizerFast(tokenizer_object=whole, unk_token=UNKNOWN, eos_token=END, pad_token=END,
                                   clean_up_tokenization_spaces=False)  # fmt: skip
