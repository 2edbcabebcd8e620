# All developer commands; `make` alone lists them.

VENV := .venv
LIGHT := .venv-light
RELEASE := .venv-release
BIN := $(VENV)/bin
# Processes of the tests: one more than cores, as far as the memory allows, unless you say how many.
JOBS ?= $(shell tools/jobs.sh)
ARGS ?=
PHOTOS ?= ../shared/data/photos
MORE ?= build/more

# Threads that spin for long while they wait make runs on shared cores many times slower: OpenMP's, and NumPy's OpenBLAS.
export GOMP_SPINCOUNT := 1000
export OPENBLAS_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Programs that a test starts would compile every module again where the environment says not to keep bytecode.
export PYTHONDONTWRITEBYTECODE :=

.DELETE_ON_ERROR:
.PHONY: help install demo demo-teach test test-all test-portable test-versions lint style types layers spelling checks licenses fuzz kills rehearsal core coverage format bench lock release release-check release-tools clicks edges tiny tiny-programs images notebooks web web-check docs clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install:  ## make .venv and install the locked versions, segvoc and segvoc-annotate
	@tools/install.sh $(VENV) requirements.lock

demo:  ## install what labels images, without PyTorch, and label two photographs: demo/
	@tools/install.sh $(LIGHT) requirements-light.lock
	@echo "Labeling two photographs; the first start of segvoc takes some seconds more"
	$(LIGHT)/bin/segvoc segment samples/mountains.jpg --words "sky, mountain, trees, grass" --out demo/
	$(LIGHT)/bin/segvoc segment samples/dogs.jpg --words dog --out demo/
	@echo "Look at demo/: the label map (.png), the overlay (.overlay.png) and the figures of each word (.json)"

demo-teach:  ## install the same, and teach it the parts of facades by 20 photographs: demo/before_after.png
	@tools/install.sh $(LIGHT) requirements-light.lock
	$(LIGHT)/bin/python examples/teach.py demo

# Every other worker computes with two threads (conftest.py); OMP_NUM_THREADS=N gives all of them N.
test: install  ## run the tests, but for those marked slow; ARGS="-k name" chooses
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "not slow" $(ARGS)

test-all: install  ## run all tests, the drawn cases of some with others each time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --hypothesis-profile default $(ARGS)

# The whole suite three times, each with other vector instructions and another number of threads.
test-portable: install  ## run the tests as on other processors: narrower vectors, 1, 2 and 4 threads
	tools/test_portable.sh $(BIN)/python $(JOBS) $(ARGS)

# PYTHON is a command or a path. GitHub's CI runs this on all Pythons and systems (docs/dev/testing.md).
test-versions:  ## run the tests with another PYTHON or RESOLUTION (lowest-torch, lowest-direct, highest, locked): build/versions
	OMP_NUM_THREADS=1 tools/test_versions.sh -n $(JOBS) --dist loadscope -m "not slow" $(ARGS)

lint: style types layers spelling checks licenses  ## all checks of the source text

style: install  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## pyright, also over the examples and the Python blocks of the docs
	PYTHONPATH=. $(BIN)/python tools/doc_examples.py build/doc_examples
	$(BIN)/pyright

layers: install  ## one-way imports between the layers
	$(BIN)/lint-imports

spelling: install  ## codespell
	$(BIN)/codespell

checks: install  ## our own rules: tools/check_source.py
	$(BIN)/python tools/check_source.py

licenses: install  ## refuse packages whose licenses users can't accept
	$(BIN)/python tools/check_licenses.py

fuzz: install  ## send the service 5,000 requests made from its description, and 2,000 hostile ones
	SEGVOC_FUZZ_CASES=1250 SEGVOC_HOSTILE_REQUESTS=2000 $(BIN)/python -m pytest --hypothesis-profile default \
		tests/serving/test_openapi.py tests/serving/test_hostile.py $(ARGS)

kills: install  ## end every command at its writes a thousand times, let 240 writes fail, and let it go on
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.hardening.kills $(ARGS)

rehearsal: install  ## run every recipe of the papers in small, from archives to a table of verdicts: build/rehearsal
	PYTHONPATH=src:. OMP_NUM_THREADS=1 $(BIN)/python -m papers.rehearsal $(ARGS)

core: install  ## prove that the core install works without any extra: build/core
	$(BIN)/python -m tools.check_core_install

