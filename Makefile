# Short verbs; each needs nothing but Python 3.11 to 3.13 and is quick the second time.
# Settings reach the service by its SIGNPOST_* variables: SIGNPOST_REST_API_PORT=9000 make serve

PYTHON ?= python3
BIN := .venv/bin
# What is installed, each set with a file that tells when: again only when what it consists of has changed.
SERVE := .venv/.serve
TRAIN := .venv/.train
LOADTEST := .venv/.loadtest
ALL := .venv/.all
EXTRAS.train := [train]
EXTRAS.loadtest := [loadtest]
EXTRAS.all := [dev]
SIZE.serve := What serving needs: 0.6 GB to download, 2.2 GB on disk, most of it TensorFlow
SIZE.train := What training needs: 75 MB on disk beside what serving needs
SIZE.loadtest := What load tests need: 110 MB on disk beside what serving needs
SIZE.all := All of it, with the tools for development: up to 0.9 GB to download, 2.7 GB on disk

.DEFAULT_GOAL := help
.PHONY: help install serve test unit lint types format train loadtest bench gpu-check image lock audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(ALL) ## Make .venv and install Signpost with its development tools into it

$(SERVE) $(TRAIN) $(LOADTEST) $(ALL): .venv/.%: pyproject.toml constraints.txt setup.py
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); sys.exit(0 if ok else \
	  f"Signpost needs Python 3.11 to 3.13; {sys.executable} is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "$(SIZE.$*). Into .venv:"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.$(EXTRAS.$*)'
	@touch $@ $(if $(filter all,$*),$(SERVE) $(TRAIN) $(LOADTEST))

serve: $(SERVE) ## Serve model_store/ on http://127.0.0.1:8501
	@exec $(BIN)/signpost serve

test: $(ALL) ## Run the tests
	$(BIN)/python -m pytest

unit: $(ALL) ## Run the quick tests, in less than a minute
	$(BIN)/python -m pytest tests/unit -m "not slow"

lint: $(ALL) ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(ALL) ## Check the types
	$(BIN)/mypy

format: $(ALL) ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(TRAIN) ## Train a model: make train RECIPE="circles --epochs 5"
	$(BIN)/signpost train $(or $(RECIPE),circles)

loadtest: $(LOADTEST) ## Load a service and report: make loadtest ARGS="--url http://127.0.0.1:8501 --rate 50"
	$(BIN)/signpost loadtest $(ARGS)

bench: $(ALL) ## Measure how near the service comes to what this machine can do
	$(BIN)/python -m loadtests.bench.limit

gpu-check: $(INSTALLED) ## Check a GPU host: answers, speed, swaps, faults, training (make gpu-check ARGS="--budget 600")
	$(BIN)/python -m loadtests.gpu.check $(ARGS)

image: ## Build the container image with docker, podman or buildah: make image VARIANT=gpu
	@deploy/build-image $(or $(VARIANT),cpu)

lock: $(ALL) ## Look for newer versions of everything and write them to constraints.txt
	$(BIN)/uv pip compile --upgrade --universal --all-extras --no-emit-index-url --no-annotate --no-header \
	  --index-strategy unsafe-best-match --output-file constraints.txt pyproject.toml

audit: $(ALL) ## Look for known weaknesses in the locked versions (asks api.osv.dev)
	$(BIN)/uv tool run pip-audit --strict --disable-pip --no-deps --vulnerability-service osv --requirement constraints.txt

clean: ## Remove what was built; the store stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
