# All commands of developers and CI. It needs git, make and any Python 3, and installs the rest. With
# npm, `check` tests the policies and TypeScript too; `lock` needs npm.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
unexport STACK_NAME # names a stack in AWS: only `verify` may use it
unexport PYTHONHOME PYTHONPATH # these and the next would change which Python and packages are used
unexport UV_CONSTRAINT UV_EXCLUDE_NEWER UV_NO_BINARY UV_NO_BUILD UV_OVERRIDE UV_PYTHON UV_SYSTEM_PYTHON
# Tests read and write UTF-8, whatever the terminal's encoding.
export PYTHONUTF8 := 1

# Tests wait for timeouts, so there is one worker more than there are processors.
WORKERS = $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
UV := $(or $(shell command -v uv),.tools/bin/uv)
BIN := .venv/bin
# Files that others wrote, that never change, or that list the words themselves.
OTHER_WORDS := ':!LICENSE' ':!*requirements*' ':!tests/contract/first' ':!docs/words-to-avoid.txt'
SAM := PATH="$(CURDIR)/$(BIN):$$PATH" SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam
LOCKED := $(UV) pip sync --quiet --require-hashes --compile-bytecode --python
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes \
	--custom-compile-command "make lock" --upgrade

.PHONY: help demo unit test verify bench lint build check lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

demo: .venv/.ready ## run the connector on this machine (PORT=8000, APP_URL=http://localhost:5001/connected)
	@$(BIN)/python -m demo

unit: .venv/.ready ## run the unit tests: seconds
	@$(BIN)/pytest --quiet tests/unit

test: .venv/.ready ## run every test but the slow ones; say what was skipped and why: minutes
	$(BIN)/pytest --numprocesses=$(WORKERS) $(if $(SLOW),--cov)

verify: .venv/.ready ## check a stack in AWS that has no users: a minute (STACK_NAME=…)
	@[ "$(STACK_NAME)" ] || { echo "make: name the stack: make verify STACK_NAME=qonto-connect" >&2; exit 1; }
	@STACK_NAME="$(STACK_NAME)" $(BIN)/pytest --quiet --tb=short tests/e2e/test_first_deploy.py

bench: .venv/.ready .venv-sam/.ready ## measure the packages against their rivals; write docs/performance.md's table
	@PYTHONPATH=functions $(BIN)/python -m benchmarks

lint: .venv/.ready ## check style, types, spelling and words
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell
	@git grep -nwiE -f docs/words-to-avoid.txt -- . $(OTHER_WORDS); [ $$? = 1 ] || \
		{ echo "make: docs/words-to-avoid.txt lists these words; docs/glossary.md has better ones" >&2; exit 1; }

build: .venv/.ready .venv-sam/.ready .aws-sam/sbom.cdx.json ## validate both templates and build all packages as they are deployed
	$(SAM) validate --lint
	$(SAM) validate --lint --template-file examples/subscriber/template.yaml
	$(SAM) build
	$(SAM) build --template-file examples/subscriber/template.yaml --build-dir .aws-sam/subscriber

check: lint build .venv-checkov/.ready .node/.ready ## what CI runs: all of that, and the slow tests too
	@SLOW=1 $(MAKE) test

lock: $(UV) ## resolve all dependencies again into the hashed requirement files
	$(COMPILE) pyproject.toml --output-file functions/requirements.txt
	$(COMPILE) --constraint functions/requirements.txt --group subscriber --output-file examples/subscriber/requirements.txt
	$(COMPILE) --constraint functions/requirements.txt --constraint examples/subscriber/requirements.txt pyproject.toml --group dev --output-file requirements/dev.txt
	$(COMPILE) --group sam --output-file requirements/sam.txt
	$(COMPILE) --group checkov --output-file requirements/checkov.txt
	$(COMPILE) --group uv --output-file requirements/uv.txt
	npm update --prefix requirements --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent

clean: ## remove all that was installed or built here
	rm -rf .aws-sam .coverage .hypothesis .mypy_cache .node .pytest_cache .ruff_cache .tools .venv .venv-checkov .venv-sam build

.venv/.ready: requirements/dev.txt .python-version | $(UV)
	@echo "Installing the development environment into .venv (once) ..."
	@$(UV) venv --quiet --allow-existing --seed .venv
	@$(LOCKED) .venv requirements/dev.txt
	@touch $@

.venv-sam/.ready: requirements/sam.txt .python-version | $(UV)
	@echo "Installing the AWS SAM CLI into .venv-sam (once) ..."
	@$(UV) venv --quiet --allow-existing .venv-sam
	@$(LOCKED) .venv-sam requirements/sam.txt
	@touch $@

.venv-checkov/.ready: requirements/checkov.txt .python-version | $(UV)
	@echo "Installing checkov into .venv-checkov (once) ..."
	@$(UV) venv --quiet --allow-existing .venv-checkov
	@$(LOCKED) .venv-checkov requirements/checkov.txt
	@touch $@

.node/.ready: requirements/package.json requirements/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing what tests run by Node.js into .node (once) ..."; \
		mkdir -p .node && cp $^ .node && \
		npm ci --prefix .node --ignore-scripts --no-audit --no-fund --silent && touch $@; \
	else echo "make: npm is missing, so policies and TypeScript are not tested (install Node.js and npm)" >&2; fi

# Lists the contents of both packages, with licences, from an environment with the same contents.
.aws-sam/sbom.cdx.json: functions/requirements.txt pyproject.toml .python-version | .venv/.ready
	@mkdir -p .aws-sam
	@$(UV) venv --quiet --clear build/packed
	@$(LOCKED) build/packed functions/requirements.txt
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --short-PURLs \
		--output-file $@ build/packed
	@rm -rf build/packed

.tools/bin/uv: requirements/uv.txt
	@echo "Installing uv into .tools (once) ..."
	@command -v python3 >/dev/null || { echo "make: Python 3 is missing: install it, then try again" >&2; exit 1; }
	@python3 -m venv --clear .tools || { echo "make: this Python 3 cannot make a virtual environment: install its venv package (Debian: apt install python3-venv) or uv (https://docs.astral.sh/uv), then try again" >&2; exit 1; }
	@.tools/bin/python functions/packing/pip_install.py --quiet --require-hashes --requirement requirements/uv.txt
	@touch $@
