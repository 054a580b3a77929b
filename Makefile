# Every target sets up what it needs, and is quick the second time.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SEGBATCH := $(VENV)/bin/segbatch
READY := $(VENV)/.ready
# Tests at once: those on SLURM mostly wait. Their files come first, so that the long ones do not come last.
JOBS ?= 2

.PHONY: demo test bench lint setup clean tools lock image image-test

setup: $(READY)

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or later, or say make PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; say make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV) (TensorFlow is large: one to three minutes)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --disable-pip-version-check -e '.[worker,dev]'
	@touch $@

demo: $(READY)
	$(SEGBATCH) demo demo
	$(SEGBATCH) submit jobs/demo-train.yaml --backend local --wait
	$(SEGBATCH) submit jobs/demo-predict.yaml --backend local --wait --parallel 2
	@$(SEGBATCH) demo demo --compare runs/demo-predict/latest

test: $(READY)
	@$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

bench: $(READY)
	@$(PY) -m benchmarks

# The programs that the image's targets use, apart from the project's own environment.
TOOLS := build/tools
tools: $(TOOLS)/.ready

$(TOOLS)/.ready: docker/tools.txt
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r docker/tools.txt
	@touch $@

# UPGRADE=1 takes the newest versions.
lock: $(TOOLS)/.ready
	@$(PYTHON) docker/lock.py --uv $(TOOLS)/bin/uv $(if $(UPGRADE),--upgrade)

# REQUIREMENTS=cpu or gpu; more by IMAGE_OPTIONS, see `$(PYTHON) docker/build.py --help`.
REQUIREMENTS ?= cpu
image: $(TOOLS)/.ready
	@$(PYTHON) docker/build.py --requirements $(REQUIREMENTS) $(IMAGE_OPTIONS)

# FULL=1 builds TensorFlow in. Exit code 77: this machine cannot do all of it.
image-test: $(READY) $(TOOLS)/.ready
	@$(PY) -m tests.image $(if $(FULL),--full)

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
