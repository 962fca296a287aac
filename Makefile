# Two commands set everything up on a fresh machine:
#   make demo   environment, install, invert the built-in pictures with the built-in model
#   make test   the same environment plus test tools; lint, types, tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := pyproject.toml $(shell find padinv cli export runtime -type f -not -path '*/__pycache__/*')

.PHONY: demo test lint clean

demo: $(VENV)/.installed-demo
	$(BIN)/padinv demo --out padinv-out/demo

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p padinv
	$(BIN)/pytest --numprocesses 2

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: $(SOURCES) | $(BIN)/python
	rm -rf build
	$(PIP) '.[cpu]'
	touch $@

# The constraints pin what the tests were seen to pass with; torch first, so that nothing pulls another one in.
$(VENV)/.installed-test: $(SOURCES) constraints.txt | $(BIN)/python
	$(PIP) --constraint constraints.txt torch
	rm -rf build
	$(PIP) --constraint constraints.txt '.[cpu,align,train,export,test]'
	touch $@ $(VENV)/.installed-demo

clean:
	rm -rf $(VENV) build *.egg-info padinv-out
