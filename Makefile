# Every target makes the environment (.venv) first, which takes no time when it is there already.
# Written for GNU make 3.81 and newer, so that the make of macOS will do.

PYTHON ?= $(shell command -v python3 || command -v python)
BOOK = .venv/bin/python tools/book.py
MODULE ?= information

# The environment is complete by itself. Compiled modules are kept (pip leaves that to Python, see tools/env.py): without
# them every start takes seconds longer.
unexport PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve site test lab notebooks starters bench gpu mutants lint clean environment

help:
	@echo "make serve      build the book and serve it on this machine (PORT=8000)"
	@echo "make test       run all tests; set-up included"
	@echo "make lab        open the pages as notebooks in JupyterLab"
	@echo "make site       build the book into _build/html"
	@echo "make notebooks  write the pages as plain notebooks into _build/notebooks"
	@echo "make starters   write the starter notebooks that come with the library, after a change of exercises"
	@echo "make bench      measure the book's own times, and the library against torch"
	@echo "make gpu        run the library's tests and benchmarks on the GPU"
	@echo "make mutants    seed faults into a module and count those the tests find (MODULE=information)"
	@echo "make lint       check the style of the code"
	@echo "make clean      remove what was built (.venv stays)"

serve: environment
	@PORT=$(PORT) $(BOOK) serve

site: environment
	@$(BOOK) build

starters: environment
	@$(BOOK) starters

test: environment
	@$(BOOK) test

lab: environment
	@$(BOOK) lab

notebooks: environment
	@$(BOOK) notebooks

bench: environment
	@$(BOOK) bench

gpu: environment
	@$(BOOK) gpu

mutants: environment
	@.venv/bin/python tools/mutants.py $(MODULE)

lint: environment
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

clean:
	@rm -rf _build .pytest_cache .ruff_cache .hypothesis mutants build
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed what was built; .venv stays (remove it by hand to start from nothing)."

environment:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "The book needs Python 3.11 to 3.14: install it (Debian, Ubuntu: sudo apt-get install python3 python3-venv;" \
	    "macOS: brew install python@3.13), then run the command again." >&2; exit 1; fi
	@"$(PYTHON)" tools/env.py
