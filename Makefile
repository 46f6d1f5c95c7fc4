# Every command sets up what it needs: git, make and Python 3.10 or later are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_VENV := .venv-demo
DEMO_BIN := $(DEMO_VENV)/bin
# What each environment is installed from, by hash: the image, `make test`'s, `make demo`'s.
LOCKS := requirements.lock requirements-tests.lock requirements-demo.lock
PIP_INSTALL := pip install --quiet --disable-pip-version-check
DESTINATIONS_VENV := .venv-destinations
DESTINATIONS_BIN := $(DESTINATIONS_VENV)/bin
CONFIG ?= secrets/config.json

.PHONY: help demo sync test contract format bench lock audit licenses dist package-test debian-test image image-test destinations-test clean
.DEFAULT_GOAL := help

help:  ## Show the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(DEMO_VENV)/.ready  ## Sync the sandbox's SMS into demo/calltouch_sms.duckdb, twice; SANDBOX="..." for options of the sandbox
	@$(DEMO_BIN)/python -m demo $(SANDBOX)

sync: $(DEMO_VENV)/.ready  ## Sync a real account: make sync CONFIG=secrets/config.json [DESTINATION=postgres]
ifdef DESTINATION
	@$(DEMO_BIN)/$(PIP_INSTALL) 'dlt[$(DESTINATION)]'
endif
	@$(DEMO_BIN)/python -m demo.sync --config $(CONFIG) $(if $(DESTINATION),--destination $(DESTINATION))

test: $(VENV)/.ready  ## Lint, type-check and test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/zizmor --quiet --offline --strict-collection .github
	$(BIN)/pytest

contract: $(VENV)/.ready  ## Ask a real account what the connector relies on: make contract CONFIG=secrets/config.json [ARGS="--markdown report.md"]
	@CALLTOUCH_CONFIG=$(CONFIG) PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest -c /dev/null \
		--rootdir . -p no:cacheprovider -W ignore -q integration_tests/contract $(ARGS)

format: $(VENV)/.ready  ## Format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready  ## Measure speed, API requests and memory beside other ways; writes docs/performance.md
	$(BIN)/$(PIP_INSTALL) -e '.[bench]'
	$(BIN)/python -m benchmarks

lock:  ## Bring the lock files up to date with setup.py; UPGRADE=--upgrade takes the newest releases
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/$(PIP_INSTALL) 'uv>=0.9,<1'
	@for lock in $(LOCKS); do \
		extra=$${lock#requirements}; extra=$${extra%.lock}; \
		echo "$$lock"; \
		$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
			--custom-compile-command 'make lock' $${extra:+--extra "$${extra#-}"} $(UPGRADE) \
			--output-file "$$lock" setup.py || exit; \
	done

audit:  ## Look up known vulnerabilities of what the image holds; needs the internet
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/$(PIP_INSTALL) 'pip-audit>=2.7,<3'
	$(VENV)-audit/bin/pip-audit --require-hashes --disable-pip --requirement requirements.lock

licenses:  ## List the licences of what the image holds
	$(PYTHON) -m venv $(VENV)-licenses
	$(VENV)-licenses/bin/$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(VENV)-licenses/bin/$(PIP_INSTALL) 'pip-licenses>=5,<6'
	$(VENV)-licenses/bin/pip-licenses

dist: $(VENV)/.ready  ## Build wheel and sdist
	rm -rf dist
	$(BIN)/pyproject-build

package-test: $(VENV)/.ready  ## Build wheel and sdist, install each into an empty environment and run it
	@$(BIN)/pytest integration_tests/package -n 0

debian-test:  ## Run `make test` and `make demo` on a Debian 13, whose Python is 3.13; as root on Debian
	@integration_tests/debian_13.sh

image:  ## Build the Docker image, with docker or, where no engine runs, buildah
	@integration_tests/image/build.sh

image-test: $(VENV)/.ready  ## Build the image and run its commands against the sandbox
	@integration_tests/image/build.sh --test
	@$(BIN)/pytest integration_tests/image -n 0 -s

destinations-test: $(DESTINATIONS_VENV)/.ready  ## Sync into DuckDB and PostgreSQL, compare with the account, and run the pages' SQL
	$(DESTINATIONS_BIN)/python -m pytest -c /dev/null --rootdir . -p no:cacheprovider -W ignore \
		--timeout 300 --show-capture=no -rs integration_tests/destinations

clean:  ## Remove the environments and what tools have left
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .tmp

$(VENV)/.ready: setup.py requirements-tests.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP_INSTALL) --require-hashes -r requirements-tests.lock
	$(BIN)/$(PIP_INSTALL) --no-deps -e .
	@touch $@

$(DEMO_VENV)/.ready: setup.py requirements-demo.lock
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_BIN)/$(PIP_INSTALL) --require-hashes -r requirements-demo.lock
	$(DEMO_BIN)/$(PIP_INSTALL) --no-deps -e .
	@touch $@

$(DESTINATIONS_VENV)/.ready: setup.py
	$(PYTHON) -m venv $(DESTINATIONS_VENV)
	$(DESTINATIONS_BIN)/$(PIP_INSTALL) -e '.[destinations]'
	@touch $@
