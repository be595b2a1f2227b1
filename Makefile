# The two commands of the README are `make demo` and `make test`; each makes its environment first, once.
STACK ?= default
VENV ?= $(if $(filter upstream,$(STACK)),.venv-upstream,.venv)
PYTHON ?= python3
ARGS ?=
JOBS ?= 2
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help env demo test lint clean

help:
	@echo 'make demo   train a small DN-DETR on generated images, evaluate it and draw its boxes'
	@echo 'make test   run the tests            (ARGS="-k matching" passes options to pytest, JOBS=8: so many at a time)'
	@echo 'make lint   check the style          (ARGS=--fix repairs what can be)'
	@echo 'make env    only make the environment that the others use (FORCE=1: go through all steps again)'
	@echo 'make clean  delete what builds and tests leave; environments stay'
	@echo 'STACK=upstream: upstream mmengine, mmcv and mmdet, in .venv-upstream; VENV=path: another environment folder;'
	@echo 'PYTHON=path: the python3 to make it with'

env:
	@command -v '$(PYTHON)' >/dev/null || { echo '$(PYTHON) is missing: apt install python3 python3-venv python3-dev g++'; exit 1; }
	@'$(PYTHON)' tools/setup/setup_env.py --venv '$(VENV)' --stack '$(STACK)' $(if $(FORCE),--force)

demo: env
	'$(BIN)/python' tools/quickstart/quickstart.py $(ARGS)

test: env
	'$(BIN)/python' -m pytest tests -q -n $(JOBS) --dist loadfile --durations=10 $(ARGS)

lint: env
	'$(BIN)/python' -m ruff check . $(ARGS)
	'$(BIN)/python' -m ruff format $(if $(filter --fix,$(ARGS)),,--check) .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
