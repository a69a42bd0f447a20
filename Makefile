# The two commands are `make serve` and `make test`; both do all set-up. Everything is pinned with hashes in requirements.lock.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
# Only the index that the lock was made from: a developer's find-links or extra indexes must not feed a supply-chain tool.
export PIP_CONFIG_FILE := /dev/null
unexport PIP_FIND_LINKS PIP_EXTRA_INDEX_URL

.PHONY: help install install-dev serve demo screenshots reference test test-long fuzz crash soak bench lint format lock clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# blockbuster's forbiddenfruit comes as a source archive only: built, hash-checked, with the setuptools of the first lock.
DEV_FLAGS := --no-binary forbiddenfruit --no-build-isolation

# The lock is the whole truth, so nothing is resolved: an older pip meets `pydantic[email]` by looking at the newest pydantic, finds no hash for it,
# and refuses a lock that has become a day too old. What the lock may have left out, `pip check` finds.
# $(1): the stamp; $(2): a further lock and its flags, or nothing. The project itself is installed without dependencies and without a build environment of its own.
define into-venv
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Assay needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --require-hashes --only-binary :all: -r requirements.lock
	$(if $(2),$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --require-hashes --only-binary :all: -r $(2))
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --no-index --editable .
	$(BIN)/python -m pip check $(PIP_FLAGS)
	touch $(1)
endef

install: $(VENV)/.installed  ## the proxy and its pinned dependencies into .venv
$(VENV)/.installed: requirements.lock pyproject.toml
	$(call into-venv,$@,)

install-dev: $(VENV)/.installed-dev
$(VENV)/.installed-dev: requirements.lock requirements-dev.lock pyproject.toml
	$(call into-venv,$@,requirements-dev.lock $(DEV_FLAGS))

serve: $(VENV)/.installed  ## run the proxy on its embedded defaults: http://127.0.0.1:8080/simple/
	$(BIN)/assay serve

demo: $(VENV)/.installed  ## every verdict in a browser and in pip's console, offline: http://127.0.0.1:8080/
	$(BIN)/python -m demo

screenshots: $(VENV)/.installed-dev  ## renew the README's pictures, of the demo (tests/install-browser.sh)
	$(BIN)/python -m tests.browser.screenshots docs/images

reference: $(VENV)/.installed  ## write docs/configuration.md and docs/policy.md from the models
	$(BIN)/python -m docs.reference

test: $(VENV)/.installed-dev  ## all tests but the long ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long" $(PYTEST_ARGS)

test-long: $(VENV)/.installed-dev  ## the long forms: documents of attestations, hundreds of crashes, 100 MB to 50 clients
	$(BIN)/python -m pytest -n 2 --dist worksteal -m long $(PYTEST_ARGS)

FUZZERS := page_parsers simple_pages render_pages web_laws
fuzz: $(VENV)/.installed-dev  ## page parsers, rendering, routing and ranges: FUZZ_EXAMPLES (100,000) inputs each, an hour of two cores
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),100000) $(BIN)/python -m pytest -n 2 --dist worksteal $(FUZZERS:%=tests/property/test_%.py) $(PYTEST_ARGS)

crash: $(VENV)/.installed-dev  ## hundreds of kill -9 at random moments, of the store and of the proxy under load
	$(BIN)/python -m pytest -n 2 -m long tests/service/store/test_crash.py tests/faults/test_crash.py $(PYTEST_ARGS)

soak: $(VENV)/.installed-dev  ## mixed load of pip and uv with faults, for SOAK_SECONDS (30 minutes)
	SOAK_SECONDS=$(or $(SOAK_SECONDS),1800) $(BIN)/python -m pytest -m long tests/faults/test_soak.py $(PYTEST_ARGS)

bench: $(VENV)/.installed-dev  ## Assay beside nginx, a bare aiohttp server and peers (CASES="warm cold …"), or beside another checkout (BASE=…)
	bash benchmarks/install-peers.sh $(if $(BASE),without-peers) || echo "bench: what could not be installed is left out"
	$(BIN)/python -m benchmarks $(CASES) $(if $(BASE),--base $(BASE)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(BENCH_ARGS)

lint: $(VENV)/.installed-dev  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## let ruff write what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --default-index https://pypi.org/simple/
lock: $(VENV)/.installed-dev  ## renew the lock files (with the network, on purpose)
	$(BIN)/$(LOCK) --upgrade pyproject.toml --group build -o requirements.lock
	$(BIN)/$(LOCK) pyproject.toml --extra otel --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
