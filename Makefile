# Everything that a developer runs; `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
ARGS ?=
PHOTOS ?= ../shared/data/photos
DEMO_PHOTO := samples/chelsea.jpg
DEMO_WORDS := cat, blanket, wall, dog, sofa, grass

# Waiting threads that spin for long make every run on shared cores many times slower.
export GOMP_SPINCOUNT := 1000
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: help install demo test lint style types layers spelling house format bench lock tiny pictures docs clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## make .venv and install the locked versions and the package

# A mark stands while packages are being written: an interrupted installation is begun afresh, never believed.
$(VENV)/.locked: requirements.lock
	@tools/make_venv.sh $(VENV)
	@touch $(VENV)/.unfinished
	@echo "Installing the locked versions (torch with its libraries: about 3 GB to download, 6 GB on disk)"
	$(BIN)/python -m pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock
	@rm $(VENV)/.unfinished
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## label a real photograph with free words: demo/
	$(BIN)/segvoc segment $(DEMO_PHOTO) --words "$(DEMO_WORDS)" --out demo/
	@echo "Look at demo/: the label map (.png), the overlay (.overlay.png) and the shares of the words (.json)"

# One thread a worker: JOBS workers fill the cores already.
test: install  ## run the tests; ARGS="-k name" chooses
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: style types layers spelling house  ## all checks of the source text

style: install  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## pyright
	$(BIN)/pyright

layers: install  ## one-way imports between the wings
	$(BIN)/lint-imports

spelling: install  ## codespell
	$(BIN)/codespell

house: install  ## our own rules: tools/check_house.py
	$(BIN)/python tools/check_house.py

format: install  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## measure speed and memory: benchmarks/
	@for file in benchmarks/*_speed.py; do echo "== $$file"; $(BIN)/python "$$file" $(ARGS) || exit 1; done

# The locks hold versions and hashes of every wheel for every Python and machine, and no address: where packages come
# from is the business of the machine. Versions stay unless ARGS=--upgrade is given.
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-find-links
lock: install  ## resolve pyproject.toml into requirements.lock and requirements-tiny.lock
	$(LOCK) $(ARGS) --extra all --extra docs --extra dev --output-file requirements.lock pyproject.toml
	$(LOCK) $(ARGS) --no-deps --group tiny --output-file requirements-tiny.lock

tiny: install  ## cross-validate the embedded model, and make its weights anew
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-tiny.lock
	$(BIN)/python -m tools.tiny.cross_validate --photos $(PHOTOS) --out build/tiny_scores.json $(ARGS)
	$(BIN)/python -m tools.tiny.make_tiny --photos $(PHOTOS) --scores build/tiny_scores.json $(ARGS)

pictures: install  ## draw the README's picture anew
	$(BIN)/python tools/make_pictures.py

# The variable silences an advertisement of the theme.
docs: install  ## build the documentation site, strictly: build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:  ## delete what runs have made; .venv stays
	rm -rf demo build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## delete .venv too
	rm -rf $(VENV)
