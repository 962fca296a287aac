# Two commands set everything up on a fresh machine:
#   make demo   environment, install, invert the built-in pictures with the built-in model
#   make test   the same environment plus test tools; lint, types, tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
.PHONY: demo test browser structure docs clean

demo: $(VENV)/.installed-demo
	$(BIN)/padinv demo --out padinv-out/demo

test: $(VENV)/.installed-test browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build $(VENV)/typed
	$(PIP) --no-deps --target $(VENV)/typed .
	cd $(VENV)/typed && ../bin/mypy --config-file ../../pyproject.toml --cache-dir ../mypy -p padinv
	$(BIN)/pytest --numprocesses 3 --dist loadfile --durations 40

# The studio is tested in a real Chromium. Root on Debian gets one here; elsewhere its tests are skipped, with this line.
browser:
	@found() { command -v chromium || command -v chromium-browser || command -v google-chrome; }; \
	found >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	    fonts-dejavu-core >/dev/null 2>&1; \
	fi; \
	found >/dev/null || \
	  echo "no Chromium, so the studio's browser tests are skipped; install it with: sudo apt-get install chromium"

# Numbers about the code itself; the result is kept in benchmarks/results/.
structure: $(VENV)/.installed-test
	$(BIN)/python benchmarks/structure.py --write benchmarks/results/structure.md

# The documentation site, in build/site. A broken link is an error. mkdocstrings reads a copy laid out as installed.
docs: $(VENV)/.installed-test
	$(PIP) --editable '.[docs]'
	rm -rf build/api && mkdir -p build/api/padinv
	cp -r padinv/. build/api/padinv/ && cp -r runtime build/api/padinv/runtime
	$(BIN)/python docs/cli_reference.py
	$(BIN)/mkdocs build --strict --quiet

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Editable, so that the command and `import padinv` from other folders follow the sources. mypy does not know the import
# hook of an editable install: it reads a copy laid out as installed.
$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[cpu]'
	touch $@

# The constraints pin what the tests were seen to pass with; torch first, so that nothing pulls another one in.
$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --constraint constraints.txt torch
	$(PIP) --constraint constraints.txt --editable '.[cpu,c2pa,data,hub,train,export,studio,test]'
	touch $@ $(VENV)/.installed-demo

clean:
	rm -rf $(VENV) build *.egg-info padinv-out
