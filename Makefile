# Begin with `make serve` or `make test`; both install what they need. requirements.lock pins all dependencies with hashes.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
# Use only the index of the lock file: a developer's find-links or extra indexes must not supply packages to a security tool.
export PIP_CONFIG_FILE := /dev/null
unexport PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
# Without stored bytecode, each process compiles the whole package, 0.4 s. The tests start many processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install install-scale install-dev serve demo screenshots reference test test-long coverage fuzz crash soak scale bench dist sbom lint format lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# forbiddenfruit, which blockbuster needs, has no wheel. Its source archive is hash-checked and built with the setuptools of the first lock.
DEV_FLAGS := --no-binary forbiddenfruit --no-build-isolation

# --no-deps: the lock lists all packages, so pip need not resolve dependencies. An older pip would resolve `pydantic[email]` to the newest pydantic,
# find no hash for it, and fail as soon as the lock is out of date. `pip check` finds packages that are missing in the lock.
# $(1): stamp file; $(2): optional second lock and its flags. The project itself is installed without dependencies and without build isolation.
define into-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Assay needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Use: make PYTHON=python3.12 ...")'
	@echo "Installing $$(cat requirements.lock $(firstword $(2)) | grep -o '^[A-Za-z0-9][^ ;]*==' | sort -u | wc -l | tr -d ' ') pinned packages into $(VENV), about $(3)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -r requirements.lock
	$(if $(2),@$(PIP_INSTALL) -r $(2))
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --no-index --editable .
	@$(BIN)/python -m pip check $(PIP_FLAGS)
	@touch $(1)
endef
PIP_INSTALL = $(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --require-hashes --only-binary :all:

install: $(VENV)/.installed  ## install the proxy and its pinned dependencies into .venv
$(VENV)/.installed: requirements.lock pyproject.toml
	$(call into-venv,$@,,20 seconds)

install-scale: $(VENV)/.installed-scale  ## install what several replicas with [storage.shared] need, too
$(VENV)/.installed-scale: $(VENV)/.installed requirements-scale.lock
	@$(PIP_INSTALL) -r requirements-scale.lock
	@touch $@

install-dev: $(VENV)/.installed-dev
$(VENV)/.installed-dev: requirements.lock requirements-dev.lock pyproject.toml
	$(call into-venv,$@,requirements-dev.lock $(DEV_FLAGS),a minute)

serve: $(VENV)/.installed  ## run the proxy with its default configuration: http://127.0.0.1:8080/simple/
	@$(BIN)/assay serve --log text

demo: $(VENV)/.installed-demo  ## run the demo, offline: all verdicts in the browser and in pip, in a separate shell
	@$(BIN)/python -m demo
$(VENV)/.installed-demo: $(VENV)/.installed demo/pip.lock
	@$(PIP_INSTALL) -r demo/pip.lock
	@touch $@

screenshots: $(VENV)/.installed-dev  ## renew the screenshots of the demo (needs tests/install-browser.sh)
	$(BIN)/python -m tests.browser.screenshots docs/images

reference: $(VENV)/.installed  ## generate docs/configuration.md, docs/policy.md and docs/cli.md
	$(BIN)/python -m docs.reference

test: $(VENV)/.installed-dev  ## run all tests except the long ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long and not scale" $(PYTEST_ARGS)

test-long: $(VENV)/.installed-dev  ## run the long tests: attestation documents, hundreds of crashes, 100 MB to 50 clients
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "long and not scale" $(PYTEST_ARGS)

coverage: $(VENV)/.installed-dev  ## run the tests with branch coverage; fail below the limit in pyproject.toml
	$(BIN)/coverage erase
	COVERAGE_PROCESS_START=pyproject.toml $(BIN)/coverage run -m pytest -n 2 --dist worksteal -m "not long and not scale" $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

FUZZERS := bundles_total page_parsers simple_pages render_pages web_laws
fuzz: $(VENV)/.installed-dev  ## fuzz page parsers, Sigstore bundles, rendering, routing and ranges: FUZZ_EXAMPLES inputs each (default: 100,000, an hour on two cores)
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),100000) $(BIN)/python -m pytest -n 2 --dist worksteal $(FUZZERS:%=tests/property/test_%.py) $(PYTEST_ARGS)

crash: $(VENV)/.installed-dev  ## kill the store, and the proxy under load, hundreds of times with kill -9 at random moments
	$(BIN)/python -m pytest -n 2 -m long tests/service/store/test_crash.py tests/faults/test_crash.py $(PYTEST_ARGS)

soak: $(VENV)/.installed-dev  ## run a mixed load of pip and uv with faults for SOAK_SECONDS (default: 1800)
	SOAK_SECONDS=$(or $(SOAK_SECONDS),1800) $(BIN)/python -m pytest -m long tests/faults/test_soak.py $(PYTEST_ARGS)

SCALE_MARK := scale
scale: $(VENV)/.installed-dev  ## run three replicas with PostgreSQL and S3 through kills, outages and upgrades (SCALE_MARK="scale and not long": short forms)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(SCALE_MARK)" tests/scale $(PYTEST_ARGS)

bench: $(VENV)/.installed-dev  ## compare Assay with nginx, a plain aiohttp server and peers (CASES="warm cold …"), or with another checkout (BASE=…)
	bash benchmarks/install-peers.sh $(if $(BASE),without-peers) || echo "bench: some peers could not be installed and are left out"
	$(BIN)/python -m benchmarks $(CASES) $(if $(BASE),--base $(BASE)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(BENCH_ARGS)

dist: $(VENV)/.installed-dev  ## build the wheel, the source distribution and their SBOM into dist/; two builds of a commit are identical
	rm -rf dist
	$(if $(BUILD_EPOCH),SOURCE_DATE_EPOCH=$(BUILD_EPOCH)) ASSAY_REVISION=$(BUILD_REVISION) $(BIN)/python -m hatchling build -d dist
	cp release/sbom.cdx.json dist/assay_proxy-$$($(BIN)/python -m hatchling version).cdx.json
	cp release/openvex.json dist/assay_proxy-$$($(BIN)/python -m hatchling version).openvex.json
	cd dist && sha256sum -- * > SHA256SUMS
BUILD_REVISION = $(or $(ASSAY_REVISION),$(shell git rev-parse HEAD 2>/dev/null))
BUILD_EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null))

sbom: $(VENV)/.installed-dev  ## renew release/sbom.cdx.json after a change of requirements.lock (needs tests/install-tools.sh and the network)
	bash release/sbom.sh

lint: $(VENV)/.installed-dev  ## run ruff, mypy (strict) and import-linter; zizmor and check-jsonschema on .github, if they are installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	bash tests/lint-workflows.sh

format: $(VENV)/.installed-dev  ## fix and format the code with ruff
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --default-index https://pypi.org/simple/
lock: $(VENV)/.installed-dev  ## update the lock files (needs the network)
	$(BIN)/$(LOCK) --upgrade pyproject.toml --group build -o requirements.lock
	$(BIN)/$(LOCK) pyproject.toml --extra otel --extra scale --group build --group dev -c requirements.lock -o requirements-dev.lock
	{ head -n 1 demo/pip.lock; sed -n '/^pip==/,/sha256:[0-9a-f]*$$/p' requirements-dev.lock; } > demo/pip.lock.new
	mv demo/pip.lock.new demo/pip.lock
	{ head -n 1 requirements-scale.lock; for package in asyncpg obstore; do sed -n "/^$$package==/,/sha256:[0-9a-f]*$$/p" requirements-dev.lock; done; } > requirements-scale.lock.new
	mv requirements-scale.lock.new requirements-scale.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
