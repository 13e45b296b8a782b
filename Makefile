# Recipes are one command each; the logic is in Python. `make help` lists them.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
SEED    ?= 2026

.DEFAULT_GOAL := all
.PHONY: all setup test everything soak mutants bench baseline figures engine layers faults tensors networks products accuracy train train-rtl bounds compare boards refusals clean help

all: $(STAMP)  ## generate the default core, run real activations through it, count its gates, print one table
	@$(BIN)/bnforge demo -o build

setup: $(STAMP)  ## only the virtual environment in .venv

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

test: $(STAMP)  ## all tests, two at a time; SEED=n for other random stimulus
	$(BIN)/python -m pytest -n 2 --dist loadgroup --seed $(SEED)

everything: $(STAMP)  ## the tests of `make test`, and those that repeat on larger designs and further engines
	$(BIN)/python -m pytest -n 2 --dist loadgroup --seed $(SEED) --all-engines

soak: $(STAMP)  ## the full product of the coverage space until 10^8 elements are compared; resumes where it stopped
	$(BIN)/python -m bnforge_sim.soak

mutants: $(STAMP)  ## plant bugs in copies of the design, and see the regression catch each
	$(BIN)/python -m tests.mutants

bench: $(STAMP)  ## speed of the numpy model beside a float64 batch norm, in one run on one core
	$(BIN)/python benchmarks/bench_model.py

baseline: $(STAMP)  ## measure docs/baseline_area.json again, and the tables in README.md
	$(BIN)/python docs/readme_tables.py --measure

figures: $(STAMP)  ## measure docs/figures.json again: cycles of the generated cores
	$(BIN)/python -m bnforge_sim.figures

engine: $(STAMP)  ## measure docs/engine.* again: bytes on the bus, cycles; every run is also compared with the model
	$(BIN)/python -m bnforge_sim.engine_figures

layers: $(STAMP)  ## measure docs/layers.* again: layers on an engine with an array, fused and not; compiles three engines
	$(BIN)/python -m bnforge_sim.layer_figures

faults: $(STAMP)  ## the fault campaign: broken memories, descriptors and drivers; after each a pass that must be right
	$(BIN)/python -m bnforge_sim.faults -o docs/faults.json

boards: $(VENV)/.boards  ## build docs/boards.*: a bitstream for every board with the largest preset that fits it; an hour
	$(BIN)/python -m bnforge_sim.board_figures -o docs

$(VENV)/.boards: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[boards]" && touch $@

tensors: $(STAMP)  ## random tensors through random engines, memory compared byte by byte
	$(BIN)/python -m bnforge_sim.engine_soak

networks: $(STAMP)  ## random networks through random engines with an array, memory compared byte by byte
	$(BIN)/python -m bnforge_sim.layer_soak

products: $(STAMP)  ## random products of matrices through random arrays
	$(BIN)/python -m bnforge_sim.array_soak

accuracy: $(STAMP)  ## measure docs/gradient.* again: the gradient of the model against float64, and effective bits of sums
	$(BIN)/python -m bnforge_sim.accuracy

$(VENV)/.train: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,train]" && touch $@

train: $(VENV)/.train  ## train a small net on the digits with the model in the loop, beside batch norm; ten minutes
	$(BIN)/python examples/train_digits.py -o docs

train-rtl: $(VENV)/.train  ## train a small net on the digits with every convolution and norm on the simulated engine; twenty minutes
	$(BIN)/python examples/train_digits_rtl.py -o docs

bounds: $(STAMP)  ## measure docs/error_bounds.* again: the model against float64, beside the derived bound
	$(BIN)/python -m bnforge_model.bounds -o docs

$(VENV)/.compare: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,train,fpga]" && touch $@

compare: $(VENV)/.compare  ## measure docs/compare.* again: the core beside what it replaces; half an hour, again a minute; LIBERTY=file
	$(BIN)/bnforge compare -o docs $(if $(LIBERTY),--liberty $(LIBERTY)) && $(BIN)/python docs/readme_tables.py

refusals: $(STAMP)  ## every refused parameter and every refused use of the command, with its message
	$(BIN)/python -m tests.refusals

clean:  ## remove what was generated; the virtual environment stays
	rm -rf build .pytest_cache

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
