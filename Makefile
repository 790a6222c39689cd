# Everything a newcomer needs: make demo, make test. Each builds .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= auto

# One thread per worker: BLAS, numba and OpenMP must not multiply with the test workers.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1
export MPLBACKEND ?= Agg

.PHONY: help demo test test-slow lint format bench precision constraints clean

help:
	@echo "make demo         simulate a small beamtime, process it, draw it, compare with the truth (in demo_out/)"
	@echo "make test         run the tests (REDOXLIGHT_DATA=<folder> adds those on real measurements)"
	@echo "make test-slow    run the long ones: a thousand examples for every parser"
	@echo "make lint         ruff and mypy --strict"
	@echo "make format       let ruff format the sources"
	@echo "make bench        print the table of speeds beside other programs"
	@echo "make precision    print the table of measured numbers (REDOXLIGHT_DATA=<folder> adds those on real measurements)"
	@echo "make constraints  renew constraints.txt from the newest releases"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "redoxlight needs Python 3.11 to 3.13, $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(INSTALLED)

demo: $(INSTALLED)
	rm -rf demo_out
	$(BIN)/redoxlight demo demo_out

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m "not slow" $(PYTEST_OPTIONS)

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m slow $(PYTEST_OPTIONS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

precision: $(INSTALLED)
	$(BIN)/python -m benchmarks.precision $(QUANTITIES)

# Names and versions only: where they were fetched from is the business of the machine.
constraints:
	rm -rf .venv-constraints
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet ".[dev]"
	.venv-constraints/bin/python -m pip freeze --exclude redoxlight > .venv-constraints/freeze.txt
	grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' .venv-constraints/freeze.txt > .venv-constraints/pinned.txt
	mv .venv-constraints/pinned.txt constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf $(VENV) demo_out .pytest_cache .mypy_cache .ruff_cache .hypothesis
