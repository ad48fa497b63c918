# Short verbs; each needs nothing but Python 3.11 to 3.13 and is quick the second time.
# Settings reach the service by its SIGNPOST_* variables: SIGNPOST_REST_API_PORT=9000 make serve

PYTHON ?= python3
BIN := .venv/bin
# Install again only when what is to be installed has changed.
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install serve test unit lint types format train loadtest bench gpu-check image lock audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv and install Signpost with its development tools into it

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); sys.exit(0 if ok else \
	  f"Signpost needs Python 3.11 to 3.13; {sys.executable} is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

serve: $(INSTALLED) ## Serve model_store/ on http://127.0.0.1:8501
	@exec $(BIN)/signpost serve

test: $(INSTALLED) ## Run the tests
	$(BIN)/python -m pytest

unit: $(INSTALLED) ## Run the quick tests, in less than a minute
	$(BIN)/python -m pytest tests/unit -m "not slow"

lint: $(INSTALLED) ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED) ## Check the types
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(INSTALLED) ## Train a model: make train RECIPE="circles --epochs 5"
	$(BIN)/signpost train $(or $(RECIPE),circles)

loadtest: $(INSTALLED) ## Load a service and report: make loadtest ARGS="--url http://127.0.0.1:8501 --rate 50"
	$(BIN)/signpost loadtest $(ARGS)

bench: $(INSTALLED) ## Measure how near the service comes to what this machine can do
	$(BIN)/python -m loadtests.bench.limit

gpu-check: $(INSTALLED) ## Check a GPU host: answers, speed, swaps, faults, training (make gpu-check ARGS="--budget 600")
	$(BIN)/python -m loadtests.gpu.check $(ARGS)

image: ## Build the container image with docker, podman or buildah: make image VARIANT=gpu
	@deploy/build-image $(or $(VARIANT),cpu)

lock: $(INSTALLED) ## Look for newer versions of everything and write them to constraints.txt
	$(BIN)/uv pip compile --upgrade --universal --all-extras --no-emit-index-url --no-annotate --no-header \
	  --index-strategy unsafe-best-match --output-file constraints.txt pyproject.toml

audit: $(INSTALLED) ## Look for known weaknesses in the locked versions (asks api.osv.dev)
	$(BIN)/uv tool run pip-audit --strict --disable-pip --no-deps --vulnerability-service osv --requirement constraints.txt

clean: ## Remove what was built; the store stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