coverage: install  ## run the tests with branch coverage: build/coverage
	@mkdir -p build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --cov --cov-report= $(ARGS)
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report --skip-covered --skip-empty

format: install  ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## measure speed and memory of `tiny`
	$(BIN)/python -m benchmarks.speed tiny $(ARGS)

# The lock files have versions and hashes of the wheels for all Pythons and systems, and no addresses: the index is a
# setting of the machine. Versions change only with ARGS=--upgrade.
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-find-links
lock: install  ## resolve pyproject.toml into the lock files
	$(LOCK) $(ARGS) --extra all --extra dev --group build --output-file requirements.lock pyproject.toml
	$(LOCK) --group build --constraint requirements.lock --output-file requirements-light.lock pyproject.toml
	$(LOCK) $(ARGS) --no-deps --group tiny --output-file requirements-tiny.lock
	$(LOCK) $(ARGS) --group release --output-file requirements-release.lock

# Docs: docs/dev/releasing.md. What looks at a release has an environment of its own.
release-tools:  ## install what builds and checks a release: .venv-release
	[ -x $(RELEASE)/bin/pip ] || python3 -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --require-hashes --no-deps -r requirements-release.lock

release: release-tools web  ## build the page, the wheel and the source archive: dist
	$(RELEASE)/bin/python -m tools.release.files dist $(ARGS)

release-check: release-tools  ## prove that dist is a release: install it afresh and run what README and quick start say
	$(RELEASE)/bin/python -m tools.release.check dist $(ARGS)

tiny: install  ## cross-validate the embedded model and make its weights again
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-tiny.lock
	$(BIN)/python -m tools.tiny.cross_validate --photos $(PHOTOS) --more $(MORE) --out build/tiny/scores.json $(ARGS)
	$(BIN)/python -m tools.tiny.make_tiny --photos $(PHOTOS) --more $(MORE) --scores build/tiny/scores.json

# Maps take a quarter of an hour and are kept in build/edges; training takes ten minutes of two cores.
edges: install  ## train the edge refiner again, on the maps of tiny, and score it
	$(BIN)/python -m tools.edges.train --photos $(PHOTOS) --more $(MORE) --cache build/edges $(ARGS)
	$(BIN)/python -m tools.shipped_networks edges --date $$(date +%F)

# Each step is kept in build/clicks: views take 12 GB. The shipped network went on from the one before, and was stopped after
# 92 minutes of one core: ARGS="--start src/segvoc/weights/clicks.onnx --rate 1.5e-3 --minutes 110".
clicks: install  ## train the network of clicks again, on the features of tiny
	$(BIN)/python -m tools.clicks.train --photos $(PHOTOS) --more $(MORE) --cache build/clicks --out build/clicks/network.pt $(ARGS)
	$(BIN)/python -m tools.shipped_networks clicks

tiny-programs: install  ## export the embedded model again, as programs that run without PyTorch
	$(BIN)/python tools/make_tiny_programs.py

# Needs node and npm, which nothing else does.
web:  ## build the web page from annotate/web: annotate/src/segvoc_annotate/web
	cd annotate/web && npm ci && npm run build

web-check:  ## prove that the built page is what annotate/web gives, and run the page's own tests
	cd annotate/web && npm ci && SEGVOC_WEB_OUT="file://$(CURDIR)/build/web/page/" npm run build && npm test
	! grep -n '"resolved"' annotate/web/package-lock.json  # addresses: npm config set omit-lockfile-registry-resolved true
	# zlib's versions pack alike, but not equally
	for page in annotate/src/segvoc_annotate/web build/web/page; do gzip -cd $$page/*.wasm.gz | sha256sum; done | uniq | wc -l | grep -qx 1
	diff -rq -x '*.wasm.gz' annotate/src/segvoc_annotate/web build/web/page || (echo "run 'make web', and commit what it writes"; exit 1)

images: install  ## draw the images of the README and the tutorial again
	$(BIN)/python tools/make_images.py

notebooks: install  ## run the notebooks of examples/notebooks, and keep what they show
	$(BIN)/python tools/run_notebooks.py

# The variable silences an advertisement of the theme.
docs: install  ## build the documentation site, strictly: build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:  ## delete all outputs except the environments
	rm -rf demo build dist .coverage .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src annotate tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## delete the environments too
	rm -rf $(VENV) $(LIGHT) $(RELEASE)
