# `make` lists the targets. Everything lives in .venv; nothing is installed elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run setup test check advisories soak mutants bench bench-peers bench-all train pins

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: setup  ## set up what is missing, then serve on 127.0.0.1:8080
	@$(BIN)/python -m api serve

setup: $(RUN)  ## create .venv and, once, everything under var/
	@$(BIN)/python -m api setup

test: $(DEV)  ## run the whole suite (under 15 minutes on two cores; three workers, for some tests wait)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: $(DEV)  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

advisories: $(DEV)  ## look for known vulnerabilities in requirements.txt (asks the package index's advisories)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.txt

soak: $(DEV)  ## long campaigns: ONRECORD_SOAK says how many crashes of each kind (200)
	ONRECORD_SOAK=$${ONRECORD_SOAK:-200} $(BIN)/python -m pytest -m soak -s --timeout 0
	$(BIN)/python -m tests.elsewhere

mutants: $(DEV)  ## break copies of the code, one promise at a time; the tests must notice every one (half an hour)
	$(BIN)/python -m tests.mutants

bench: $(DEV)  ## measure speed in about 5 minutes (needs wrk), results in bench/RESULTS.md
	$(BIN)/python -m bench.append --rounds 3 --seconds 3
	$(BIN)/python -m bench.twin
	$(BIN)/python -m bench.rates --seconds 5
	$(BIN)/python -m bench.growth --records 100000
	$(BIN)/python -m bench.proofs --records 100000

bench-peers: $(DEV)  ## other servers beside ours, in a quarter of an hour (installs them once, from the package index)
	$(BIN)/python -m bench.peers --install
	$(BIN)/python -m bench.peers

bench-all: $(DEV) bench-peers  ## measure everything, for an hour and more: long ledgers, other servers beside ours
	$(BIN)/python -m bench.append --rounds 9 --seconds 10
	$(BIN)/python -m bench.rates --seconds 30
	$(BIN)/python -m bench.proofs --records 10000000
	$(BIN)/python -m bench.growth --records 10000000

train: $(RUN)  ## train the five examples anew (ONRECORD_DATASETS names a folder of CSV files, else OpenML)
	$(BIN)/python -m models.train all

pins:  ## compile requirements*.txt from requirements*.in (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make pins' -q -o requirements.txt requirements.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make pins' -q -o requirements-dev.txt requirements-dev.in

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed, found %d.%d; try: make PYTHON=python3.12 run" % v)'
	@$(PYTHON) -m venv $(VENV)

$(RUN): requirements.txt | $(BIN)/python
	@echo "installing requirements.txt into $(VENV) (once, about a minute)"
	@$(PIP) -r requirements.txt
	@touch $@

$(DEV): requirements-dev.txt requirements.txt | $(BIN)/python
	@echo "installing requirements-dev.txt into $(VENV) (once, about a minute)"
	@$(PIP) -r requirements-dev.txt
	@touch $@ $(RUN)
