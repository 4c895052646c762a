"""Number text as an experiment, as small as it can be; and the laws of its relabelled control."""

import itertools
import json
import re

import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError
from epicycle.studies import number_text
from epicycle.tasks.number_text import NumberTextConfig, statements
from epicycle.training.language_config import PretrainConfig, ShapeConfig, StepConfig, from_dict, to_dict


def test_relabelling_exchanges_names_and_nothing_else():
    plain = list(itertools.islice(statements(NumberTextConfig(largest=49)), 400))
    other = list(itertools.islice(statements(NumberTextConfig(largest=49, relabelled=3)), 400))
    names = {}
    for one, two in zip(plain, other, strict=True):
        assert re.sub(r"\d+", "#", one) == re.sub(r"\d+", "#", two)
        for a, b in zip(re.findall(r"\d+", one), re.findall(r"\d+", two), strict=True):
            assert names.setdefault(a, b) == b
    assert len(set(names.values())) == len(names) > 40 and names != {n: n for n in names}
    with pytest.raises(ConfigError, match="relabelling seed"):
        NumberTextConfig(relabelled=-1)


def test_older_runs_keep_their_ids():
    config = PretrainConfig()
    assert "relabelled" not in to_dict(config)["text"] and from_dict(to_dict(config)) == config
    mixed = PretrainConfig(text=NumberTextConfig(relabelled=0))
    assert to_dict(mixed)["text"]["relabelled"] == 0 and from_dict(to_dict(mixed)) == mixed


def tiny(name):
    step = StepConfig(steps=10, batch=4, evaluate_every=10, learning_rate=3e-3)
    return number_text.Preset(
        name=name,
        largest=63,
        shape=ShapeConfig(num_layers=1, width=16, num_heads=2, context=32),
        step=step,
        seeds=(0,),
        alone=False,
    )


def test_from_text_to_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(number_text, "preset", tiny)
    monkeypatch.setattr(
        number_text, "kinds_of", lambda config: ("parity", "quantity") if not config.kinds else config.kinds
    )
    monkeypatch.setattr("epicycle.report.number_text.preset", tiny)
    command = ["reproduce", "number-text", "--out", str(tmp_path), "--threads", "1", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["conditions"]) == {
        "all kinds",
        "numbers relabelled",
        "without parity",
        "without quantity",
        "only quantity",
    }
    assert set(found["conditions"]["all kinds"]["kappa"]) == {"2", "3", "5", "7", "9", "10", "20"}
    page = (tmp_path / found["report"].split("/")[-2] / "report.html").read_text()
    assert "without parity" in page and "epicycle reproduce number-text" in page
    assert main(command) == 0  # read back
    assert json.loads(capsys.readouterr().out)["conditions"] == found["conditions"]


@pytest.mark.parametrize("words", [["--only", "P1"], ["--plan"], ["--figures"], ["--preset", "full"]])
def test_what_has_no_meaning_here_is_refused(tmp_path, capsys, words):
    assert main(["reproduce", "number-text", "--out", str(tmp_path / "r"), *words]) == 2
    assert "expected" in capsys.readouterr().err and not (tmp_path / "r").exists()
