# Every target does the set-up it needs. `make chat` runs the chat, `make test` passes the tests.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 3000
PYTEST := $(BIN)/python -m pytest

RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
NODE_RUNTIME := node_modules/.runtime
NODE_DEVELOPMENT := node_modules/.development
CLIENT := sio_core/serving/client_dist/package.json

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' $(MAKEFILE_LIST))
.DELETE_ON_ERROR:

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

chat: $(RUNTIME) $(CLIENT) ## run the chat, on the compiled core if there is one; PORT=3000
	@.ci/with-compiled $(COMPILED) $(BIN)/python -m chat_app --port $(PORT)

test: lint unit security faults conformance conformance-peers-smoke conformance-mutants autobahn fuzz-smoke clusters bench-guard ## everything CI runs

lint: $(DEVELOPMENT) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Much of the time of a test is spent waiting: one process for each processor.
SPREAD := --numprocesses logical --no-loadscope-reorder --dist

# Tests that have a target of their own.
ELSEWHERE := --ignore tests/clusters --ignore tests/security --ignore tests/faults

unit: $(DEVELOPMENT) $(NODE_DEVELOPMENT) $(CLIENT) browser engines ## the test suite, with branch coverage
	$(BIN)/coverage erase
	$(PYTEST) -q --cache-clear $(SPREAD) loadfile --cov --cov-report= -m "not slow" $(ELSEWHERE) || { \
		echo "=== FAILED ONCE, TRYING WHAT FAILED AGAIN" >&2; \
		$(PYTEST) --cov --cov-append --cov-report= -m "not slow" $(ELSEWHERE) \
			--last-failed --last-failed-no-failures none; }
	$(BIN)/coverage report --skip-covered | tail -40

security: $(DEVELOPMENT) $(NODE_DEVELOPMENT) $(CLIENT) browser ## the threats of docs/threat-model.md, acted out against running servers
	$(PYTEST) -q --cache-clear tests/security || { \
		echo "=== FAILED ONCE, TRYING WHAT FAILED AGAIN" >&2; \
		$(PYTEST) -q tests/security --last-failed --last-failed-no-failures none; }

faults: $(DEVELOPMENT) $(CLIENT) ## what happens when something fails: the network, the loop, the application, the machine
	$(PYTEST) -q --cache-clear tests/faults || { \
		echo "=== FAILED ONCE, TRYING WHAT FAILED AGAIN" >&2; \
		$(PYTEST) -q tests/faults --last-failed --last-failed-no-failures none; }

# One step of the allocator is half a percent of the memory, so the line through it must be long.
SOAK_MINUTES ?= 30

soak: $(DEVELOPMENT) $(CLIENT) ## a thousand clients that come and go for minutes; SOAK_MINUTES=..., reports in build
	$(BIN)/python -m tests.faults.soak --loop uvloop --minutes $(SOAK_MINUTES) --report build/soak-uvloop.md
	$(BIN)/python -m tests.faults.soak --loop trio --minutes $(SOAK_MINUTES) --report build/soak-trio.md

test-all: $(NODE_DEVELOPMENT) $(CLIENT) ## the suite on every CPython from 3.11 to 3.13 that is installed
	@.ci/each-python '$(MAKE) unit'

OURS := $(BIN)/python -m conformance.applications.sio_core_app
OFFICIAL := node conformance/applications/official_app.cjs
SET_UP := $(DEVELOPMENT) $(NODE_DEVELOPMENT) $(CLIENT)

conformance: $(SET_UP) browser ## our server on every shell, judged by the conformance suite
	.ci/twice $(BIN)/python -m conformance --stricter --start "$(OURS)"
	.ci/twice $(BIN)/python -m conformance --stricter --without client --start "$(OURS) --shell trio"
	.ci/twice $(BIN)/python -m conformance --without wire,client --start "$(OURS) --shell uvicorn"
	.ci/twice $(BIN)/python -m conformance --without wire,client --start "$(OURS) --workers 2"

conformance-peers: $(SET_UP) browser ## the official server and python-socketio, and the table of scores
	$(BIN)/python -m conformance.peers --ours --html build/conformance.html --json build/conformance.json

conformance-peers-smoke: $(SET_UP) ## the same in short
	.ci/twice $(BIN)/python -m conformance.peers --smoke

conformance-mutants: $(SET_UP) ## the suite itself: every broken server must be caught
	.ci/twice $(BIN)/python -m conformance.mutants

conformance-differential: $(SET_UP) ## the same conversations with the official server and ours, byte for byte
	$(BIN)/python -m conformance.differential --start "$(OURS)" --against "$(OFFICIAL)" --random

AUTOBAHN := build/autobahn

