# What a newcomer types. Everything sets itself up in .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PREVIEW := dashboards/preview/node_modules/.package-lock.json
PIP := PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip --disable-pip-version-check --quiet

# Images are dated and named by the commit that they are built from.
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' exporter/wattshed_exporter/__init__.py)
COMMIT_S = $(shell git log -1 --format=%ct 2>/dev/null)
BUILD = docker buildx build --build-arg VERSION=$(VERSION) \
	--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) --build-arg SOURCE_DATE_EPOCH=$(COMMIT_S) \
	--build-arg CREATED=$(shell date -u -d @$(or $(COMMIT_S),0) +%Y-%m-%dT%H:%M:%SZ) $(ARGS)

# Every process that the tests start would compile all that it imports, two seconds each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up demo env test lint format bench bench-exporter bench-ledger bench-ingest bench-query bench-panels bench-faults bench-images docs chart chart-package pictures images sbom constraints clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.run ## Measure this machine and show it, until Ctrl-C
	@exec $(BIN)/wattshed up $(ARGS)

demo: $(VENV)/.run ## The same, plus a simulated fleet with a day of history
	@exec $(BIN)/wattshed demo $(ARGS)

env: ## Write .env and secrets for `docker compose up`; what is there is kept
	@$(PYTHON) scripts/make_env.py $(ARGS)

test: $(VENV)/.dev ## Run all tests; four workers keep two cores busy
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.dev ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Rewrite the files in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure start-up, memory and CPU of what runs, and print a table
	$(BIN)/python bench/foundation.py $(ARGS)

bench-exporter: $(VENV)/.dev ## Measure the exporter beside node_exporter, prometheus_client and C
	$(BIN)/python -m bench.exporter $(ARGS)

bench-ledger: $(VENV)/.dev ## Measure the ledger beside VictoriaMetrics and Prometheus
	$(BIN)/python -m bench.ledger $(ARGS)

bench-ingest: $(VENV)/.dev ## Measure what taking in costs, beside VictoriaMetrics and Prometheus
	$(BIN)/python -m bench.ingest $(ARGS)

bench-query: $(VENV)/.dev ## Measure disk and queries, beside VictoriaMetrics and Prometheus
	$(BIN)/python -m bench.query $(ARGS)

bench-panels: $(VENV)/.dev ## Measure what every panel of every board costs on a large fleet
	$(BIN)/python -m bench.panels $(ARGS)

bench-faults: $(VENV)/.dev ## Break collectors on purpose, and count what became of every sample
	$(BIN)/python -m bench.faults $(ARGS)

bench-images: $(VENV)/.dev ## Measure size and start of the images that `make images` has built
	$(BIN)/python -m bench.images $(ARGS)

docs: $(VENV)/.dev ## Write the generated parts of the documentation and the boards again
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/generate_dashboards.py
	$(BIN)/python scripts/generate_chart.py

chart: $(VENV)/.dev ## Write the schema and the tables of the Helm chart's values again
	$(BIN)/python scripts/generate_chart.py

chart-package: $(VENV)/.dev ## Pack the Helm chart, with boards and rules in it, into dist/
	@mkdir -p dist
	@$(BIN)/python -c "import helm_python as helm; print(helm.package('helm/wattshed', destination='dist'))"

pictures: DRAW = $(BIN)/wattshed dashboards preview --data wattshed-demo-data --png --scale 0.65 --out docs/images/boards
pictures: $(VENV)/.dev $(PREVIEW) ## Draw the boards of the `make demo` that runs, as in docs/GRAFANA.md
	$(DRAW) wattshed-fleet wattshed-workloads wattshed-stack
	$(DRAW) wattshed-node --var node=sim-dub-gpu-01
	$(DRAW) --from now-2d wattshed-waste wattshed-outcomes wattshed-models wattshed-placement wattshed-lifecycle

images: ## Build the images of exporter and collector; ARGS goes to docker build
	$(BUILD) -f exporter/Dockerfile -t ghcr.io/wattshed/exporter:$(VERSION) .
	$(BUILD) -f collector/Dockerfile -t ghcr.io/wattshed/collector:$(VERSION) .

sbom: ## Write what the images are made of to dist/, as CycloneDX
	$(BUILD) -f exporter/Dockerfile --target sbom --output type=local,dest=dist .
	$(BUILD) -f collector/Dockerfile --target sbom --output type=local,dest=dist .

constraints: ## Resolve pyproject.toml afresh into constraints.txt
	$(PYTHON) scripts/constraints.py

clean: ## Remove what was set up; data folders stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) scripts/require.py
	@echo "setting up $(VENV) (once; downloads about 330 MB)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt pip
	@$(PIP) install --no-compile -c constraints.txt -e '.[nvidia,collector,web,k8s]'
	@touch $@

$(PREVIEW): dashboards/preview/package-lock.json
	@echo "installing what draws boards (once; 440 MB)"
	@npm ci --prefix dashboards/preview
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(PIP) install --no-compile -c constraints.txt --group dev
	@touch $@
