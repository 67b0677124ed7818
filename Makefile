# `make demo` and `make test` are all that a new machine needs: each makes the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo demo-ray test test-slow test-all check docs tutorial wheel clean

demo: $(STAMP)
	$(BIN)/python examples/write_digits.py demo/digits
	$(BIN)/recommend demo/digits --build demo/digits.keras

# The same digits as a Parquet manifest, on a Ray that starts on this machine: recommend, fit on all, predict to Parquet.
demo-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[ray]'
	rm -rf demo/predictions
	$(BIN)/python examples/write_digits.py demo/digits
	$(BIN)/python examples/write_manifest.py demo/digits demo/digits.parquet
	$(BIN)/recommend fit demo/digits.parquet --scenario 1 --ray local --build demo/digits-ray.keras --export litert
	$(BIN)/recommend predict demo/digits-ray.tflite demo/digits.parquet --ray local --output demo/predictions

# Each of the two processes has a core to itself: more threads would only wait for each other.
test test-slow test-all: export OMP_NUM_THREADS = 1
test test-slow test-all: export TF_NUM_INTRAOP_THREADS = 1
test test-slow test-all: export TF_NUM_INTEROP_THREADS = 1
test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

# The quick tests cover the lines; to trace the slow ones, too, takes eight minutes and covers hardly more.
test-all: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(foreach name,netgraft recommender builders probes,--cov=$(name)) --cov-report=term:skip-covered --cov-fail-under=90
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

check: $(STAMP) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site, in site/. A broken link fails, and so does whatever a page would load from elsewhere.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python .ci/check_site.py site

# What the tutorial's commands print, and the picture of the README, made again.
tutorial: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python .ci/record_output.py "$${NETGRAFT_SHARED:-../shared}/datasets"

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python .ci/check_wheel.py dist

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[backbones,dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps keras-hub==0.32.0  # without tensorflow-text, 190 MB that images don't need
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo dist site