autobahn: $(DEVELOPMENT) ## the Autobahn test suite, where a Python 2.7 can run it; LONG=1: limits and compression too
	@if python=$$(.ci/autobahn $(AUTOBAHN)); then \
		$(BIN)/python -m tests.autobahn --suite $(AUTOBAHN) --python "$$python" $(if $(LONG),--long); \
	else echo "=== SKIPPED: the Autobahn test suite" >&2; fi

FUZZ_SECONDS ?= 180

fuzz: $(DEVELOPMENT) ## everything that reads what a peer sent, under atheris; FUZZ_SECONDS=180 for each target
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

fuzz-smoke: $(DEVELOPMENT) ## the same in short
	$(BIN)/python -m tests.fuzz --seconds 4

COMPILED := build/compiled
COMPILED_TESTS := wire engineio socketio adapters api serving client/test_node.py load

compile: $(COMPILED)/.done ## a copy of the package, compiled with mypyc

$(COMPILED)/.done: $(DEVELOPMENT) $(CLIENT) .ci/compile $(shell find sio_core -name '*.py')
	$(BIN)/python .ci/compile $(COMPILED)
	@touch $@

wheel: $(RUNTIME) $(CLIENT) ## a wheel in dist/, compiled if there is a C compiler
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

unit-compiled: $(SET_UP) compile ## the tests of the core on the compiled package
	cd $(COMPILED) && $(CURDIR)/$(BIN)/python -c \
		"import sys; sys.path[0] = '.'; import sio_core, pytest; sys.exit(pytest.main(sys.argv[1:]))" \
		-m "not slow" -q -W ignore::pytest.PytestAssertRewriteWarning --rootdir $(CURDIR) -c $(CURDIR)/pyproject.toml $(COMPILED_TESTS:%=$(CURDIR)/tests/%)

clusters: $(SET_UP) engines ## our servers and official ones together, on every engine, and the engines failing
	.ci/twice $(PYTEST) -q $(SPREAD) loadgroup -m "not slow" tests/clusters

clusters-long: $(SET_UP) engines ## the same, with the engines away for longer
	$(PYTEST) -q -m slow tests/clusters

idle: $(SET_UP) ## 5,000 idle connections held and freed; IDLE_CONNECTIONS=...
	$(PYTEST) -m slow tests/load

chat-check: $(SET_UP) ## the chat killed a hundred times: every message once, in one order
	$(BIN)/python -m tests.chat.checker --kills 100

chat-check-workers: $(SET_UP) ## the same with four workers, killed one at a time
	$(BIN)/python -m tests.chat.checker --kills 100 --workers 4

chat-check-nodes: $(SET_UP) engines ## the same with two nodes on PostgreSQL, killed in turn
	$(BIN)/python -m tests.chat.checker --kills 100 --nodes 2

# They run in an environment of their own, on the system's CPython; ARGS="--servers node sio_core", for instance.
bench: ## all servers, one load; results in benchmarks/results
bench-workers: ## one process against several workers
bench-chat: ## messages the chat stores and acknowledges
bench-cluster: engines ## broadcasts through each adapter, beside the official server
bench bench-workers bench-chat bench-cluster:
	@$(MAKE) measure PYTHON="$$(.ci/optimised-python $(PYTHON))" VENV=.venv-bench COMPILED=build/compiled-bench \
		MEASURE=benchmarks$(@:bench%=%)

.PHONY: measure
measure: $(SET_UP) compile
	COMPILED=$(COMPILED) $(BIN)/python -m $(subst -,.,$(MEASURE)) $(ARGS)

bench-micro: $(DEVELOPMENT) ## the time of each piece of the core
	$(BIN)/python -m pytest benchmarks/micro

bench-guard: $(DEVELOPMENT) ## the instruction counts of the core, against those recorded
	@.ci/valgrind
	$(BIN)/python -m benchmarks.micro.guard || [ $$? = 2 -a "$${CI:-}" != true ]

clean: ## remove what set-up has made
	rm -rf $(VENV) .venv-bench node_modules sio_core/serving/client_dist build dist .coverage* .mypy_cache .pytest_cache .ruff_cache

# Set-up

.PHONY: browser engines
browser:
	@.ci/browser

engines:
	@.ci/engines

$(VENV)/bin/python:
	@.ci/python $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(RUNTIME): pyproject.toml | $(VENV)/bin/python
	SIO_CORE_PURE=1 $(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --group test --group peers --group bench
	@touch $@

$(NODE_RUNTIME): package.json
	@.ci/node
	npm install --omit=dev --no-package-lock --no-audit --no-fund --silent
	@touch $@

$(NODE_DEVELOPMENT): package.json
	@.ci/node
	npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@ $(NODE_RUNTIME)

$(CLIENT): $(NODE_RUNTIME)
	mkdir -p $(@D)
	cp node_modules/socket.io-client/dist/socket.io*.js node_modules/socket.io-client/dist/socket.io*.js.map $(@D)/
	cp node_modules/socket.io-client/package.json $@
