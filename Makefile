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

.PHONY: help chat test test-all lint unit conformance conformance-peers bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

chat: $(RUNTIME) $(CLIENT) ## run the chat; PORT=3000
	$(BIN)/python -m chat_app --port $(PORT)

test: lint unit conformance ## everything CI runs

lint: $(DEVELOPMENT) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(DEVELOPMENT) $(NODE_DEVELOPMENT) $(CLIENT) browser ## the test suite, with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow"
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered | tail -40

test-all: $(NODE_DEVELOPMENT) $(CLIENT) ## the suite on every CPython from 3.11 to 3.13 that is installed
	@.ci/each-python '$(MAKE) unit'

conformance: $(DEVELOPMENT) $(NODE_DEVELOPMENT) $(CLIENT) browser ## our server, by the conformance suite
	$(BIN)/python -m conformance --start "$(BIN)/python -m conformance.applications.sio_core_app"

bench: $(DEVELOPMENT) $(NODE_DEVELOPMENT) $(CLIENT) ## all servers, one load; results in benchmarks/results
	$(BIN)/python -m benchmarks

clean: ## remove what set-up has made
	rm -rf $(VENV) node_modules sio_core/serving/client_dist build dist .coverage* .mypy_cache .pytest_cache .ruff_cache

# Set-up

.PHONY: browser
browser:
	@.ci/browser

$(VENV)/bin/python:
	@.ci/python $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(RUNTIME): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --group test --group peers
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
