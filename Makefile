# make run: the demo in a browser.  make test: all tests.  Both install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench bench-gpu screenshots clean

run: .venv/.installed
	$(BIN)/python -m kthink_core up

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

bench: .venv/.installed-dev
	$(BIN)/python -m benchmarks.all

bench-gpu: .venv/.installed-dev
	$(BIN)/python -m benchmarks.gpu

screenshots: .venv/.installed-dev
	$(BIN)/python -m benchmarks.screenshots

.venv/.installed: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
