# `make` alone explains.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help env demo show show-tiny test check quick e2e vsix bench clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{split($$1, name, ":"); printf "  make %-8s %s\n", name[1], $$2}'

# Three environments in one folder, each on top of the one before: what completing needs, what learning needs, what tests need.
$(VENV)/user: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/train: $(VENV)/user
	$(PIP) install --quiet --editable '.[train]'
	@touch $@

$(VENV)/dev: $(VENV)/train
	$(PIP) install --quiet --editable '.[train,dev]'
	@touch $@

env: $(VENV)/dev ## everything that tests and training need, in .venv

demo: $(VENV)/user ## a model that fits this machine, a file completed; then a style is learnt, and compared (NO_TRAIN=1: not)
	@if $(BIN)/understudy setup --yes; then $(MAKE) --no-print-directory show; \
	elif [ $$? -eq 1 ]; then $(MAKE) --no-print-directory show-tiny; else exit 130; fi

show:
	$(BIN)/understudy demo --no-train
ifndef NO_TRAIN
	@echo "Installing what learning needs (PyTorch is large)"
	@$(MAKE) --no-print-directory $(VENV)/train
	$(BIN)/understudy demo --lesson
endif

# Without network: all parts at work, on a model that cannot write code, in a home of its own.
show-tiny: export UNDERSTUDY_HOME := $(CURDIR)/.cache/tiny-demo
show-tiny:
	@echo "No model could be brought, so this is the tests' tiny one: it cannot write code, but it shows every part at work."
	@$(BIN)/understudy model use understudy-tiny 2>/dev/null || $(BIN)/understudy model import tests/tiny_model --name understudy-tiny
	@$(MAKE) --no-print-directory show

test: check quick e2e ## all of it: what CI runs

check: $(VENV)/dev ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One pytest per area, the cheap ones first: a failure shows early, and torch and the compiler share no process with the rest.
AREAS := tests/test_house.py tests/fim tests/context tests/nvim tests/vscode tests/lsp tests/model tests/collect tests/examples \
	tests/setup tests/daemon tests/engine tests/compiler tests/tuning tests/gate tests/nightly
E2E := tests/e2e/install tests/e2e/real_model tests/e2e/nvim tests/e2e/vscode $(filter-out tests/test_house.py,$(AREAS))
# Two at a time, since most wait for one core or for another process; what each one says is shown in one piece, where make can do that.
AT_ONCE := $(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
.PHONY: $(AREAS:%=quick/%) $(E2E:%=e2e/%)

quick: $(VENV)/dev ## tests that need no process of the product's and no minutes each
	@$(AT_ONCE) $(AREAS:%=quick/%)

$(AREAS:%=quick/%): quick/%:
	@echo "$*"; $(BIN)/pytest -q -m 'not e2e and not slow' $*

e2e: $(VENV)/dev ## the other tests: slow ones, and real processes: daemon, language server, night, VS Code, Neovim
	@$(AT_ONCE) $(E2E:%=e2e/%)

$(E2E:%=e2e/%): e2e/%:
	@echo "$*"; $(BIN)/pytest -q -m 'e2e or slow' $* || test $$? = 5

# Both editors bring their Neovim by the same script: one after the other.
e2e/tests/e2e/vscode: e2e/tests/e2e/nvim

vsix: $(VENV)/dev ## the VS Code extension, as editors/vscode/understudy.vsix
	cd editors/vscode && PATH="$(CURDIR)/$(BIN):$$PATH" npm install --no-save --ignore-scripts --silent && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent package

bench: $(VENV)/dev ## the short benchmarks, one JSON line each
	@set -e; for script in lsp_overhead lsp_cancel daemon_overhead; do $(BIN)/python benchmarks/$$script.py; done

clean: ## remove the environment and what was built; models and caches of yours stay
	rm -rf $(VENV) build dist *.egg-info
