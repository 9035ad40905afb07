# Every command of this project. A person and .ci/run call the same targets.
# Other settings: make demo PYTHON=python3.12, make test ARGS="tests/cli -x", pip's own environment variables.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# Tests start many processes, which would compile the package again wherever PYTHONDONTWRITEBYTECODE is set.
BYTE_CODE = @$(BIN)/python -m compileall -q florence_rag retrievers
SERVER_TESTS := $(addprefix tests/index/test_, reader.py filters.py filter_pushdown.py text_vectors.py writer.py ledger.py \
  chunk_collection.py collection_swap.py answer_store.py integrity_check.py update_metadata.py milvus.py wrong_servers.py) \
  $(addprefix tests/retrievers/, test_contract.py test_one_collection.py langchain_florence/test_vectorstore.py \
  langchain_florence/test_retriever.py llama_index_florence/test_vectorstore.py llama_index_florence/test_filters.py) \
  tests/test_tenants.py tests/test_with_milvus.py

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-slow test-server lint format types audit bench bench-all reliability reliability-all card train train-detector train-actions cli-docs notebooks pictures demo-corpus wheel constraints clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.base ## Copy a small corpus, index it, search it, ask it (writes florence-demo/)
	$(BIN)/florence-rag demo $(ARGS)

test: $(VENV)/.dev ## Run the tests that take less than a minute each, in one process for each processor
	$(BYTE_CODE)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --max-worker-restart 0 $(ARGS)

test-slow: $(VENV)/.dev ## Run the tests that take longer
	$(BYTE_CODE)
	$(BIN)/pytest -m slow --timeout 900 $(ARGS)

test-server: $(VENV)/.dev ## Run the tests of databases on a real Milvus server: Milvus 2.3.5, or the one in FLORENCE_TEST_MILVUS
	OMP_NUM_THREADS=1 $(BIN)/python deploy/milvus_test_server.py .venv-milvus $(BIN)/pytest -n 4 $(SERVER_TESTS) $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Fix what `make lint` can fix by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## Check the types (mypy, strict)
	$(BIN)/mypy

audit: $(BIN)/python ## Check the pinned versions against published advisories; say so if none can be reached
	$(BIN)/python .ci/audit.py

bench: $(VENV)/.dev ## Measure what takes seconds or a few minutes: indexing, models, stores, other libraries
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/indexing.py
	$(BIN)/python benchmarks/video.py
	$(BIN)/python benchmarks/memory.py --few 500 --many 5000
	$(BIN)/python benchmarks/unchanged.py --files 10000
	$(BIN)/python benchmarks/lite.py --rows 10000
	$(BIN)/python benchmarks/plugins.py --photos 64 --large 16 --rows 1000

bench-all: bench ## Measure also what takes longer: precision, index types, detection, regions, memory for many images
	$(BIN)/python benchmarks/ocr.py
	$(BIN)/python benchmarks/words.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/detector.py
	$(BIN)/python benchmarks/regions.py
	$(BIN)/python benchmarks/branches.py --processor-time
	$(BIN)/python benchmarks/captions.py
	$(BIN)/python benchmarks/default_models.py
	$(BIN)/python benchmarks/actions.py
	$(BIN)/python benchmarks/moments.py
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/lite.py
	$(BIN)/python benchmarks/plugins.py

reliability: $(VENV)/.dev ## Kill, starve and overload the database for twelve minutes, and print what it survived
	$(BIN)/python benchmarks/reliability/run_all.py $(ARGS)

reliability-all: $(VENV)/.dev ## The same for hours: 100 kills, 100,000 images, readers and a writer for 20 minutes
	$(BIN)/python benchmarks/reliability/run_all.py --all $(ARGS)

card: $(VENV)/.dev ## Measure florence-tiny on held-out scenes and write docs/model_card.md
	$(BIN)/python benchmarks/model_card.py --output docs/model_card.md

train: $(VENV)/.dev ## Train florence-tiny, or resume an interrupted run in runs/
	$(BIN)/python -m recipes.florence_tiny.train $(ARGS)

train-detector: $(VENV)/.dev ## Train the detector of florence-tiny, or resume an interrupted run
	$(BIN)/python -m recipes.florence_tiny.train_detector $(ARGS)

train-actions: $(VENV)/.dev ## Train the action recognizer of florence-tiny, or resume an interrupted run
	$(BIN)/python -m recipes.florence_tiny.train_actions $(ARGS)

docs: $(VENV)/.dev ## Build the documentation site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebooks: $(VENV)/.dev ## Run the notebooks and store their outputs; ARGS="chat" names some
	$(BIN)/python tests/notebooks/test_notebooks.py $(ARGS)

pictures: $(VENV)/.dev ## Make the pictures of README.md (needs Chromium)
	$(BIN)/python recipes/pictures.py

cli-docs: $(VENV)/.dev ## Write docs/reference/cli.md from the help texts of the commands
	$(BIN)/python -m typer florence_rag.cli.app utils docs --name florence-rag --title "Command line" \
	  --output docs/reference/cli.md

demo-corpus: $(VENV)/.dev ## Draw the corpus of `florence-rag demo` again (writes florence_rag/assets/demo)
	$(BIN)/python -m recipes.florence_tiny.synthetic.demo_corpus $(ARGS)

wheel: $(VENV)/.dev ## Build dist/florence_rag-*.whl
	$(BIN)/python -m hatchling build -t wheel

constraints: $(VENV)/.dev ## Pin the versions in the virtual environment, after a dependency changed
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean: ## Remove the virtual environment, the demo and all caches
	rm -rf $(VENV) florence-demo build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: florence_rag needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV); this takes some minutes the first time." >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/.base
