# Everything here needs only Python 3.11 to 3.13: `make demo` sets up the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Otherwise each process that a test starts would compile all of atx again.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up test test-programs test-fast test-faults soak lint format pictures requirements clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "atx needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: requirements.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) (once; a minute or two) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	@echo "setting up what the tests need …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

setup: $(VENV)/runtime ## install atx in .venv
setup-dev: $(VENV)/dev ## also install what tests and benchmarks need

demo: setup ## run the whole graph on the sample library and print the results
	@$(BIN)/atx demo

up: setup ## open the Dagster UI, its daemon and MLflow; Ctrl-C ends them
	@$(BIN)/atx up

# More processes than cores: tests that start servers spend half of their time waiting.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

test-programs: setup-dev
	@$(BIN)/python -m atx_assets_tests.programs

test: lint test-programs ## check formatting, lint and types, and run all tests except test-faults
	@$(PYTEST) -m "not faults"

test-fast: setup-dev ## run the tests that take a minute and a half together
	@$(PYTEST) -m "not slow"

test-faults: test-programs ## run the tests that kill, fill, stop and damage things
	@$(PYTEST) -m faults

soak: test-programs ## run the tests that take hours, in resumable parts; PART=name runs one
	@$(BIN)/python -m atx_assets_tests.soak $(PART)

lint: setup-dev ## check formatting, lint, types, imports, and that Dagster can load the graph
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint.log || { cat $(VENV)/lint.log; exit 1; }
	@mkdir -p $(VENV)/dagster && echo 'telemetry: {enabled: false}' > $(VENV)/dagster/dagster.yaml
	@DAGSTER_HOME="$(abspath $(VENV))/dagster" $(BIN)/dg check defs > $(VENV)/lint.log 2>&1 || \
	  { cat $(VENV)/lint.log; exit 1; }

format: setup-dev ## format the code
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

pictures: setup-dev ## run the demo and rebuild the README's pictures
	@$(BIN)/python docs/make_pictures.py

requirements: ## pin the dependencies again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url \
	  --custom-compile-command "make requirements" pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url \
	  --custom-compile-command "make requirements" --extra dev pyproject.toml \
	  --constraints requirements.txt -o requirements-dev.txt

clean: ## remove .venv and caches; homes and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
