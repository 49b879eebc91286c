# finkbridge: `make demo` shows it, `make test` proves it. Both set up all that they need in .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 3000
KILLS ?= 1000
MUTANTS ?= 100000
MINUTES ?= 30
SEED ?= 7
UI_DEMO_HOME := .tmp_dagster_home_demo

.DEFAULT_GOAL := help
.PHONY: help demo ui ui-demo test test-fast attacks torture lint format bench constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "finkbridge needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## the whole way in a minute: embedded broker, simulated alerts, drain, SQL, a light curve
	$(BIN)/finkbridge demo

ui: $(STAMP) ## the Dagster UI on http://127.0.0.1:3000 (PORT=... for another port)
	@echo "Dagster UI, in half a minute: http://127.0.0.1:$(PORT)"
	DAGSTER_HOME="$(CURDIR)/dagster_home" $(BIN)/dagster dev -h 127.0.0.1 -p $(PORT)

ui-demo: $(STAMP) ## the same, with the demo's broker and a steady stream of simulated alerts behind it
	@rm -rf $(UI_DEMO_HOME) && mkdir $(UI_DEMO_HOME) && cp dagster_home/dagster.yaml $(UI_DEMO_HOME)
	@echo "Dagster UI, in half a minute: http://127.0.0.1:$(PORT) (alerts come at the first tick: within five minutes)"
	DAGSTER_HOME="$(CURDIR)/$(UI_DEMO_HOME)" $(BIN)/finkbridge demo --behind --folder demo-ui -- $(BIN)/dagster dev -h 127.0.0.1 -p $(PORT)

test: $(STAMP) ## set up and run the whole test suite
	$(BIN)/python -m pytest -n 3 --dist loadfile --ignore=tests/torture

attacks: $(STAMP) ## attack broker, disk and machine with real processes (needs Java and Maven; 10 minutes and more)
	$(BIN)/python -m tests.attacks

test-fast: $(STAMP) ## only the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

torture: $(STAMP) ## kills, mutants, a soak and all attacks at full size: hours (KILLS=1000 MUTANTS=100000 MINUTES=30 SEED=7)
	$(BIN)/python -m tests.torture --kills $(KILLS) --mutants $(MUTANTS) --minutes $(MINUTES) --seed $(SEED)

lint: $(STAMP) ## ruff, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## benchmarks on a real Kafka (needs Java and Maven): table and JSON in benchmarks/results
	$(BIN)/python -m benchmarks.drain

constraints: $(STAMP) ## write the exact versions of this environment to constraints.txt
	@{ echo "# Exact versions that the tests ran with: 'make constraints' writes them."; \
	   $(BIN)/pip freeze --disable-pip-version-check --exclude-editable | grep -E '^[A-Za-z0-9_.-]+==' | uniq ; } > constraints.txt

clean: ## remove the environment and the demos' lakes
	rm -rf $(VENV) demo demo-ui $(UI_DEMO_HOME)
