# gradclip: `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
CHECKOUTS ?= ..
BIN := $(VENV)/bin
APPS := $(VENV)/.apps
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-reordered test-all test-clients peers-tests lint format docs bench findings clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(APPS) ## make the environment alone

demo: $(APPS) ## set up, get data, train clipped and unclipped, write the report
	$(BIN)/gradclip-data app=energy
	$(BIN)/gradclip-compare app=energy 'clipping=[none,global_norm,autoclip]' seeds=2 \
		sweep=sgd output_dir=reports/demo

test: $(DEV) ## run the tests (a few minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

# Plain instructions and two threads add in another order than most processors do.
test-reordered: $(DEV) ## run the numerical tests of the core with sums in another order
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE \
		OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE \
		$(BIN)/python -m pytest -m "not slow" -n auto tests/core/*optimizers* \
		tests/core/*lightning* tests/core/backward tests/core/rules tests/core/stepping

test-all: $(DEV) ## run all tests, the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-clients: $(DEV) ## install the libraries of tests/clients and run those tests
	$(PIP) install --quiet --constraint constraints.txt --editable '.[clients]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/clients

peers-tests: $(DEV) ## run the peers' own tests of clipping with ours in its place; CHECKOUTS=folder
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.peers --checkouts $(CHECKOUTS)

lint: $(DEV) ## check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy gradclip_core apps data_scripts
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .github mkdocs.yml conf CITATION.cff
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: $(DEV) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DEV) ## build the documentation into build/site; a broken link or an undocumented name fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_docs.py
	@echo "open build/site/index.html"

bench: $(DEV) ## time clipping against torch and other libraries (a few minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.clip_speed --threads 1 2 --write docs
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.training_steps --write docs
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.spectral_speed --write docs

# docs/findings.md says how long they take. Those that were broken off go on.
SEVEN := 'clipping=[none,global_norm,autoclip,zclip,spectral,spectra,aggc]'
findings: $(APPS) ## make the comparisons behind docs/findings.md (hours)
	$(BIN)/gradclip-compare app=energy,finance,speech,sentiment model=lstm $(SEVEN) \
		seeds=3 sweep=sgd sweep.seeds=3 output_dir=reports/findings
	$(BIN)/gradclip-compare app=energy,finance,sentiment $(SEVEN) \
		seeds=3 output_dir=reports/defaults

clean: ## remove the environment, caches and build products; data, runs and reports stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch first and pinned: a looser requirement would choose a build of its own.
$(APPS): pyproject.toml apps/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up $(VENV): a few minutes, once."
	@$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable . --editable ./apps
# PyPI's torchaudio is linked to CUDA. Beside another torch its native part, which nothing here uses,
# would let neither torchaudio nor what imports it (transformers) be imported.
	@$(BIN)/python -c 'import torchaudio' 2>/dev/null || \
		rm -f $(VENV)/lib/python*/site-packages/torchaudio/lib/*torchaudio*.so
	@touch $@

$(DEV): $(APPS)
	@echo "Installing what the tests need: a minute or two, once."
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]' --editable './apps[all]'
# A peer of which one file is read; its package wants torchvision.
	$(PIP) install --quiet --constraint constraints.txt --no-deps timm
	@touch $@
