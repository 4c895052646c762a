# Set-up needs Python 3.11 or newer and a package index; a C compiler makes training several times faster.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test bench lint clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/epicycle demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs bench README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/pyright --pythonpath $(BIN)/python

# The bars, then peers from the package index in an environment of their own.
bench: setup .venv-peers/.ready
	$(BIN)/python bench/bench.py --json bench/last.json --peers .venv-peers/bin/python

.venv-peers/.ready: bench/peers.py Makefile
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check 'torch>=2.8,<2.14' 'transformer-lens==4.3.0' 'modelbatch==0.1.0' 'nnsight==0.8.1'
	touch $@

clean:
	rm -rf $(VENV) build dist
