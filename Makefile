# make run   a virtual environment, and the router on http://127.0.0.1:8000
# make test  all tests
# make lint  ruff and mypy

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint clean

run: $(VENV)/ready
	exec $(BIN)/gunicorn router

test: $(VENV)/ready-test
	$(BIN)/pytest

lint: $(VENV)/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/ready-test: $(VENV)/ready
	$(BIN)/pip install --quiet --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
