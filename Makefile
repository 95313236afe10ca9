# What one does with a checkout: each target prepares what it needs by itself, in .venv.
#
#   make demo       three learners at once on one GPU (the software GPU where there is none)
#   make test       unit, integration and browser tests, on the software GPU
#   make pictures   the browser tests, and the pictures in docs/images anew
#   make test-gpu   the tests that need an NVIDIA GPU
#   make support    the same as test, and docs/support.md says what it saw of each driver function
#   make fuzz       the worker's decoder against made-up commands, 60 s under AddressSanitizer (FUZZ_SECONDS=...)
#   make lint       formatters and type checker; changes nothing
#   make tidy       clang-tidy over all C++
#   make format     what lint would have formatted
#   make bench      the benchmarks (see benchmarks/)
#   make bench-gpu  learners' programs, native and under a slice in turn (BENCH="--only mlp,graph --record")
#   make bench-sharing   several slices on one NVIDIA GPU: swapping, turns, shares (BENCH="--only swap,trade")
#   make clean      removes .venv, build/ and caches
#
# Needs: Linux, Python 3.10 or newer with venv, gcc and g++ 11 or newer, make. CMake, Ninja, clang-format, clang-tidy
# and everything else come as wheels. Options: PYTHON=python3.12 VENV=/some/folder TESTS="tests/unit -k slice"
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
TESTS ?= tests/unit tests/integration tests/browser
ROOT := $(CURDIR)
BIN := $(abspath $(VENV))/bin
STAMPS := $(abspath $(VENV))/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Programs run from here: in the root, Python would import the packages of the tree, which lack what CMake builds.
RUN_DIR := $(ROOT)/build/run
CXX_DIRS := $(wildcard kernel_hook gpu_server tests benchmarks)
CXX_FILES = $(shell find $(CXX_DIRS) \( -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -not -path '*/.*')
# What the installed package is made of.
SOURCES := $(shell find jupyter_tfusion jupyter-config gpu_server kernel_hook cmake -type f \
	-not -name '*.pyc' -not -name '*_pb2*' -not -name '.*') \
	$(shell find labextension -type f -not -path '*/node_modules/*' -not -path '*/lib/*' -not -path '*/dist/*' \
	  -not -path '*/test/*' -not -path '*/__pycache__/*' -not -name 'dist.sha256' -not -name '*.tsbuildinfo') \
	CMakeLists.txt $(wildcard README.md LICENSE)

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export PIP_NO_INPUT := 1
# A developer's build takes warnings for errors; a user's `pip install` does not.
export TFUSION_WERROR ?= ON
# A run must not depend on what the surrounding shell is configured for.
unexport PYTHONPATH PYTHONHOME LD_PRELOAD TFUSION_SERVER

.PHONY: help install demo test test-ts pictures test-gpu support fuzz lint lint-python lint-cpp lint-ts tidy format bench bench-gpu bench-sharing clean
help:
	@sed -n '3,14s/^# \{0,3\}//p' Makefile

$(STAMPS)/venv:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON). Install Python 3.10 or newer, or name it: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "jupyter-tfusion needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: its venv or ensurepip module is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@command -v g++ >/dev/null || { \
	  echo "There is no C++ compiler (g++). On Debian and Ubuntu: apt-get install build-essential" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { \
	  echo "The headers of $(PYTHON) (Python.h) are missing. On Debian and Ubuntu: apt-get install python3-dev" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# --group is new in pip 25.1
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@mkdir -p $(STAMPS) && touch $@

# A change of pyproject.toml that leaves a group as it is costs pip a few seconds to see so.
$(STAMPS)/build: pyproject.toml $(STAMPS)/venv
	@$(PIP) install --quiet --group build && touch $@

$(STAMPS)/lint: pyproject.toml $(STAMPS)/venv
	@$(PIP) install --quiet --group lint && touch $@

# Without isolation, so that CMake keeps its build folder (build/<tag>) and compiles only what changed.
$(STAMPS)/package: $(SOURCES) pyproject.toml $(STAMPS)/build
	@echo "Building and installing the package into $(VENV)"
	@PATH="$(BIN):$$PATH" $(PIP) install --quiet --no-build-isolation '.[demo]' && touch $@

$(STAMPS)/test: pyproject.toml $(STAMPS)/venv
	@$(PIP) install --quiet --group test && touch $@

# The lab extension's tools. Node comes from a wheel of the build group.
LAB = $(BIN)/python labextension/build.py
$(STAMPS)/node: labextension/package.json labextension/yarn.lock $(STAMPS)/build
	@echo "Installing what the lab extension is built and tested with into labextension/node_modules"
	@$(LAB) install --immutable >$(STAMPS)/node.log 2>&1 || { cat $(STAMPS)/node.log >&2; exit 1; }
	@touch $@

