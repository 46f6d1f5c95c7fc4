# Every command sets up what it needs: git, make and a Python from 3.8 are enough.

# The uv on the PATH, if it is new enough to read uv.lock; else one of our own.
UV := $(shell printf 'uv 0.11.0\n%s\n' "$$(uv --version 2>/dev/null || echo none)" | sort -CV && command -v uv || echo .uv/bin/uv)
BIN := .venv/bin
CONFIG ?= secrets/config.json
unexport VIRTUAL_ENV
# Where a proxy has certificates of its own, uv finds them as pip does: with the system's, or by a variable.
export UV_SYSTEM_CERTS := 1
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifdef SSL_CERT_FILE
export PIP_CERT ?= $(SSL_CERT_FILE)
endif

# Each group of pyproject.toml's has an environment of its own, and `.venv` is for tests.
ENVIRONMENTS := .venv .venv-demo .venv-destinations .venv-pyairbyte
.PHONY: help demo sync test unit lint format contract destinations-test package-test debian-test \
	image image-test bench lock sbom audit licenses dist clean $(ENVIRONMENTS)

help:  ## Show these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 23

demo: .venv-demo  ## Sync the sandbox's SMS, twice; SANDBOX="its options"
	@.venv-demo/bin/python -m demo $(SANDBOX)

sync: .venv-demo  ## Sync a real account, CONFIG=...; DESTINATION=postgres
ifdef DESTINATION
	@$(UV) pip install --quiet --python .venv-demo 'dlt[$(DESTINATION)]'
endif
	@.venv-demo/bin/python -m demo.sync --config $(CONFIG) $(if $(DESTINATION),--destination $(DESTINATION))

test: lint  ## Lint, type-check and run all tests
	$(BIN)/pytest

unit: .venv  ## Run the unit tests alone
	$(BIN)/pytest unit_tests -n auto

lint: .venv  ## Lint, type-check, see that the lock is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/zizmor --quiet --offline --strict-collection .github
	$(UV) lock --quiet --check

format: .venv  ## Format, and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

contract: .venv  ## Ask a real account what the connector relies on
	@$(BIN)/python -m integration_tests.contract --config $(CONFIG) $(ARGS)

PYTEST_DESTINATIONS := python -m pytest -c /dev/null --rootdir . -p no:cacheprovider -W ignore \
	--timeout 300 --show-capture=no -rs integration_tests/destinations
destinations-test: .venv-destinations .venv-pyairbyte  ## Sync into databases, and run the pages' SQL
	.venv-destinations/bin/$(PYTEST_DESTINATIONS) --ignore-glob '*/test_pyairbyte.py'
	.venv-pyairbyte/bin/$(PYTEST_DESTINATIONS)/test_pyairbyte.py

package-test: .venv  ## Build wheel and sdist, install each by itself and run it
	@$(BIN)/pytest integration_tests/package -n 0

debian-test:  ## Try these commands on bare Debians 13 and 14; as root
	@integration_tests/debian.sh

image:  ## Build the Docker image, with docker or buildah
	@integration_tests/image/build.sh

image-test: .venv  ## Build the image, run its commands on the sandbox
	@integration_tests/image/build.sh --test
	@$(BIN)/pytest integration_tests/image -n 0 -s

bench: .venv  ## Measure what is older than the connector, in 18 minutes
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.page

lock: .venv  ## Bring uv.lock up to date; UPGRADE=--upgrade
	$(UV) lock $(UPGRADE)
	echo 'uv>=0.13,<1' | $(UV) pip compile --quiet --generate-hashes --no-header --no-annotate \
		$(UPGRADE) --output-file requirements-uv.txt -

sbom: $(UV)  ## List the image's packages in CycloneDX
	$(UV) export --quiet --frozen --no-default-groups --format cyclonedx1.5 --output-file sbom.cdx.json

audit: $(UV)  ## Look up known vulnerabilities of the image's packages
	$(UV) audit --preview-features audit-command --frozen --no-default-groups

licenses: .venv  ## List the licences of the image's packages
	@$(BIN)/pip-licenses --packages $$($(UV) export --quiet --frozen --no-default-groups \
		--no-hashes --no-header --no-annotate --no-emit-project | sed 's/==.*//')

dist: .venv  ## Build wheel and sdist
	rm -rf dist
	$(BIN)/pyproject-build --no-isolation

clean:  ## Remove the environments and build artifacts
	rm -rf .uv $(ENVIRONMENTS) build dist sbom.cdx.json *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .tmp

$(ENVIRONMENTS): $(UV)
	@[ -d $@ ] || $(UV) venv -qq $@ || { \
		echo "There is no Python 3.10 to 3.14, and uv could download none: install one of them." >&2; exit 1; }
	@UV_PROJECT_ENVIRONMENT=$@ $(UV) sync --quiet --frozen --no-default-groups \
		--group $(patsubst .venv-%,%,$(@:.venv=.venv-test))

.uv/bin/uv: requirements-uv.txt
	@rm -rf .uv
	@{ python3 -m venv .uv >/dev/null 2>&1 && \
		.uv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: \
		--require-hashes --requirement $<; } || { rm -rf .uv; \
		echo "uv could not be installed: put it on the PATH, or have Python 3.8 or later with venv" \
			"(on Debian: python3-venv) and the package registry in reach." >&2; exit 1; }
	@touch $@
