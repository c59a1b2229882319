# make demo   set up, then run the main job end to end and show its result
# make serve  serve the demo's model over HTTP (after make demo)
# make test   set up, then run all checks and tests
# make soak   set up, then run the long tests: damaged and hostile input, killed processes, an hour of load
# make bench  set up, then measure what has no result yet and write bench.md (about 40 minutes on two quiet cores)
# make docs   build the pages of docs/ and the reference as a site, in site/
# make setup  only make .venv; further targets: check (linters), clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
CLIPS ?= 160
SOAK_SECONDS ?= 3600

.PHONY: setup demo serve test suite soak bench check docs clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mien needs Python 3.11 or newer, found " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo:
	@test -f $(VENV)/.ready || echo "Installing into $(VENV): 3 GB of packages, a few minutes on a fast connection."
	@$(MAKE) --no-print-directory setup
	@MIEN=$(BIN)/mien sh recipes/demo.sh $(DEMO) $(CLIPS) "$(CLIP)"

serve: setup
	@test -d $(DEMO)/run || { echo "no $(DEMO)/run: run make demo first"; exit 1; }
	$(BIN)/mien serve $(DEMO)/run --data $(DEMO)/served

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: setup
	$(BIN)/mien weights fetch small
	@$(MAKE) --no-print-directory -j 2 check suite

suite:
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope --durations 40

soak: setup
	$(BIN)/mien weights fetch small
	$(BIN)/pytest -m soak -s
	MIEN_SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s tests/serving/test_steady.py

bench: setup
	$(BIN)/mien weights fetch small
	$(BIN)/python bench/run.py

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html; with its search: $(BIN)/python -m http.server --directory site"

clean:
	rm -rf $(VENV) $(DEMO) site
