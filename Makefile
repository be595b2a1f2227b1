# The two commands of the README are `make demo` and `make test`; each makes its environment first, once.
STACK ?= default
VENV ?= $(if $(filter upstream,$(STACK)),.venv-upstream,.venv)
PYTHON ?= python3
ARGS ?=
JOBS ?= 2
# Not from the environment, where others use the same names.
GPU =
DRIVER =
OPS =
RUNS =
MACHINE =
BIN = $(VENV)/bin
# Compiled once, the thousands of files that a program imports load in a third of the time.
export PYTHONDONTWRITEBYTECODE =
TUTORIALS = $(patsubst %.ipynb,%.md,$(wildcard docs/tutorials/*.ipynb))

.DEFAULT_GOAL := help
.PHONY: help env demo test test-exports test-cuda test-runtime coverage lint types docs release clean


help:
	@echo 'make demo   train a small DN-DETR on generated images, evaluate it and draw its boxes'
	@echo 'make test   run the tests            (ARGS="-k matching" passes options to pytest, JOBS=8: so many at a time)'
	@echo 'make test-exports  write and compare a file of every family of models, which takes about 10 minutes'
	@echo 'make test-cuda  run the tests for GPUs; with a GPU `make test` ends with them'
	@echo 'make test-runtime MODEL=model.onnx IMAGE=photo.jpg  time to the first boxes where only the runtime is installed'
	@echo 'make lint   check style, spelling and types (ARGS=--fix repairs what can be); make types: types alone'
	@echo 'make coverage  run the tests and say which lines and branches they reach'
	@echo 'make release   sdist and wheel in dist/, checked and tried in new environments, with checksums'
	@echo '            RUNS="work_dirs/a work_dirs/b" MACHINE="2 cores": and what these trainings have learnt, with model cards'
	@echo 'make docs   build the site in site/, tutorials included; links and anchors are checked'
	@echo 'make env    only make the environment that the others use (FORCE=1: look at the machine again, all steps)'
	@echo '            GPU="8.0 9.0": for GPUs of these compute capabilities, from a machine without (DRIVER=535: with that'
	@echo '            driver); GPU=none: for the CPU; OPS=cpu: without the CUDA ops of mmcv'
	@echo 'make clean  delete what builds and tests leave; environments stay'
	@echo 'STACK=upstream: upstream mmengine, mmcv and mmdet, in .venv-upstream; VENV=path: another environment folder;'
	@echo 'PYTHON=path: the python3 to make it with'

env:
	@command -v '$(PYTHON)' >/dev/null || { echo '$(PYTHON) is missing: apt install python3 python3-venv python3-dev g++'; exit 1; }
	@'$(PYTHON)' tools/setup/setup_env.py --venv '$(VENV)' --stack '$(STACK)' $(if $(FORCE),--force) \
		--gpu '$(GPU)' --driver '$(DRIVER)' --ops '$(OPS)'

demo: env
	'$(BIN)/python' tools/quickstart/quickstart.py $(ARGS)

# tests/conftest.py hides the GPUs, so that the tests are the same everywhere; those of tests/test_cuda.py follow.
test: env
	'$(BIN)/python' -m pytest tests -q -n $(JOBS) --dist loadfile --durations=10 $(ARGS)
ifeq ($(strip $(ARGS) $(filter none,$(GPU))),)
	@if nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then \
		echo 'There is a GPU: its tests follow (make test-cuda).'; $(MAKE) --no-print-directory test-cuda; fi
endif

# Slow, since torch traces each family once more: run it after changes of exports or of a model's computation.
test-exports: env
	SETDET_TEST_EXPORTS=1 '$(BIN)/python' -m pytest tests/export -q -n $(JOBS) $(ARGS)

test-cuda: env
	SETDET_TEST_CUDA=1 '$(BIN)/python' -m pytest tests/test_cuda.py -q $(ARGS)

# In an environment of its own, from a package index.
test-runtime:
	'$(PYTHON)' -m venv --clear build/runtime
	build/runtime/bin/pip install -q '.[runtime]'
	build/runtime/bin/python tests/first_box.py '$(MODEL)' '$(IMAGE)'

lint: env
	'$(BIN)/python' -m ruff check . $(ARGS)
	'$(BIN)/python' -m ruff format $(if $(filter --fix,$(ARGS)),,--check) .
	'$(BIN)/python' -m codespell_lib $(if $(filter --fix,$(ARGS)),--write-changes)
	@'$(BIN)/python' tools/docs/translations.py
	@$(MAKE) --no-print-directory types

# Of what others call; docs/stability.md lists it.
types: env
	'$(BIN)/python' -m mypy

# The floor stands in pyproject.toml.
coverage: env
	'$(BIN)/python' -m pytest tests -q -n $(JOBS) --dist loadfile --cov --cov-report=term-missing:skip-covered $(ARGS)

# In environments of their own, from a package index; beside the stacks that are here, too.
release:
	$(if $(RUNS),'$(BIN)/python' tools/release/weights.py $(RUNS) --machine '$(MACHINE)')
	'$(PYTHON)' -m venv build/release
	build/release/bin/pip install -q -r requirements/release.txt
	build/release/bin/python tools/release/release.py $(addprefix --beside ,$(wildcard .venv .venv-upstream)) $(ARGS)

docs: build/docs/stack $(TUTORIALS)
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --strict $(ARGS)

# The site's tools in an environment of their own, in which tutorials find torch in that of the tests.
build/docs/stack: requirements/docs.txt | env
	'$(BIN)/python' -m venv build/docs
	build/docs/bin/pip install -q -r requirements/docs.txt
	'$(BIN)/python' -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $@
	cp $@ $$(echo build/docs/lib/python3*/site-packages)/stack.pth

docs/tutorials/%.md: docs/tutorials/%.ipynb build/docs/stack
	PYTHONPATH='$(CURDIR)' build/docs/bin/jupyter nbconvert --execute --to markdown --log-level WARN $<

clean:
	rm -rf build site dist docs/tutorials/*.md docs/tutorials/*_files *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .coverage*
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
