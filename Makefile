# Two commands on a machine with Python 3.11+ and make: `make demo` runs the whole pipeline on a synthetic cohort,
# `make test` checks the project. Both make their own virtual environment here first; a second call starts at once.

PYTHON ?= python3
STUDY ?= study
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint install clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      a synthetic cohort through the whole pipeline, into $(STUDY)/ (STUDY=DIR for another folder)"
	@echo "make test      formatting, types, layers and tests"
	@echo "make install   only the virtual environment"
	@echo "make clean     remove the virtual environment and caches; studies stay"

install: $(READY)

# uv where it is there, else pip; nothing is cached outside this folder.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) (PyTorch is several GB; this is done once)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --no-project --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install --quiet --no-cache --python $(BIN)/python -e '.[dev]'; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

demo: $(READY)
	$(BIN)/python preprocessing/make_demo_study.py --study $(STUDY)
	$(BIN)/python preprocessing/tile_slides.py --study $(STUDY)
	$(BIN)/python features/extract_features.py --study $(STUDY)
	$(BIN)/python splits/make_splits.py --study $(STUDY)
	$(BIN)/python mil/train.py --study $(STUDY) --task subtype
	$(BIN)/python mil/train.py --study $(STUDY) --task survival
	@$(BIN)/python mil/show_results.py --study $(STUDY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Scripts run by path count too: .coverage files of child processes are combined.
test: lint
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-empty

clean:
	rm -rf $(VENV) build *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
