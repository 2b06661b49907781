# make run   a virtual environment, and the router on http://127.0.0.1:8000
# make test  all tests
# make faults  breaks a router in every way, from 20 seeds, for about ten minutes
# make lint  ruff and mypy
# make bench  how fast it is, beside what could be, in under ten minutes
# make bench-compare REV=main  what became slower since that revision
# make sdks  the clients that tests/sdk runs, as far as what they need is here

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SDK := tests/sdk

.PHONY: run test faults lint bench bench-compare sdks clean

run: $(VENV)/ready
	exec $(BIN)/gunicorn router

# Most tests wait for a server more than they compute, so there are more than cores.
test: $(VENV)/ready-test sdks
	$(BIN)/pytest --numprocesses 4 --dist worksteal

faults: export FAULTS_SEEDS ?= 20
faults: export FAULTS_SECONDS ?= 20
faults: $(VENV)/ready-test
	$(BIN)/pytest tests/faults/test_oracle.py

lint: $(VENV)/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# BENCH="--rows accept --json": `python -m bench --help` tells what there is.
bench: $(VENV)/ready
	$(BIN)/python -m bench $(BENCH)

bench-compare: $(VENV)/ready
	$(BIN)/python -m bench --against $(or $(REV),$(error REV=... is missing)) $(BENCH)

$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/ready-test: $(VENV)/ready
	$(BIN)/pip install --quiet --editable '.[test,lint]'
	touch $@

# A make without Node, Go or Java leaves out what needs it; the tests then say what did
# not run.
GO := $(SDK)/drivers/go
JAVA := $(SDK)/drivers/java
sdks: $(SDK)/.python/ready \
    $(if $(shell command -v npm),$(SDK)/node_modules/ready) \
    $(if $(shell command -v go),$(GO)/driver) \
    $(if $(shell command -v javac && command -v mvn),$(JAVA)/target/ready)

# Two versions of a package cannot share a directory.
$(SDK)/.python/ready: $(SDK)/python.txt $(VENV)/ready
	rm -rf $(@D)
	while read -r sdk; do \
	    $(BIN)/pip install --quiet --target "$(@D)/$$sdk" "$$sdk" || exit; \
	done < $<
	touch $@

$(SDK)/node_modules/ready: $(SDK)/package.json
	cd $(SDK) && npm install --silent --no-package-lock --no-audit --no-fund
	touch $@

$(GO)/driver: $(GO)/main.go $(GO)/go.mod $(GO)/go.sum
	cd $(GO) && go build -o driver .

$(JAVA)/target/ready: $(JAVA)/pom.xml $(wildcard $(JAVA)/src/main/java/*.java)
	cd $(JAVA) && mvn --quiet --batch-mode clean compile dependency:copy-dependencies \
	    -DoutputDirectory=target/lib
	touch $@

clean:
	rm -rf $(VENV) bench/.cache build dist *.egg-info $(SDK)/.python $(SDK)/node_modules \
	    $(GO)/driver $(JAVA)/target
