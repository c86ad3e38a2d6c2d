# Two commands on a machine with Python 3.11+ and make: `make demo` runs the whole pipeline on a synthetic cohort,
# `make test` checks the project. Both make their own virtual environment here first, the demonstration without the tools of
# development; a second call starts at once. `make quick` is for the time between two edits.

PYTHON ?= python3
STUDY ?= demo
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop
# Tests in parallel: a file stays with one worker, so what a file's tests share is made once. Eight workers are the most:
# each loads PyTorch. Every worker computes on one thread (tests/conftest.py).
PARALLEL ?= -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# Tests of what must not hang on the order of a set or a dict, and every file with a property.
ORDERED := tests/splits tests/common/test_cohort.py tests/common/tables tests/mil/runs tests/mil/report
PROPERTIES = $(shell grep -rlE '^@given|^    @given' --include='test_*.py' tests)
QUICK := not slow and not browser and not gpu
# What `make quick` calls changed: since the branch left main, and what is not committed.
SINCE ?= $(shell git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || echo HEAD)

.PHONY: help demo quick test seeds docs coverage bench versions lint install develop clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      a synthetic cohort through the whole pipeline, into $(STUDY)/ (STUDY=DIR for another folder)"
	@echo "make quick     changed files linted, and the tests that are quick: a minute or so"
	@echo "make test      formatting, types, layers and all tests"
	@echo "make seeds     order-sensitive tests under two seeds of Python's hash, properties under ten of hypothesis"
	@echo "make docs      the documents as a site, into site/"
	@echo "make coverage  all tests, and which lines they run"
	@echo "make bench     speed and memory beside peers and limits, one table (an hour; CLAM=DIR names its checkout)"
	@echo "make versions  the quick tests with the oldest and newest packages, for each Python (uv; 7 GB an environment)"
	@echo "make install   only the virtual environment, with what it takes to work with slides"
	@echo "make develop   the same with the tools of development"
	@echo "make clean     remove the virtual environment and caches; studies stay"

install: $(READY)
	@echo "in this environment: $(BIN)/sarcoma-mil --help, or once a shell: . $(BIN)/activate, then sarcoma-mil --help"

develop: $(DEVELOP)

# uv where it is there, else pip; nothing is cached outside this folder.
define installed
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --no-cache --python $(BIN)/python -e '$(1)'; \
	else \
	  $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -e '$(1)'; \
	fi
	@touch $@
endef

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) (about 7 GB: PyTorch comes with its CUDA libraries; this is done once)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --no-project --allow-existing --python $(PYTHON) $(VENV); \
	else \
	  $(PYTHON) -m venv $(VENV); \
	fi
	$(call installed,.)

$(DEVELOP): $(READY) pyproject.toml
	$(call installed,.[dev])

demo: $(READY)
	@$(BIN)/sarcoma-mil demo --study $(STUDY)

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: $(DEVELOP)
	@changed=$$({ git diff --name-only --diff-filter=d $(SINCE) -- '*.py'; git ls-files --others --exclude-standard -- '*.py'; } | sort -u); \
	if [ -n "$$changed" ]; then \
	  $(BIN)/ruff check --force-exclude $$changed && $(BIN)/ruff format --check --force-exclude $$changed; \
	fi
	$(BIN)/python -m pytest $(PARALLEL) -m "$(QUICK)"

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

seeds: $(DEVELOP)
	@for seed in 1 2; do echo "PYTHONHASHSEED=$$seed"; \
	  PYTHONHASHSEED=$$seed $(BIN)/python -m pytest $(PARALLEL) -m "$(QUICK)" $(ORDERED) || exit 1; done
	@for seed in 0 1 2 3 4 5 6 7 8 9; do echo "--hypothesis-seed=$$seed"; \
	  $(BIN)/python -m pytest $(PARALLEL) -m "$(QUICK)" --hypothesis-seed=$$seed $(PROPERTIES) || exit 1; done

# Workers and scripts run by path count too: .coverage files of child processes are combined.
coverage: $(DEVELOP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-empty

# Not part of `make test`: it fetches two sets of packages for each Python that uv finds.
versions:
	$(PYTHON) benchmarks/versions.py

docs: $(DEVELOP)
	$(BIN)/python -m mkdocs build --strict

bench: $(DEVELOP)
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf $(VENV) .bench build *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
