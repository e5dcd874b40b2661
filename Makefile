# `make` alone lists the recipes. CI (.ci/run) calls the same ones.
#
#   PYTHON=python3.13    the Python to use; default: the first one found that is supported (scripts/find-python)
#   VENV=.venv-3.13      the folder of the environment; default .venv. Made when first needed, from requirements/*.lock
#   ARGS="-k stream"     more arguments for the program that a recipe calls
#   AT_ONCE=             tests one after the other; default: a file of tests on each processor, at most eight

PYTHON ?=
VENV ?= .venv
ARGS ?=
SEEDS ?= 2000
INPUTS ?= 10000
AT_ONCE ?= --numprocesses auto --maxprocesses 8 --dist loadfile

BIN = $(VENV)/bin
MAKEFLAGS += --no-print-directory
# Compiled modules are kept, whatever is asked for elsewhere: without them every start of the command compiles hundreds.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

# Without PYTHON= an environment that works is kept, whatever its version; with it, the version must be that one.
environment = @python=$$(scripts/find-python '$(PYTHON)') && \
	"$$python" scripts/environment.py $(1) '$(VENV)' $(if $(PYTHON),--exactly)

.PHONY: help
help: # no line for itself
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run-env dev-env bench-env duckdb2-env
run-env dev-env bench-env duckdb2-env:
	$(call environment,$(@:-env=))

.PHONY: demo
demo: run-env ## run examples/flights.yaml on real data and show some rows of the result
	$(BIN)/pipeline-flow run examples/flights.yaml
	@$(BIN)/python examples/show.py build/demo

.PHONY: test
test: dev-env ## run the tests; one of them: make test ARGS="-k name"
	$(BIN)/python -m pytest $(AT_ONCE) $(ARGS)

.PHONY: golden
golden: dev-env ## rewrite the golden files of the tests; then read what changed: git diff
	$(BIN)/python -m pytest --rewrite-golden $(ARGS)

.PHONY: test-duckdb2
test-duckdb2: override VENV := $(VENV)-duckdb2
test-duckdb2: duckdb2-env ## run the tests with DuckDB 2, in an environment of its own
	$(VENV)/bin/python -m pytest $(AT_ONCE) $(ARGS)

.PHONY: lint
lint: dev-env ## check style and formatting
	$(BIN)/ruff check $(ARGS)
	$(BIN)/ruff format --check

.PHONY: fmt
fmt: dev-env ## mend style and formatting where that can be done by machine
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: reference
reference: dev-env ## write the reference pages under docs/ from the code
	$(BIN)/python scripts/reference.py

.PHONY: docs
docs: dev-env ## build the documentation into build/docs, warnings as errors
	$(BIN)/python -m sphinx -W --keep-going -n -q -d build/docs-trees docs build/docs

.PHONY: types
types: dev-env ## check types: the package strictly, the tests less so
	$(BIN)/mypy $(wildcard src tests scripts examples benchmarks) $(ARGS)

.PHONY: imports
imports: dev-env ## check who may import whom
	$(BIN)/lint-imports --no-logo --cache-dir build/import-linter $(ARGS)

.PHONY: sim
sim: dev-env ## drive the real scheduler through SEEDS=2000 random worlds under virtual time
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

.PHONY: fuzz
fuzz: dev-env ## check INPUTS=10000 mutated configurations: problems with places, never a traceback
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(ARGS)

.PHONY: typos
typos: dev-env ## mistype every word of real configurations and see the first suggestion
	$(BIN)/python -m tests.config.typos

.PHONY: canary
canary: dev-env ## drive a secret through every sink and look for it
	$(BIN)/python -m tests.canary

.PHONY: broken-rules
broken-rules: dev-env ## break each execution rule in a copy and see its tests fail
	$(BIN)/python -m tests.broken_rules $(ARGS)

.PHONY: wheel
wheel: dev-env ## build the wheel and try it in an empty environment
	$(BIN)/python scripts/smoke_wheel.py

.PHONY: bench-overhead
bench-overhead: bench-env ## measure what a pipeline costs besides its work
	$(BIN)/python -m benchmarks.overhead $(ARGS)

.PHONY: bench-files
bench-files: bench-env ## measure CSV, Parquet and DuckDB beside DuckDB alone
	$(BIN)/python -m benchmarks.files $(ARGS)

.PHONY: bench-databases
bench-databases: bench-env ## measure PostgreSQL beside psql
	$(BIN)/python -m benchmarks.databases $(ARGS)

# The locks hold for Python 3.11 to 3.14 on Linux, macOS and Windows, carry hashes, and name no registry.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
.PHONY: lock
lock: dev-env ## rewrite requirements/*.lock after a change in pyproject.toml; all newest: make lock UPGRADE=1
	$(COMPILE) pyproject.toml --constraint requirements/pins.txt --output-file requirements/run.lock
	$(COMPILE) pyproject.toml --all-extras --group dev --constraint requirements/run.lock --output-file requirements/dev.lock
	$(COMPILE) --group build --constraint requirements/dev.lock --output-file requirements/build.lock
	$(COMPILE) requirements/bench.txt --constraint requirements/dev.lock --output-file requirements/bench.lock
	$(COMPILE) requirements/duckdb2.txt --no-deps --output-file requirements/duckdb2.lock
	@! grep -n '://' requirements/*.lock || { echo 'a lock must not hold an address'; exit 1; }

.PHONY: clean
clean: ## remove what the recipes wrote, except the environment
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts examples -name __pycache__ -type d -prune -exec rm -rf {} +
