# Everything below sets itself up: Python 3.11 or newer and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Recipes read it from the environment: whatever is in its path, the shell takes it as it is.
export LAKEHOUSE := $(or $(STEDI_LAKEHOUSE),$(CURDIR)/lakehouse)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev system run run-s3 test dev screenshots lint bench clean

help:
	@echo "make run    refresh the lakehouse, on sample data if there is no landing data"
	@echo "make dev    open the lakehouse in the Dagster UI"
	@echo "make run-s3 refresh a lakehouse on S3 and Glue servers of this machine, and remove it"
	@echo "make test   run the whole test suite"
	@echo "make lint   check style and types"
	@echo "make bench  measure a refresh beside other ways to the same tables"
	@echo "make clean  remove the tables and the run history; landing files and key stay"

setup: $(VENV)/ready
setup-dev: $(VENV)/ready-dev

$(VENV)/ready: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# What the tests of the production settings, of the UI and of Spark need; without it they are
# skipped with a message.
system:
	@missing=""; \
	[ -n "$$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || missing="postgresql"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v java >/dev/null || missing="$$missing openjdk-17-jre-headless"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } \
		|| echo "Could not install $$missing: the tests that need it are skipped."; fi

run: setup
	@if [ "$$STEDI_DEPLOYMENT" != aws ] && [ -z "$$STEDI_LANDING" ] && [ ! -e "$$LAKEHOUSE/catalog.db" ] \
		&& [ -z "$$(find "$$LAKEHOUSE/landing" -type f 2>/dev/null | head -n 1)" ]; then \
		echo "No landing data yet: writing sample data."; $(BIN)/stedi sample; fi
	$(BIN)/stedi refresh
	$(BIN)/stedi status

run-s3: setup-dev
	env -u STEDI_LANDING $(BIN)/python -m stedi_assets_tests.aws_servers \
		-- stedi sample -- stedi refresh -- stedi status

test: setup-dev system
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

dev: setup
	@if [ "$$STEDI_DEPLOYMENT" != aws ] && [ -z "$$STEDI_LANDING" ]; then umask 077; \
		mkdir -p $(foreach source,customer accelerometer step_trainer,"$$LAKEHOUSE/landing/$(source)/landing"); \
		echo "Drop landing files into $$LAKEHOUSE/landing/{customer,accelerometer,step_trainer}/landing."; fi
	@# The history of runs, and what they write, is for its user alone.
	umask 077; DAGSTER_HOME="$$PWD" $(BIN)/dagster dev -h 127.0.0.1

screenshots: setup-dev system
	$(BIN)/python -m stedi_assets_tests.browser.screenshots

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Java, where there is one, for the sides on Spark.
bench: $(VENV)/ready-dev
	$(BIN)/python -m benchmarks.bench $(BENCH)

clean:
	rm -rf "$$LAKEHOUSE/warehouse" "$$LAKEHOUSE/catalog.db" "$$LAKEHOUSE/scratch" "$$LAKEHOUSE/report" .dagster
