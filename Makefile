# make demo      install what compiling and answering need into .venv, then build a small model and ask it something
# make test      install the development tools too, then lint and run the default tests: minutes
# make test-all  the same with all tests, as CI does
# make docs      write the documents as a site to out/site
# make gpu-check  on a machine with a CUDA device: check kernels, plugins and runtime there, installing nothing
# The first three may be repeated: a step whose inputs did not change is not done again.

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
# The longest test takes a minute. One that waits forever, in native code too, is ended and says where it stood.
PYTEST_ARGS ?= -n auto --dist loadfile --timeout 600 --timeout-method thread
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# One thread per test process: the machine's cores are already shared out among the processes.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test test-all lint docs bench gpu-check clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-demo
	$(BIN)/clasp-trt demo

PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest $(PYTEST_ARGS)

test: lint
	$(PYTEST)

# Where TensorRT for RTX has wheels (Linux x86_64), real engines are built too: that needs no GPU.
test-all: lint
	@if $(BIN)/python -c 'import tensorrt_rtx_bindings' 2>/dev/null; then marks='not slow and not gpu'; else \
		echo 'no TensorRT for RTX on this platform: the tests marked trt are left out' >&2; \
		marks='not slow and not gpu and not trt'; fi; \
	$(PYTEST) -m "$$marks"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documents as a site in out/site, to be opened without a server; a link that leads nowhere is an error.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.ttft_cpu
	$(BIN)/python -m benchmarks.export_memory

# With the machine's own Python, which is the one that has a torch for its GPU: name it by PYTHON=...
# GPU_RESULTS is where the page and its figures are written.
GPU_RESULTS ?= docs
gpu-check:
	$(PYTHON) -m tests.gpu --results $(GPU_RESULTS)

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "clasp-trt needs Python 3.10 to 3.13 and found none; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no environment: Debian and Ubuntu need the package python3-venv" >&2; exit 1; }

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[export]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[export,dev,docs,grammar,kernels,profile,serve,tensorrt-rtx,video]'
	touch $@ $(VENV)/.installed-demo
