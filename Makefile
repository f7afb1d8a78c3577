# poolscope: `make run` opens the dashboard, `make test` proves everything, `make check` is the quick look before a commit.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8050
DATA ?=
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := sim/sample

.PHONY: help run test check lint format pool sample screenshots examples clean

help:            ## this list
	@grep -E '^[a-z]+: *.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

run: $(VENV)/.runtime  ## the dashboard on http://127.0.0.1:8050 (PORT=9000 DATA=folder)
	@$(BIN)/poolscope $(if $(DATA),--data "$(DATA)") serve --host $(HOST) --port $(PORT)

test: $(VENV)/.development packages  ## everything, with a real pool and a real browser
	@$(BIN)/pytest

check: $(VENV)/.development lint  ## linters and the quick tests, without pool and browser, on all cores
	@$(BIN)/pytest -q -n auto -m "not pool and not browser and not slow"

lint: $(VENV)/.development
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.development  ## put the code into its form
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

pool: $(VENV)/.development packages  ## a real HTCondor pool on loopback until Ctrl-C
	@$(BIN)/python -m tests.realpool up

sample: $(VENV)/.development packages  ## record the bundled sample afresh (25 minutes)
	@rm -rf build/sample build/sample-truth
	@$(BIN)/python -m tests.realpool record build/sample
	@$(BIN)/python -m tests.realpool.bundle build/sample $(SAMPLE)

screenshots: $(VENV)/.development packages  ## the pictures of README and docs
	@$(BIN)/python -m tests.browser.screenshots docs/images

examples: $(VENV)/.development  ## what README and docs show of the command line, printed anew
	@$(BIN)/python -m tests.examples

clean:           ## remove the environment and what was built
	rm -rf $(VENV) build dist

.PHONY: packages
packages:
	@sh tests/packages.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "poolscope needs Python 3.11 or newer; set PYTHON=python3.12, say")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: install it with your package manager" >&2; exit 1; }

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing poolscope into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	@echo "installing what tests and linters need" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev
	@touch $@
