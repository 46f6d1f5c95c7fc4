# Every command sets up what it needs: git, make and Python 3.10 or later are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_VENV := .venv-demo
DEMO_BIN := $(DEMO_VENV)/bin
CONFIG ?= secrets/config.json

.PHONY: help demo sync test format bench image image-test destinations-test form clean
.DEFAULT_GOAL := help

help:  ## Show the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(DEMO_VENV)/.ready  ## Sync the sandbox's SMS into demo/calltouch_sms.duckdb, twice
	@$(DEMO_BIN)/python -m demo

sync: $(DEMO_VENV)/.ready  ## Sync a real account into a DuckDB file of its own: make sync CONFIG=secrets/config.json
	@$(DEMO_BIN)/python -m demo --config $(CONFIG)

test: $(VENV)/.ready  ## Lint, type-check and test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

format: $(VENV)/.ready  ## Format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready  ## Measure speed, calls and memory beside other ways; writes docs/performance.md
	$(BIN)/pip install --quiet -e '.[bench]'
	$(BIN)/python -m benchmarks

image:  ## Build the Docker image, with docker or, where no engine runs, buildah
	@integration_tests/image/build.sh

image-test: $(VENV)/.ready  ## Build the image and run its commands against the sandbox
	@integration_tests/image/build.sh --test
	@$(BIN)/pytest integration_tests/image -n 0 -s

destinations-test: $(DEMO_VENV)/.ready  ## Sync into DuckDB and PostgreSQL, and compare with the account
	$(DEMO_BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,destinations]'
	$(DEMO_BIN)/python -m pytest -c /dev/null --rootdir . -p no:cacheprovider -W ignore \
		--timeout 300 --show-capture=no integration_tests/destinations

form:  ## Draw the form of spec.json as docs/form/form.png
	cd docs/form && npm install --silent && node render.mjs

clean:  ## Remove the environments and what tools have left
	rm -rf $(VENV) $(DEMO_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .tmp

$(VENV)/.ready: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[tests]'
	@touch $@

$(DEMO_VENV)/.ready: setup.py
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@
