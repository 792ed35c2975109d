PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.DEFAULT_GOAL := help
.PHONY: help demo test slow check build clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "zodi needs Python >= 3.11: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.cpu: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[cpu]'
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[cpu,dev]'
	@touch $@

demo: $(VENV)/.cpu ## Install, then the whole story on the bundled street world; look at demo/report.html
	$(BIN)/zodi demo -o $(DEMO)

test: $(VENV)/.dev ## Install what tests need and run them
	$(BIN)/python -m pytest

slow: $(VENV)/.dev ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

build: $(VENV)/.dev ## Build the wheel and the source distribution into dist/
	rm -rf dist build
	$(BIN)/python -m build

clean: ## Remove what the targets above made, but not the virtual environment
	rm -rf build dist *.egg-info $(DEMO) .pytest_cache .ruff_cache .mypy_cache
