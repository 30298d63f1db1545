# Everything below sets itself up: Python 3.11 or newer and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAKEHOUSE := $(or $(STEDI_LAKEHOUSE),$(CURDIR)/lakehouse)

.DEFAULT_GOAL := help
.PHONY: help setup run test dev lint bench clean

help:
	@echo "make run    refresh the lakehouse, on sample data if there is no landing data"
	@echo "make dev    open the lakehouse in the Dagster UI"
	@echo "make test   run the whole test suite"
	@echo "make lint   check style and types"
	@echo "make bench  compare a refresh with a bare script"
	@echo "make clean  remove the tables and the run history; landing files and key stay"

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: setup
	@if [ -z "$(STEDI_LANDING)" ] && [ ! -e "$(LAKEHOUSE)/landing" ] && [ ! -e "$(LAKEHOUSE)/catalog.db" ]; then \
		echo "No landing data yet: writing sample data."; $(BIN)/stedi sample; fi
	$(BIN)/stedi refresh
	$(BIN)/stedi status

test: setup
	$(BIN)/python -m pytest

dev: setup
	DAGSTER_HOME=$(CURDIR) $(BIN)/dagster dev -h 127.0.0.1

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf $(LAKEHOUSE)/warehouse $(LAKEHOUSE)/catalog.db $(LAKEHOUSE)/scratch .dagster
