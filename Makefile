# `make demo` and `make test` need CPython 3.11 or later and cargo; the rest they set up themselves, in $(VENV).

PYTHON   ?= $(shell .ci/find-python)
VENV     ?= .venv
PY       := $(VENV)/bin/python
JOBS     ?= 2
# Most tests wait most of the time.
WORKERS  ?= 4
VERSIONS ?= 3.11 3.12 3.13 3.14 3.15

READY := $(VENV)/.ready
BUILT := $(VENV)/.built
RUST  := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

.PHONY: demo test test-rust test-python test-versions soak chaos conformance stdlib bench lint fmt build lock clean fuzz

demo: $(BUILT)
	$(PY) examples/demo.py

test: test-rust test-python

# The crates that know no Python; the extension module is tested through Python.
test-rust:
	cargo test --quiet --workspace --exclude gevent-core

test-python: $(BUILT)
	$(PY) -m pytest -q -n $(WORKERS)

# The Python tests under every other version that is here, each with its own environment and build.
test-versions: $(READY)
	@main=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(VERSIONS); do \
	    [ $$version = $$main ] && continue; \
	    python=$$(.ci/find-python $$version) || { echo "CPython $$version is not here"; continue; }; \
	    echo "CPython $$version:"; \
	    CARGO_TARGET_DIR=target/cpython-$$version CARGO_PROFILE_RELEASE_LTO=off \
	        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 $(MAKE) --no-print-directory test-python \
	        PYTHON=$$python VENV=.venv-$$version || exit 1; \
	done

# Many connections, dropped in every way; `make test` opens a twentieth of them.
soak: $(BUILT)
	SOAK_CONNECTIONS=200000 $(PY) -m pytest -q -o faulthandler_timeout=0 tests/test_soak.py

# `python -m gevent.serve` killed, reloaded and ended at random under load; `make test` does so for some seconds.
chaos: $(BUILT)
	CHAOS_SECONDS=60 $(PY) -m pytest -q -s tests/test_serve_chaos.py

# ARGS=--update raises the floors; see tests/conformance/run.py --help.
conformance: $(BUILT)
	$(PY) tests/conformance/run.py --jobs $(JOBS) $(ARGS)

# CPython's own tests of the patched modules; see tests/stdlib/run.py --help.
stdlib: $(BUILT)
	$(PY) tests/stdlib/run.py --jobs $(JOBS) $(ARGS)

bench: $(BUILT)
	$(PY) benchmarks/run.py
	$(PY) benchmarks/network.py
	$(PY) benchmarks/look_ups.py
	$(PY) benchmarks/stdlib.py
	$(PY) benchmarks/web.py
	$(PY) benchmarks/websocket.py

# Every target of fuzz/ for so many seconds.
FUZZ_SECONDS ?= 60
fuzz:
	fuzz/run $(FUZZ_SECONDS)

lint: $(READY)
	cargo fmt --all --check
	PYO3_PYTHON=$(abspath $(PY)) cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

fmt: $(READY)
	cargo fmt --all
	$(PY) -m ruff check --fix --quiet .
	$(PY) -m ruff format --quiet .

# The wheel that `pip install .` makes, in dist/.
build: $(READY)
	$(PY) -m maturin build --release --interpreter $(PY) --out dist

# Its setup.py imports what 3.12 left out.
UNBUILDABLE := s/^zunzuncito==.*/&; python_version < "3.12"/
# Pin what requirements/dev.in asks for, at its newest. Some of it asks for gevent, which is here already.
lock: $(READY)
	$(PY) -m pip install --quiet --upgrade --upgrade-strategy eager -r requirements/dev.in
	$(PY) -m pip uninstall --quiet --yes gevent
	{ echo '# Pinned from dev.in by `make lock`.'; $(PY) -m pip freeze --exclude gevent-rs | sed '$(UNBUILDABLE)'; } > requirements/dev.txt

clean:
	rm -rf build dist target fuzz/target .venv .venv-* .pytest_cache .ruff_cache
	find python -name '*.so' -delete

$(READY): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "no CPython 3.11 or later found: name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/dev.txt
	touch $@

# The extension is installed in place: only a change of the Rust sources asks for a new build.
$(BUILT): $(READY) $(RUST)
	@command -v cargo >/dev/null || { echo "no cargo found: see https://rustup.rs" >&2; exit 1; }
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) PIP_QUIET=1 $(PY) -m maturin develop --release --quiet
	touch $@
