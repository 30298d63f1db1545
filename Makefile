# Everything below sets itself up: Python 3.11 or newer and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Recipes read it from the environment: whatever is in its path, the shell takes it as it is.
export LAKEHOUSE := $(or $(STEDI_LAKEHOUSE),$(CURDIR)/lakehouse)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev system run run-s3 test fast-test dev screenshots docs snapshots lint lock bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/ready ## install what `stedi` needs, in .venv
setup-dev: $(VENV)/ready-dev ## install what tests and checks need, too

# The versions that the tests ran with (`make lock` writes them anew), by uv, which takes a fifth of
# pip's time. Where only pip is configured for the package index at hand, pip does it. Both compile
# what they install: where PYTHONDONTWRITEBYTECODE is set, Python would do so at each start.
install = { $(BIN)/python -m pip install --quiet uv \
	&& $(BIN)/uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable $(1); } \
	|| $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable $(1)

$(VENV)/ready: pyproject.toml setup.py constraints.txt
	@echo "Setting up .venv: this takes a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(call install,.)
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@$(call install,'.[dev]')
	@touch $@

# What the tests of the production settings, of the UI and of Spark need; without it they are
# skipped with a message.
system: ## install PostgreSQL, Chromium and Java for the tests, if they are missing
	@missing=""; \
	[ -n "$$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || missing="postgresql"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v java >/dev/null || missing="$$missing openjdk-17-jre-headless"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } \
		|| echo "Could not install $$missing: the tests that need it are skipped."; fi

run: setup ## refresh the lakehouse, on sample data if there is no landing data
	@if [ "$$STEDI_DEPLOYMENT" != aws ] && [ -z "$$STEDI_LANDING" ] && [ ! -e "$$LAKEHOUSE/catalog.db" ] \
		&& [ -z "$$(find "$$LAKEHOUSE/landing" -type f 2>/dev/null | head -n 1)" ]; then \
		echo "No landing data yet: writing sample data."; $(BIN)/stedi sample; fi
	$(BIN)/stedi refresh

run-s3: setup-dev ## refresh a lakehouse on S3 and Glue servers of this machine, and remove it
	env -u STEDI_LANDING $(BIN)/python -m stedi_assets_tests.aws_servers \
		-- stedi sample -- stedi refresh -- stedi status

test: setup-dev system ## run the whole test suite
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

fast-test: setup-dev ## run the tests that need no server, process or refresh
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

dev: setup ## open the lakehouse in the Dagster UI
	@$(BIN)/stedi dev

screenshots: setup-dev system ## take the pictures of docs/ anew
	$(BIN)/python -m stedi_assets_tests.browser.screenshots

docs: setup-dev ## write anew what docs/ and deploy/ say of tables and settings
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.lake_formation

snapshots: setup-dev ## write anew what tests keep of tables' SQL and of Dagster's assets
	$(BIN)/python -m stedi_assets_tests.snapshots.make

lint: setup-dev ## check style, spelling, types and generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m docs.lake_formation --check

# In a folder of its own, so that the newest versions that fit are installed.
lock: ## write constraints.txt anew, with the newest versions that fit
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" \
		&& "$$folder/bin/python" -m pip install --quiet --editable '.[dev]' \
		&& "$$folder/bin/python" -m pip freeze --all --exclude pip --exclude-editable >"$$folder/found" \
		&& grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' "$$folder/found" >constraints.txt

# Java, where there is one, for the sides on Spark.
bench: $(VENV)/ready-dev ## measure a refresh beside other ways to the same tables
	$(BIN)/python -m benchmarks.bench $(BENCH)

clean: ## remove the tables, tagged training sets too, and the run history; landing files, key, holds and what is on record of people stay
	@echo "Removing the tables in $$LAKEHOUSE, tagged training sets with them, and the history of runs (also .dagster here)."
	@# Whoever is held or forgotten stays so when the tables are made again, and what is on record.
	@test ! -d "$$LAKEHOUSE/warehouse" || (cd "$$LAKEHOUSE/warehouse" \
		&& find . -mindepth 1 -depth ! -path ./landing ! -path ./landing/holds ! -path "./landing/holds/*" \
		! -path ./landing/forgotten ! -path "./landing/forgotten/*" \
		! -path ./landing/withdrawals ! -path "./landing/withdrawals/*" -delete)
	@rmdir "$$LAKEHOUSE/warehouse/landing" "$$LAKEHOUSE/warehouse" 2>/dev/null || true
	@rm -rf "$$LAKEHOUSE/catalog.db" "$$LAKEHOUSE/scratch" "$$LAKEHOUSE/report" "$$LAKEHOUSE/history" .dagster
