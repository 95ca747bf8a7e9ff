# gradclip: `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## set up, get data, train clipped and unclipped, write the report
	$(BIN)/gradclip-data app=energy
	$(BIN)/gradclip-compare app=energy 'clipping=[none,global_norm,autoclip]' seeds=1 \
		sweep=sgd output_dir=reports/demo

test: $(STAMP) ## run the tests (a few minutes)
	$(BIN)/python -m pytest -m "not slow" -n auto

test-all: $(STAMP) ## run all tests, the slow ones too
	$(BIN)/python -m pytest -n auto

lint: $(STAMP) ## check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy gradclip_core apps data_scripts
	$(BIN)/lint-imports

format: $(STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## time clipping against torch, as ratios in one process
	$(BIN)/python -m benchmarks.clip_speed

clean: ## remove the environment, caches and build products; data, runs and reports stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch first and pinned: a looser requirement would choose a build of its own.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
