# The two commands of a newcomer: `make demo` and `make test`. Both make .venv first, with every version pinned.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready-dev
READY_DEMO := $(VENV)/.ready-demo
# An environment with another scikit-learn, for the tests of train.python; all else is that of $(VENV).
OTHER := $(VENV)/other
OTHER_SKLEARN := 1.8.0

.PHONY: demo test quick lint benchmark clean

demo: $(READY_DEMO)
	$(VENV)/bin/retraind demo

test: lint $(OTHER)/.ready
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile

# Without the tests that start processes, servers and trainings.
quick: lint $(OTHER)/.ready
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow"

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/retraind check policies
	$(VENV)/bin/retraind test policies

benchmark: $(READY)
	$(VENV)/bin/python benchmarks/retrain.py
	$(VENV)/bin/python benchmarks/watching.py
	$(VENV)/bin/python benchmarks/comparing.py
	$(VENV)/bin/python benchmarks/verdicts.py
	$(VENV)/bin/python benchmarks/sizes.py
	$(VENV)/bin/python benchmarks/drift.py
	$(VENV)/bin/python benchmarks/checking.py
	$(VENV)/bin/python benchmarks/after_promotion.py
	$(VENV)/bin/python benchmarks/memory.py
	$(VENV)/bin/python benchmarks/accounting.py
	$(VENV)/bin/python benchmarks/data.py
	$(VENV)/bin/python benchmarks/timelines.py

# Python 3.11 or newer is asked for by name, so that an old one gets a sentence and not a failed install. Debian has
# pip without what makes a venv with pip (python3-venv): then its own pip puts one in.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv $(VENV) || { \
	    $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --quiet --python $(VENV)/bin/python install pip; }

$(READY_DEMO): $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

$(READY): $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(OTHER)/.ready: $(READY)
	$(VENV)/bin/python -m venv --without-pip $(OTHER)
	$(VENV)/bin/python -m pip --python $(OTHER)/bin/python install --quiet --disable-pip-version-check --no-deps \
	    scikit-learn==$(OTHER_SKLEARN)
	$(VENV)/bin/python -c 'import os, sysconfig; print(sysconfig.get_path("purelib"), os.getcwd(), sep="\n")' \
	    > "$$($(OTHER)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
	touch $@

clean:
	rm -rf $(VENV) .cache demo build *.egg-info
