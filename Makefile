# Every target does its own set-up, on a machine with Debian, Python 3.11 or later, make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
EXPERIMENT ?= flight_delay
PORT ?= 3000
REPORTS_PORT ?= 3001
RESOLUTION ?= highest
PYTHON_VERSION ?= 3.14
APT := $(if $(shell command -v sudo),sudo,) apt-get
export DAGSTER_DISABLE_TELEMETRY := 1
# Images of containers forbid to keep what Python compiles: each command would compile Dagster anew.
unexport PYTHONDONTWRITEBYTECODE
# That `dg launch` and `dg dev` supersede two commands: they print and do the same.
export PYTHONWARNINGS := ignore:Function::click.core

.PHONY: help run ui wheel dist versions test pytest lint hooks bench figures docs lock clean system system-test

help: ## users: show the targets
	@for who in users contributors; do \
	  echo "For $$who:"; \
	  sed -nE "s/^([a-z-]+):.*## $$who: (.*)/  \1\t\2/p" $(MAKEFILE_LIST) | expand -t 12; \
	done

run: .venv/ready ## users: set up and run one experiment (EXPERIMENT=flight_delay)
	$(BIN)/dagster job execute -m experiment_pipeline.definitions -j $(EXPERIMENT)
	@echo "See it: make ui opens Dagster on http://127.0.0.1:3000 and the reports on http://127.0.0.1:3001"

ui: .venv/ready ## users: set up and open Dagster on http://127.0.0.1:3000 (PORT=3000), and its reports on 3001 (REPORTS_PORT=3001)
	$(BIN)/experiment-pipeline reports --port $(REPORTS_PORT) $(BIN)/dagster dev -w workspace.yaml -p $(PORT)

wheel: .venv/uv ## users: build the package for another Dagster project, in dist/
	$(BIN)/uv build --quiet --wheel

dist: .venv/uv ## contributors: build what is published, and check it
	@! grep -n 'OWNER/\|OWNER\.' pyproject.toml || { echo "pyproject.toml: replace OWNER by the owner of the repository"; exit 1; }
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/uv tool run --quiet twine check --strict dist/*

# Types are checked beside the tests, which wait now and then.
test: .venv/ready-dev system-test ## contributors: set up and run every check and test
	$(MAKE) --jobs=2 lint pytest

# The order of sets is the same in every run: a test that depends on it fails always.
pytest: .venv/ready-dev system-test ## contributors: run every test
	PYTHONHASHSEED=0 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

versions: .venv/uv ## contributors: try the package with other versions (RESOLUTION=lowest-direct PYTHON_VERSION=3.11)
	$(BIN)/uv venv --quiet --clear --python $(PYTHON_VERSION) .venv-versions
	$(BIN)/uv pip install --quiet --python .venv-versions/bin/python --resolution $(RESOLUTION) .
	rm -rf .venv-versions/run && mkdir .venv-versions/run
	.venv-versions/bin/python experiment_pipeline_tests/smoke.py .venv-versions/run

lint: .venv/ready-dev ## contributors: formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	$(BIN)/python experiment_pipeline_tests/house.py

hooks: .venv/ready-dev ## contributors: let every commit run what `lint` runs
	$(BIN)/pre-commit install

bench: .venv/ready-dev ## contributors: measure speed, memory and quality against the alternatives (part=statistics)
	$(BIN)/python -m experiment_pipeline_tests.bench $(if $(part),--part $(part))

figures: .venv/ready-dev system-test ## contributors: run the bundled experiments, write README's figures and picture
	$(BIN)/python -m experiment_pipeline_tests.bench.figures

docs: .venv/ready-docs ## contributors: build the documentation site; a broken link is an error
	$(BIN)/sphinx-build -q -W --keep-going -j 2 docs docs/_build

lock: .venv/uv ## contributors: bring uv.lock up to date with pyproject.toml
	$(BIN)/uv lock

clean: ## contributors: remove the environment and the caches; artifacts and runs stay
	rm -rf .venv .venv-versions .pytest_cache .ruff_cache .hypothesis

# LightGBM's wheel loads the system's OpenMP; python3 -m venv is a package of its own on Debian.
system:
	@PATH=$$PATH:/sbin ldconfig -p | grep libgomp.so.1 >/dev/null || { $(APT) update && $(APT) install -y --no-install-recommends libgomp1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(APT) update && $(APT) install -y --no-install-recommends python3-venv; }

# The tests drive Dagster's page in a real browser, and make certificates for a cluster.
system-test:
	@command -v chromium >/dev/null || { $(APT) update && $(APT) install -y --no-install-recommends chromium fonts-dejavu-core; }
	@command -v openssl >/dev/null || { $(APT) update && $(APT) install -y --no-install-recommends openssl; }

.venv/uv: Makefile | system
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

# --inexact keeps uv itself, which the lock file does not name.
.venv/ready: .venv/uv pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --frozen --inexact --extra dg --no-dev
	touch $@

.venv/ready-dev: .venv/uv pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --frozen --inexact --extra dg
	touch $@ .venv/ready

.venv/ready-docs: .venv/uv pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --frozen --inexact --extra dg --group docs
	touch $@ .venv/ready .venv/ready-dev
