"""Model directories as strangers save them: what is read right, and what is refused before anything is written."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from epicycle.analysis.ablation import AblationConfig
from epicycle.analysis.explain import ExplainConfig, explain, number_counts, open_explanation
from epicycle.cli.main import main
from epicycle.errors import DataError, RunError
from epicycle.models.language import load_language_model
from epicycle.report.explain import command, explain_page
from epicycle.runs.directory import list_runs
from epicycle.tasks.prompts import PromptConfig, prompt_task, question_tokens

WORDS = [
    "<unk>",
    "<bos>",
    "<eos>",
    "Q",
    ":",
    "What",
    "is",
    "A",
    "Answer",
    "?",
    ".",
    "+",
    "=",
    "Add",
    "and",
    "Sum",
    "Calculate",
    "the",
    "sum",
    "of",
    "Total",
    "result",
    "plus",
    "Put",
    "together",
    "How",
    "much",
    "when",
    "added",
    "to",
]
NUMBERS = 60


def tokenizer(*, end=False, known=True):
    """Whole numbers and words; a beginning-of-text token in front, and with `end` one behind as well."""
    words = WORDS if known else WORDS[:3]
    vocabulary = {word: i for i, word in enumerate([*words, *map(str, range(NUMBERS))])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>" if end else "<bos> $A", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )


def save(path, words=None, rows=128, layers=2, **changes):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=rows, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2, **changes,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    (words or tokenizer()).save_pretrained(path)
    return path


CONFIG = ExplainConfig(
    prompts=PromptConfig(largest_operand=14, form="bare"), draws=99, ablation=AblationConfig(controls=1)
)


def test_an_end_token_is_not_asked_after(tmp_path):
    """A tokenizer that closes every text asks the same questions as one that does not."""
    task = prompt_task(CONFIG.prompts)
    open_, closing = tokenizer(), tokenizer(end=True)
    ids = np.array([open_.convert_tokens_to_ids(str(n)) for n in range(NUMBERS)])
    assert closing("1 + 2 =")["input_ids"][-1] == 2
    assert task.tokens(closing, "test", ids) == task.tokens(open_, "test", ids)
    assert all(row[0] == 1 and row[-1] == open_.convert_tokens_to_ids("=") for row in task.tokens(closing, "test", ids))
    shots = prompt_task(PromptConfig(largest_operand=14, form="bare", shots=2))
    assert shots.tokens(closing, "test", ids) == shots.tokens(open_, "test", ids)
    found = [
        explain(save(tmp_path / name, words), CONFIG, tmp_path / "runs")
        for name, words in (("open", open_), ("closing", closing))
    ]
    assert found[0].ablations.rows == found[1].ablations.rows


def test_unknown_words_are_refused():
    with pytest.raises(DataError, match="does not know"):
        question_tokens(tokenizer(known=False), ["1 + 2 ="])


def _change(path, edit, name="config.json"):
    values = json.loads((path / name).read_text())
    edit(values)
    (path / name).write_text(json.dumps(values))


def _weights(path, edit):
    tensors = load_file(path / "model.safetensors")
    edit(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def _nan(name):
    def edit(tensors):
        tensors[name][0, 0] = float("nan")

    return lambda path: _weights(path, edit)


BROKEN = {
    "weights of a deeper model": (lambda path: _change(path, lambda c: c.update(num_hidden_layers=1)), "no place for"),
    "weights of another shape": (lambda path: _change(path, lambda c: c.update(vocab_size=100)), "other shapes"),
    "a classifier's head": (
        lambda path: _weights(path, lambda t: t.update({"score.weight": torch.zeros(2, 32)})),
        "score.weight",
    ),
    "an adapter": (lambda path: (path / "adapter_config.json").write_text("{}"), "Merge the adapter"),
    "not finite in the unembedding": (_nan("lm_head.weight"), "not finite"),
    "not finite in an MLP": (_nan("model.layers.1.mlp.up_proj.weight"), "not finite"),
    "zero embedding": (
        lambda path: _weights(path, lambda t: t["model.embed_tokens.weight"].zero_()),
        "rows are all equal",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_directories_are_one_sentence_and_leave_nothing(tmp_path, capsys, what):
    edit, said = BROKEN[what]
    edit(save(tmp_path / "model"))
    words = [
        "explain",
        str(tmp_path / "model"),
        "--largest-operand",
        "14",
        "--form",
        "bare",
        "--out",
        str(tmp_path / "runs"),
        "--threads",
        "1",
    ]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not list_runs(tmp_path / "runs")


def test_a_tokenizer_beyond_the_embedding_is_refused(tmp_path):
    with pytest.raises(DataError, match="embedding of 40 rows"):
        load_language_model(save(tmp_path / "small", rows=40))
    with pytest.raises(DataError, match="a file"):
        load_language_model(tmp_path / "small" / "config.json")
    with pytest.raises(DataError, match="no name"):
        load_language_model("")
    with pytest.raises(DataError, match="without layers"):
        load_language_model(save(tmp_path / "flat", layers=0))


def test_norms_behind_the_modules_are_refused(tmp_path):
    config = transformers.OPTConfig(vocab_size=128, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32,
                                    max_position_embeddings=64, do_layer_norm_before=False)  # fmt: skip
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path / "opt")
    tokenizer().save_pretrained(tmp_path / "opt")
    with pytest.raises(DataError, match="no final norm"):
        load_language_model(tmp_path / "opt")


def test_damaged_results_are_told_and_computed_again(tmp_path):
    path = save(tmp_path / "model")
    found = explain(path, CONFIG, tmp_path / "runs")
    before = found.spectrum.share
    arrays = found.run.path / "results" / "lens" / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:50])
    with pytest.raises(RunError, match="lens"):
        open_explanation(found.run)
    again = explain(path, CONFIG, tmp_path / "runs")
    np.testing.assert_array_equal(again.lens.exact, found.lens.exact)
    shutil.rmtree(found.run.path / "results" / "spectrum")
    with pytest.raises(RunError, match="spectrum"):
        open_explanation(found.run)
    np.testing.assert_array_equal(explain(path, CONFIG, tmp_path / "runs").spectrum.share, before)


def test_what_the_page_says_is_in_its_numbers_and_its_command_is_whole(tmp_path):
    found = explain(save(tmp_path / "model"), CONFIG, tmp_path / "runs")
    page = explain_page(found)
    assert page.numbers["map"]["agreement_last_digit"] == found.map.agreement_last_digit
    assert page.numbers["report"].endswith("report.html")
    for flag in ("--operation add", "--form bare", "--shots 0", "--split-seed 0"):
        assert flag in command(found)
    assert "by chance its share of power is half" in " ".join(page.doubts)


def test_how_often_numbers_occur_is_not_guessed_from_a_word_list(tmp_path):
    words = tokenizer()
    lm = load_language_model(save(tmp_path / "model", words))
    shuffled = dict(
        zip(map(str, range(NUMBERS)), np.random.default_rng(0).permutation(NUMBERS) + len(WORDS), strict=True)
    )
    made = Tokenizer(
        models.WordLevel(
            {**{w: i for i, w in enumerate(WORDS)}, **{k: int(v) for k, v in shuffled.items()}}, unk_token="<unk>"
        )
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    other = load_language_model(
        save(tmp_path / "other", transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>"))
    )
    assert number_counts(tmp_path / "model", lm, 30) == (None, "unknown")
    assert number_counts(tmp_path / "other", other, 30) == (None, "unknown")


def test_only_the_models_own_files_are_weighed(tmp_path):
    path = save(tmp_path / "model")
    shutil.copy(path / "model.safetensors", path / "consolidated.safetensors")
    load_language_model(path)


def test_task_names_say_where_answers_end():
    assert (
        prompt_task(PromptConfig(largest_operand=20, operation="multiply", cap=200)).name
        == "products of two numbers 0..20, up to 200"
    )
    assert prompt_task(PromptConfig(largest_operand=20)).name == "sums of two numbers 0..20"
