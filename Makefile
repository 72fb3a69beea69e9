# Every target works in a clean clone with git, make, Python 3.11+ and PyPI: the venv is made on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# A test file stays in one process, because its tests share a service. More than four processes would slow down the
# tests that run in real time.
SPREAD := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: converters coverage docs manifests bundle validate wheels picture snapshot all demo test test-fast hosts frameworks check fix bench campaign clean
all: check test

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sandbox]' --group dev
	@touch $@

demo: $(STAMP)        ## the main job, with no key: three videos from the sandbox
	$(BIN)/avm demo

test: $(STAMP) converters ## every test, on up to four cores
	@$(BIN)/pytest $(SPREAD)

converters: $(STAMP)  ## what turns our schemas into those of models, in Python; installs under .hosts/
	@$(PYTHON) tests/hosts/install.py converters

coverage: $(STAMP) converters ## every test, slower, with branch coverage of the package in .coverage.txt
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest; code=$$?; \
	  $(BIN)/coverage combine --quiet && $(BIN)/coverage report > .coverage.txt; exit $$code

test-fast: $(STAMP)   ## only the tests in virtual time
	$(BIN)/pytest $(SPREAD) -m 'not process'

hosts: $(STAMP)       ## real MCP hosts against the real server; installs them under .hosts/
	$(PYTHON) tests/hosts/install.py hosts
	AVM_HOSTS=1 $(BIN)/pytest tests/hosts

frameworks: $(STAMP)  ## the examples of docs/frameworks.md, and what their models saw; installs under .hosts/
	$(PYTHON) tests/hosts/install.py frameworks
	AVM_FRAMEWORKS=1 $(BIN)/pytest -rP tests/frameworks tests/converters

check: $(STAMP)       ## formatting, lint, types, the packaged snapshot
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m tests.snapshot --check

fix: $(STAMP)         ## format, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)        ## the tables of the README, from the code
	$(BIN)/python -m tests.docs

snapshot: $(STAMP)    ## what the fast start answers, from the real server
	$(BIN)/python -m tests.snapshot

campaign: $(STAMP)    ## 10,000 schedules of faults in virtual time; a failing seed prints its replay
	$(BIN)/python -m tests.campaign --schedules 10000 --jobs $$(getconf _NPROCESSORS_ONLN)

manifests: $(STAMP)   ## what hosts and registries read, from the code
	$(BIN)/python -m manifests.build

bundle: $(STAMP)      ## dist/*.mcpb for Claude Desktop; locks its dependencies now, with uv
	$(BIN)/python -c 'from manifests.bench import Bench; Bench.python("py")'
	$(BIN)/python -m manifests.bundle

validate: $(STAMP)    ## everybody else's validators; GROUPS="python mcpb" for those without hosts
	$(BIN)/python -m manifests.validate $(GROUPS)

wheels: $(STAMP)      ## the wheel alone, on every Python there is, with the oldest and the newest libraries
	$(BIN)/python -m manifests.validate wheels

picture: $(STAMP)     ## the picture in the README, from the real program; takes as long as a video
	$(BIN)/python -m manifests.picture

bench: $(STAMP)       ## ratios, measured in one run; prints, never asserts
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis .hosts
