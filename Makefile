# Every verb sets up what it needs. Variables: PYTHON and VENV, and ARGS for the tool's own
# options: make test ARGS="-k packaging"

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && echo python3.11 || echo python3)
ARGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)
CODE := $(wildcard rllib_agentmixer tests benchmarks cluster docs tuned_examples)

# pip's lines on a terminal, so that one sees it work; one line a step in a log.
PIP_OUTPUT := $(shell test -t 2 || echo --quiet)
EXTRAS ?= dev

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: setup format check test learn cluster audit bench study demo docs clean help

setup: $(STAMP)  ## create .venv and install the package with its pinned dependencies
	@echo "$(VENV) is ready"

# PyPI's torch for Linux brings the CUDA libraries. Without a GPU:
#     make setup PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# A CPU wheel found there (2.13.0+cpu) sorts above PyPI's 2.13.0, so pip prefers it. torch
# goes first: the second call then finds it installed and does not look again.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): PyTorch first, then all else (several minutes, 2.7 GB)"
	@$(BIN)/python -m pip install $(PIP_OUTPUT) -c constraints.txt '$(TORCH)'
	@$(BIN)/python -m pip install $(PIP_OUTPUT) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

format: $(STAMP)  ## format the code and and fix what ruff can fix
	@$(BIN)/ruff check --fix-only --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)

check: $(STAMP)  ## lint, formatting, types
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/pyright --pythonpath $(BIN)/python

test: $(STAMP)  ## all tests without a marker; ARGS="-k name" or ARGS=--cov
	@$(BIN)/python -m pytest -q $(ARGS)

learn: $(STAMP)  ## the learning tests: train the tuned examples to their expectation
	@$(BIN)/python -m pytest -m learning $(ARGS)

cluster: $(STAMP)  ## several nodes, killed processes, full disks, servers, a browser (40 minutes)
	@$(BIN)/python -m pytest -m "cluster or faults" $(ARGS)

audit: $(STAMP)  ## known vulnerabilities of the pinned packages; needs the open internet
	@$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt $(ARGS)

bench: $(STAMP)  ## speed, with goals and a report: ARGS=--quick, ARGS="goals", ARGS=--list
	@$(BIN)/python -m benchmarks.speed $(ARGS)

study: $(STAMP)  ## a learning study with its report: ARGS="correlation --seeds 10", ARGS=--list
	@$(BIN)/python -m benchmarks.studies $(ARGS)

# Without the tools of developers and the environments of others, which the demo does not use.
demo:  ## train, evaluate and export a small team into runs/demo
	@test -e $(STAMP) -o -e $(VENV)/.demo || { $(MAKE) --no-print-directory setup \
	    STAMP=$(VENV)/.demo EXTRAS=plot,video; }
	@$(BIN)/python -m rllib_agentmixer demo --out runs/demo $(ARGS)

docs: $(STAMP)  ## API pages into build/docs
	@$(BIN)/pdoc --output-directory build/docs rllib_agentmixer

clean:  ## remove caches and build results; keeps .venv and runs
	@rm -rf build dist .coverage .pytest_cache .ruff_cache .hypothesis
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | \
	    while IFS="$$(printf '\t')" read -r verb text; do printf '  %-8s %s\n' "$$verb" "$$text"; done
