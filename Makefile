# `make` says what there is. Nothing here needs more than make and a Python of 3.11 or later.

LISTEN ?= 127.0.0.1:8080
OPS ?= 127.0.0.1:9000
PYTEST_ARGS ?=
LONG ?=
BENCH ?=
BENCH_ARGS ?=
MUTANTS ?=
JOBS ?= 1
UPGRADE ?=
UV_VERSION := 0.13.9

BIN := .venv/bin
COMPILE := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run demo check test test-units test-laws mutants bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with the locked dependencies and .venv/bin/cmdhttp
	@scripts/bootstrap.sh

setup-dev: ## The same, with what check and test need
	@scripts/bootstrap.sh dev

run: setup ## Serve policies/ with a demo token (LISTEN=127.0.0.1:8080 OPS=127.0.0.1:9000)
	@exec $(BIN)/cmdhttp serve --policies policies --data .data --listen $(LISTEN) --ops-listen $(OPS) --demo

demo: setup-dev ## Watch the main job end to end: local, SSH, streams, denials
	@scripts/ensure-sshd.sh
	@exec $(BIN)/python -m scripts.demo

check: setup-dev ## Lint, format, types, direction of imports, contract and documentation tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/contract

# The byte code is kept: the tests start the program some hundred times.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup-dev ## The test suite (PYTEST_ARGS="-k name" for a part of it, LONG=1 for the long forms of some proofs too)
	@scripts/ensure-sshd.sh
	@scripts/ensure-shells.sh
	@scripts/ensure-netns.sh
ifeq ($(PYTEST_ARGS),)
	@$(BIN)/python -m compileall -q cmdhttp
	@$(MAKE) --no-print-directory -j 2 --output-sync=target test-units test-laws
	$(BIN)/pytest -n 5 -p no:hypothesispytest --dist loadfile --no-loadscope-reorder $(if $(LONG),,-m "not long") tests/component
else
	$(BIN)/pytest $(PYTEST_ARGS)
endif

# Both parts of `test` keep one processor busy each, and what one of them prints comes in one piece.
test-units:
	$(BIN)/coverage run --source cmdhttp/policy,cmdhttp/plan -m pytest -q -p no:hypothesispytest tests/unit
	$(BIN)/coverage report --fail-under=100

test-laws:
	$(if $(LONG),CMDHTTP_FUZZ=20000) $(BIN)/pytest -q -n auto --dist worksteal tests/property tests/contract

mutants: ## Whether a test fails for every change of the policy engine (MUTANTS="cmdhttp.policy.decide.*" for a part, JOBS=2)
	@scripts/bootstrap.sh mutants
	$(if $(MUTANTS),,rm -rf mutants)
	.venv-mutants/bin/mutmut run --max-children $(JOBS) $(MUTANTS)
	@.venv-mutants/bin/python scripts/mutants.py $(MUTANTS)

bench: ## Measure, side by side with peers (BENCH=policy, jobs, local or ssh for a part, BENCH_ARGS="--quick --json")
	@scripts/bootstrap.sh bench
	$(if $(filter-out policy jobs jobs.%,$(or $(BENCH),all)),@scripts/ensure-peers.sh $(BENCH))
	$(if $(filter ssh ssh.% all,$(or $(BENCH),all)),@scripts/ensure-sshd.sh)
	@exec .venv-bench/bin/python -m benchmarks $(BENCH_ARGS) $(BENCH)

lock: setup ## Write the lock files after pyproject.toml (UPGRADE=1: with the newest releases)
	@$(BIN)/uv --version 2>/dev/null | grep -q '^uv $(UV_VERSION)\b' || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) pyproject.toml --extra parsers --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra parsers --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --group mutants --constraint requirements-dev.lock --output-file requirements-mutants.lock
	$(COMPILE) pyproject.toml --group bench --constraint requirements.lock --output-file requirements-bench.lock
	$(COMPILE) --group build --output-file requirements-build.lock

clean: ## Remove caches and build output; .venv and .data stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov mutants build dist
	find benchmarks cmdhttp tests scripts -type d -name __pycache__ -prune -exec rm -rf {} +
