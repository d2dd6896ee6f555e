# Everything runs in .venv inside this clone; it is made when absent, and again when what it is made from changes.
# `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOG := $(VENV)/install.log
# A benchmark is a module of benchmarks/ that can be run; `make bench BENCHMARKS=latency` runs one. `gpu` has a
# target of its own, as has `quality`, which times nothing; `figures` measures nothing, and `peers` needs environments that `make bench-peers` makes.
BENCHMARKS ?= $(filter-out gpu figures quality,$(basename $(notdir $(shell grep -l '^if __name__ == "__main__":' benchmarks/*.py))))

.PHONY: help demo test check static unit chaos hostile bench bench-peers corpus quality gpu figures openapi fmt constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## photos with texts through the whole service, then the page on port 8000; ONCE=1 leaves after printing
	@$(BIN)/iconotext demo $(if $(filter-out 0,$(ONCE)),--once)

test: $(STAMP) ## every test that needs no GPU
	@echo 'tests marked gpu are left out ($(BIN)/pytest -m gpu runs them); whatever else is skipped is listed with its reason'
	@$(BIN)/pytest

check: static unit ## format, lint, types, walls, unit tests

static: $(STAMP) ## the part of check that runs no test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit: $(STAMP)
	@$(BIN)/pytest tests/unit

chaos: $(STAMP) ## real processes under faults drawn from a seed; ARGS="--hell", ARGS="--minutes 30", ARGS="poison races"
	@$(BIN)/python -m tests.chaos $(ARGS)

hostile: $(STAMP) ## schemathesis against the running service, drawn from a seed; ARGS="--cases 50000", ARGS="--seed 7"
	@$(BIN)/python -m tests.hostile $(ARGS)

bench: $(STAMP) ## the benchmarks: a table each, and benchmarks/out/*.json
	@failed=''; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m "benchmarks.$$name" || failed+=" $$name"; done; \
	if [ -n "$$failed" ]; then echo "a bar fell short, or the benchmark broke:$$failed" >&2; exit 1; fi

bench-peers: $(STAMP) ## this service beside LitServe, BentoML, Ray Serve and a plain Celery; makes their environments (1.4 GB)
	@$(BIN)/python -m benchmarks.peers.venvs
	@$(BIN)/python -m benchmarks.peers

corpus: $(STAMP) ## over a thousand hostile pictures through the whole service, and what became of each format
	@$(BIN)/pytest tests/integration/test_pillow_corpus.py --log-cli-level WARNING -o log_cli=true

quality: $(STAMP) ## how good the starter profile is, on the demo's photographs
	@$(BIN)/python -m benchmarks.quality

gpu: $(STAMP) ## what needs an NVIDIA GPU: its tests, and its table
	@$(BIN)/pytest -m gpu tests/gpu
	@$(BIN)/python -m benchmarks.gpu

figures: $(STAMP) ## write the measured figures of benchmarks/out into README
	@$(BIN)/python -m benchmarks.figures

openapi: $(STAMP) ## write api/openapi.json as the service serves it
	@$(BIN)/python -m tests.openapi

fmt: $(STAMP) ## format, and mend what the linter can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# redis asks for async-timeout below Python 3.11.3 only, so a freeze on a later one does not hold it.
constraints: $(STAMP) ## write constraints.txt from .venv; UPGRADE=1 takes the newest versions first
	@$(if $(filter-out 0,$(UPGRADE)),$(BIN)/pip install --quiet --upgrade --upgrade-strategy eager -e '.[dev]')
	@{ echo '# What the tests ran with, made by `make constraints` (UPGRADE=1 for newer versions).'; \
	{ $(BIN)/pip freeze --all --exclude-editable --exclude pip --exclude iconotext; \
	echo 'async-timeout==5.0.1; python_full_version < "3.11.3"'; } | LC_ALL=C sort -f; } > constraints.new
	@mv constraints.new constraints.txt
	@touch $(STAMP)

clean: ## remove what tools left behind; .venv stays (rm -rf .venv)
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache benchmarks/out
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# pip is silent for minutes or says a thousand lines: show its large downloads and its stages, keep the rest in the log.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null || { \
	echo "Iconotext needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' answers: $$($(PYTHON) --version 2>&1 | tail -n 1). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@if [ -e $(STAMP) ]; then echo 'installing what changed'; else echo 'installing into $(VENV) (first time: about 2 minutes, 6 GB; log: $(LOG))'; fi
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off -c constraints.txt -e '.[dev]' 2>&1 \
	| tee $(LOG) | awk '/^ *Downloading .*([0-9][0-9][0-9]\.[0-9]+ MB|GB)/ { sub(/^ */, ""); print "  " $$0 } \
	/^Collecting / { if (++n % 40 == 0) print "  " n " packages found" } \
	/^Installing collected packages/ { print "  unpacking " n " packages" } \
	/^ *(ERROR|error):/ { print } { fflush() }' \
	|| { echo 'the installation failed; the end of $(LOG):' >&2; tail -n 15 $(LOG) >&2; exit 1; }
	@touch $@
