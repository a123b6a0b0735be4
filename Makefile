# Every target works on a bare machine: what is missing is made, what is there is used.
.PHONY: help run test test-engines lint format bench stop clean
.DEFAULT_GOAL := help

# Ends with make, however make ends.
stay := $(shell command -v setpriv >/dev/null 2>&1 && echo setpriv --pdeathsig TERM)

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: ## run the platform with its sample on http://127.0.0.1:8000 (ZERVERLESS_PORT, ZERVERLESS_DATA_DIR)
	@exec $(stay) scripts/run

test: ## static checks and every test (some: make test ARGS="tests/builds -k cache")
	@exec $(stay) scripts/test $(ARGS)

test-engines: ## every test of what is asked of a Docker Engine, on a newer one, with either image store
	@exec $(stay) scripts/test-engines $(ARGS)

lint: ## static checks only
	@exec scripts/lint

format: ## format the code and fix what can be fixed
	@scripts/venv dev
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .

bench: ## measure everything in benchmarks/, each figure beside its reference
	@exec $(stay) scripts/bench $(ARGS)

stop: ## stop the Docker Engine and PostgreSQL that were started from here
	@scripts/test-machine stop
	@scripts/engine stop

clean: ## remove .venv and caches; data/ stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache staticfiles
	@find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +
