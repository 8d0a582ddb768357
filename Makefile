# make reproduce [PROFILE=smoke|cpu|paper] [ONLY="02 03"] [OUT=folder]   every notebook, table and figure, one report
# make reproduce PROFILE=paper REHEARSE=1      its times and memory, on random data of true size (0.05: a share; small)
# make help                                                              this list
# make test                                                              unit, contract and fault tests, notebook outputs
# make notebooks [ONLY=03]    re-execute the committed notebooks
# make audit [COUNT=3] [SEED=today]      are the committed results true? others every day; 12 s each, at most 8 min
# make torture [COUNT=1800] [SEED=0]    kills, damaged files, bad inputs: is anything lost, silent, obscure or left?
# make run-all [ONLY="02 09"]  Run All in JupyterLab, in a real browser: does an output change, does a control fail?
# make bench                  the measured promises                      make lab     JupyterLab, whose kernels give
#                                                                        the committed numbers               make clean
#
# Each builds .venv from requirements.lock first, when needed. Variables:
#   PYTHON=python3.12   the interpreter of .venv (3.11 or newer)
#   TORCH_INDEX=URL     a package index for torch, for example one with CPU-only builds (smaller by gigabytes)
#   DGL_DATA=folder     the real data sets; without them everything runs on generated data
#   PRECISION=fp32      of the paper profile on the paper's data: fp32, tf32 or bf16, the default (each is another run)
#   TABLES="1 3"        train what these tables need (a plan says the price of each)    BUDGET=8h   no longer than that
#   PER_GPU=2           trainings that share a GPU         DASK=tcp://host:8786   train on that cluster
PROFILE ?= cpu
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

ifndef DGL_DATA
ifneq ($(wildcard ../shared/data),)
export DGL_DATA := $(abspath ../shared/data)
endif
endif

# A variable as one word of the shell, whatever is in it; make itself would expand it for the environment of commands.
unexport PROFILE WORKERS ONLY OUT REHEARSE PER_GPU DASK TABLES BUDGET PRECISION TORCH_INDEX COUNT SEED
quoted = '$(subst ','\'',$(value $(1)))'

.PHONY: help reproduce test notebooks audit bench torture run-all lab clean
.DEFAULT_GOAL := reproduce

help:
	@sed -n '/^[^#]/q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

reproduce: $(VENV)/.complete
	@$(if $(value PRECISION),DGL_PRECISION=$(call quoted,PRECISION)) $(BIN)/python -m dgl_core reproduce \
	  --profile $(call quoted,PROFILE) $(if $(value ONLY),--only $(call quoted,ONLY)) \
	  $(if $(value OUT),--out $(call quoted,OUT)) $(if $(value REHEARSE),--rehearse $(call quoted,REHEARSE)) \
	  $(if $(value PER_GPU),--per-gpu $(call quoted,PER_GPU)) $(if $(value DASK),--dask $(call quoted,DASK)) \
	  $(if $(value TABLES),--tables $(call quoted,TABLES)) $(if $(value BUDGET),--budget $(call quoted,BUDGET))

test: $(VENV)/.complete
	$(BIN)/python -m pytest -q -n $(call quoted,WORKERS) --dist loadscope

notebooks: $(VENV)/.complete
	@$(BIN)/python -m tools.notebooks $(if $(value ONLY),$(call quoted,ONLY))

audit: $(VENV)/.complete
	@$(BIN)/python -m tools.audit $(if $(value COUNT),$(call quoted,COUNT)) $(if $(value SEED),--seed $(call quoted,SEED))

bench: $(VENV)/.complete
	@for script in tests/bench/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script || exit 1; done

torture: $(VENV)/.complete
	@$(BIN)/python -m tests.faults.torture $(if $(value COUNT),--count $(call quoted,COUNT)) \
	  $(if $(value SEED),--seed $(call quoted,SEED))

run-all: $(VENV)/.complete
	@$(BIN)/python -m tests.notebooks.run_all $(if $(value ONLY),$(call quoted,ONLY))

lab: $(VENV)/.complete
	@$(BIN)/python -m tools.lab

clean:
	rm -rf $(VENV) reports .pytest_cache .hypothesis .ruff_cache *.egg-info

$(VENV)/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): try make PYTHON=python3.12" >&2; exit 1; }
	@echo "Building $(VENV) from requirements.lock: once, some minutes, 2.0 GB on disk (with CUDA builds of torch 6.4 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input $(if $(value TORCH_INDEX),--index-url $(call quoted,TORCH_INDEX)) \
	  $$(grep '^torch==' requirements.lock)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps -e .
	@touch $@
