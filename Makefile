# What a developer does, by name. `make` alone lists it.
#
# The virtual environment .venv is made from requirements.lock, hashes checked; a stamp file in it
# says that it is up to date. Another interpreter: make setup PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
CODE := app narration telemetry dashboards tests
# Of these, what bandit looks at: a test may do what an attacker does.
RUNS := app narration telemetry dashboards
# Test parts that come from npm: each folder has a lock.
NPM_PARTS := tests/clients tests/console tests/dashboards
NPM_STAMPS := $(NPM_PARTS:%=%/node_modules/.stamp)
# Workers of the test run; 0 runs all tests in one process.
WORKERS ?= 2
# The folder that `make demo` catalogues.
DIR ?= .

# pip with no surprises: nothing but the lock decides what is installed.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' \
		| while IFS="$$(printf '\t')" read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## make .venv with everything in it, .venv/bin/narrator included

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is missing or older than Python 3.11; name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## run a real job and show its story (DIR=folder reads another folder)
	@$(BIN)/narrator demo "$(DIR)"

check: $(STAMP) ## format, lint, types, import contracts, what bandit and pip-audit find
	$(BIN)/ruff format --check $(CODE) .ci
	$(BIN)/ruff check $(CODE) .ci
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml $(RUNS)
	@$(AUDIT) $(PIP_AUDIT)

test: check $(NPM_STAMPS) ## everything that must hold: check, then all tests with branch coverage
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term-missing:skip-covered

%/node_modules/.stamp: %/package.json %/package-lock.json
	@command -v npm >/dev/null || { \
		echo "make: tests need Node.js, and npm is missing; on Debian: apt-get install nodejs npm" >&2; exit 1; }
	npm ci --prefix $* --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

# What `make bench` measures: all of it, or what pytest's -k finds by these words.
ONLY ?=
BENCH = $(BIN)/pytest -q tests/benchmarks --benchmark-only --benchmark-quiet $(if $(ONLY),-k "$(ONLY)") \
	--override-ini addopts="-ra --import-mode=importlib -p no:schemathesis"

bench: $(STAMP) ## measure what it costs to be observed, print and save the table (ONLY=stream: a part)
	$(BENCH) --benchmark-autosave

.PHONY: bench-compare
bench-compare: $(STAMP) ## measure again, beside the run that was saved last; this one is not saved
	$(BENCH) --bench-compare

.PHONY: dashboards
dashboards: $(STAMP) ## make Grafana's dashboards from their Python
	$(BIN)/python -m dashboards

.PHONY: test-sdk
test-sdk: $(STAMP) ## run the OpenTelemetry SDK's own tests bare and with every span tapped, and compare
	@$(BIN)/python -m tests.sdk.run

# It needs PyPI's JSON API, which a mirror of packages alone has not. `check` fails where something is
# known of a package, and says which could not be looked up; here that is an error, too. A finding
# that is none of ours: --ignore-vuln with its id, and why, in a line above.
PIP_AUDIT := $(BIN)/uv --quiet tool run pip-audit@2.10.1
AUDIT := $(BIN)/python .ci/audit.py

.PHONY: audit
audit: $(STAMP) ## ask PyPI for known vulnerabilities of all that requirements.lock names
	@$(AUDIT) --must $(PIP_AUDIT)

.PHONY: test-bounds
test-bounds: $(STAMP) ## reach every bound at full size, and see that other jobs are not slowed (20 minutes)
	$(BIN)/pytest tests/bounds --full -rP --timeout 1800

# Seconds of `make fuzz`, all targets together.
FUZZ_S ?= 600

.PHONY: fuzz
fuzz: $(STAMP) ## try the parsers and the whole API with made-up input for ten minutes (FUZZ_S=60)
	$(BIN)/pytest tests/fuzz -n $(WORKERS) --dist worksteal --timeout 0 --fuzz-s $(FUZZ_S)

# How often `make test-kill` kills, and the number that repeats the choices of a run.
KILLS ?= 200
SEED ?=

.PHONY: test-kill
test-kill: $(STAMP) ## kill a server under load 200 times, and see what is lost (KILLS=20 SEED=1)
	$(BIN)/python -m tests.kill.run --kills $(KILLS) $(if $(SEED),--seed $(SEED))

# Programs that nobody here wrote and that are large: in an environment of their own.
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.stamp

.PHONY: test-peers
test-peers: $(STAMP) $(PEERS_STAMP) ## find every job's spans in a real trace backend (installs 860 MB)
	$(BIN)/pytest -m peers tests/peers

$(PEERS_STAMP): tests/peers/requirements.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --requirement $<
	@touch $@

lock: $(STAMP) ## write requirements.lock anew, with the newest versions that pyproject.toml admits
	$(BIN)/uv pip compile pyproject.toml --group dev --group bench --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --quiet --output-file requirements.lock

clean: ## remove what these targets made
	rm -rf $(VENV) $(PEERS) $(NPM_PARTS:%=%/node_modules) dist .coverage .coverage.* .benchmarks \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