$(RUN_DIR):
	@mkdir -p $@

install: $(STAMPS)/package

demo: $(STAMPS)/package | $(RUN_DIR)
	@cd $(RUN_DIR) && $(BIN)/python $(ROOT)/examples/demo.py

PYTEST = cd $(RUN_DIR) && $(BIN)/python -m pytest -c $(ROOT)/pyproject.toml --rootdir=$(ROOT)
# With TESTS=... only those, without Jest.
test: $(if $(filter file,$(origin TESTS)),test-ts) $(STAMPS)/package $(STAMPS)/test $(STAMPS)/node | $(RUN_DIR)
	@$(PYTEST) -n $(JOBS) --dist=loadgroup -m 'not gpu' $(patsubst tests/%,$(ROOT)/tests/%,$(TESTS))

# The pictures in docs/images, of the running product.
pictures: export TFUSION_PICTURES := 1
pictures: $(STAMPS)/package $(STAMPS)/test $(STAMPS)/node | $(RUN_DIR)
	@$(PYTEST) $(ROOT)/tests/browser

test-ts: $(STAMPS)/node
	@$(LAB) run test

# What the tests see of each driver function, for docs/support.md. COLUMN="NVIDIA H200" SUPPORT_MARK=gpu on a GPU host.
SUPPORT_MARK ?= not gpu
COLUMN ?= software GPU
support: $(STAMPS)/package $(STAMPS)/test | $(RUN_DIR)
	@rm -rf build/calls && mkdir -p build/calls
	@export TFUSION_COUNT_CALLS=$(ROOT)/build/calls; $(PYTEST) -n $(JOBS) --dist=loadgroup -m '$(SUPPORT_MARK)' $(ROOT)/tests
	@$(BIN)/python kernel_hook/codegen/__main__.py kernel_hook/api/driver.api --support docs/support.md --gather build/calls --column "$(COLUMN)"

test-gpu: $(STAMPS)/package $(STAMPS)/test | $(RUN_DIR)
	@$(PYTEST) -m gpu $(ROOT)/tests

# clang with libFuzzer where there is one, else g++ and a loop of our own.
FUZZ_SECONDS ?= 60
fuzz: $(STAMPS)/build
	@PATH="$(BIN):$$PATH" $(BIN)/python tests/fuzz/run.py --build build/fuzz --seconds $(FUZZ_SECONDS)

lint: lint-python lint-cpp lint-ts

lint-python: $(STAMPS)/lint $(STAMPS)/build $(STAMPS)/package
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python gpu_server/proto/generate.py
	@$(BIN)/mypy

lint-cpp: $(STAMPS)/lint
	@$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

lint-ts: $(STAMPS)/node
	@$(LAB) run lint

# Some ten seconds a file, a hundred and more files: not part of lint.
tidy: $(STAMPS)/lint $(STAMPS)/package
	@commands=$$(ls -t build/*/compile_commands.json | head -1); \
	sed -n 's/^ *"file": "\(.*\)",\{0,1\}$$/\1/p' $$commands | grep -v '/build/' | sort -u | \
	  xargs -r -P $(JOBS) -n 1 $(BIN)/clang-tidy --quiet -p $$(dirname $$commands)

format: $(STAMPS)/lint $(STAMPS)/node
	@$(BIN)/ruff check --fix --exit-zero . ; $(BIN)/ruff format . ; $(BIN)/clang-format -i $(CXX_FILES) ; $(LAB) run format

bench: $(STAMPS)/package | $(RUN_DIR)
	@cd $(RUN_DIR) && $(BIN)/python $(ROOT)/benchmarks/run.py

# What a workload needs (PyTorch, JAX, ...) must be in .venv; what is missing is left out, and said.
BENCH ?=
bench-gpu: $(STAMPS)/package | $(RUN_DIR)
	@cd $(RUN_DIR) && $(BIN)/python $(ROOT)/benchmarks/run_gpu.py $(BENCH)

# Shares, swapping, turns and bad neighbours; without an NVIDIA GPU: BENCH="--rehearse --seconds 1".
bench-sharing: $(STAMPS)/package | $(RUN_DIR)
	@cd $(RUN_DIR) && $(BIN)/python $(ROOT)/benchmarks/run_sharing.py $(BENCH)

clean:
	rm -rf $(VENV) build dist labextension/dist labextension/dist.sha256 labextension/lib labextension/node_modules labextension/*.tsbuildinfo .mypy_cache .ruff_cache .pytest_cache .hypothesis
