# Every task of the project. `make help` lists them; the first call of each installs what it needs
# into $(VENV) and later calls skip that until pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# PYTHON=/path/to/python3.12 picks the interpreter; else the first of these that is 3.11 or newer.
PYTHONS := $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)
# Random kills in `make chaos`.
KILLS ?= 1000
# How long workers on Kafka are killed, frozen, added and removed there.
MINUTES ?= 10
# Processes that share the files of the tests; ARGS="-n 0 --pdb" looks into one.
TESTERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check bench chaos format reference install install-test install-bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: ARGS ?= --once
demo: install  ## the whole loop on real data, about a minute; ARGS="--events 100000" replaces --once
	@$(BIN)/freshet demo $(ARGS)

test: install-test  ## every test, doctest and house rule but the long ones; ARGS="tests/stream -x" narrows it
	@$(BIN)/pytest -m "not long" -n $(TESTERS) $(ARGS)

check: install-test  ## formatting, lint, types, layers: all four are run, then all must have held
	@failed=""
	for gate in "ruff format --check ." "ruff check ." "mypy" "lint-imports --no-logo"; do
	  echo "-- $$gate"
	  $(BIN)/$$gate || failed="$$failed '$$gate'"
	done
	if [[ -n $$failed ]]; then echo "make check: did not hold:$$failed" >&2; exit 1; fi

bench: install-bench  ## our figures beside those of others, in one run; ARGS="--quick --json bench.json"
	@$(BIN)/python -m benchmarks $(ARGS)

test-long: install-test  ## the tests that take minutes: learning over many seeds, networks; ARGS narrows it
	@$(BIN)/pytest -m long --timeout=0 $(ARGS)

chaos: install-test  ## kill processes at random under load; KILLS=1000 MINUTES=10
	@FRESHET_CHAOS_KILLS=$(KILLS) FRESHET_CHAOS_MINUTES=$(MINUTES) $(BIN)/pytest -m chaos --timeout=0 $(ARGS)

format: install-test  ## let ruff lay out and mend what it can
	@$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

reference: install  ## write docs/reference/ anew from the docstrings and the command line
	@$(BIN)/python docs/reference.py --write

clean:  ## remove what was built, installed and cached
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test
install-bench: $(VENV)/.installed-bench

$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	@echo "installing Freshet into $(VENV) (hnswlib is compiled here, about a minute the first time)"
	$(PIP) install --quiet --editable .
	touch $@

# An extra brings the base along, so its stamp stands for both.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/.created
	@echo "installing Freshet with its '$*' extra into $(VENV)"
	$(PIP) install --quiet --editable '.[$*]'
	touch $@ $(VENV)/.installed

$(VENV)/.created:
	@found=""
	for candidate in $(PYTHONS); do
	  version=$$("$$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
	  found="$$found $$candidate=$$version"
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	    "$$candidate" -m venv $(VENV) || {
	      echo "Freshet: $$candidate cannot make a virtual environment; on Debian and Ubuntu install python3-venv." >&2
	      rm -rf $(VENV); exit 1
	    }
	    touch $@
	    exit 0
	  fi
	done
	echo "Freshet: Python 3.11 or newer is needed; found:$${found:- none}. Try: make PYTHON=/path/to/python3.12" >&2
	exit 1
