# make reproduce [PROFILE=smoke|cpu|paper] [ONLY="02 03"] [OUT=folder]   every notebook, table and figure, one report
# make reproduce PROFILE=paper REHEARSE=1      its times and memory, on random data of true size (0.05: a share; small)
# make test                                                              unit, contract and fault tests, notebook outputs
# make notebooks [ONLY=03]    re-execute the committed notebooks         make audit   are the committed results true?
# make torture [COUNT=1800] [SEED=0]    kills, damaged files, bad inputs: is anything lost, silent, obscure or left?
# make bench                  the measured promises                      make lab     JupyterLab         make clean
#
# Each builds .venv from requirements.lock first, when needed. Variables:
#   PYTHON=python3.12   the interpreter of .venv (3.11 or newer)
#   TORCH_INDEX=URL     a package index for torch, for example one with CPU-only builds (smaller by gigabytes)
#   DGL_DATA=folder     the real data sets; without them everything runs on generated data
#   PRECISION=bf16      of the paper profile on the paper's data: fp32, tf32 or bf16 (another precision is another run)
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

.PHONY: reproduce test notebooks audit bench torture lab clean
.DEFAULT_GOAL := reproduce

reproduce: $(VENV)/.complete
	@$(if $(PRECISION),DGL_PRECISION=$(PRECISION)) $(BIN)/python -m dgl_core reproduce --profile $(PROFILE) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(OUT),--out "$(OUT)") $(if $(REHEARSE),--rehearse $(REHEARSE)) \
	  $(if $(PER_GPU),--per-gpu $(PER_GPU)) $(if $(DASK),--dask $(DASK))

test: $(VENV)/.complete
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope

notebooks: $(VENV)/.complete
	@$(BIN)/python -m tools.notebooks $(ONLY)

audit: $(VENV)/.complete
	@$(BIN)/python -m tools.audit

bench: $(VENV)/.complete
	@for script in tests/bench/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script || exit 1; done

torture: $(VENV)/.complete
	@$(BIN)/python -m tests.faults.torture $(if $(COUNT),--count '$(COUNT)') $(if $(SEED),--seed '$(SEED)')

lab: $(VENV)/.complete
	@$(BIN)/jupyter lab --notebook-dir notebooks

clean:
	rm -rf $(VENV) reports .pytest_cache .hypothesis .ruff_cache *.egg-info

$(VENV)/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): try make PYTHON=python3.12" >&2; exit 1; }
	@echo "Building $(VENV) from requirements.lock: once, some minutes, 0.5 GB (with CUDA builds of torch 3 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
	  $$(grep '^torch==' requirements.lock)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps -e .
	@touch $@
