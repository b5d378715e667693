# `make demo` and `make test` need CPython 3.11 or later, cargo and a C compiler; the rest they set up themselves, in
# $(VENV).

PYTHON   ?= $(shell .ci/find-python)
VENV     ?= .venv
PY       := $(VENV)/bin/python
JOBS     ?= 2
# Most tests wait most of the time.
WORKERS  ?= 4
VERSIONS ?= 3.11 3.12 3.13 3.14 3.15
# Where docs-serve listens.
DOCS_PORT ?= 8000
# What test-versions makes for each version.
SUITES   ?= test-python conformance stdlib

RELEASE  := $(VENV)-release
DOCS     := $(VENV)-docs
SITE     := build/docs

# The environment with what builds and runs the package; that with all that its tests and tools need; the package in it.
BASIC := $(VENV)/.basic
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
RUST  := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

.PHONY: demo test test-rust test-python test-versions test-install prerequisites soak chaos conformance conformance-0.13 stdlib \
    async-suites bench coverage lint fmt build wheels lock clean fuzz sanitize docs docs-serve test-docs charts

demo: $(BUILT)
	$(PY) examples/demo.py

test: test-rust test-python

# The crates that know no Python, and what can be tested of the extension without its package: those tests are linked with the
# interpreter, which has to be a shared library for that. Everything else of the extension is tested through Python.
test-rust: $(BASIC) | prerequisites
	cargo test --quiet --workspace --exclude gevent-core
	@folder=$$($(PY) -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))'); \
	name=$$($(PY) -c 'import sysconfig; print(sysconfig.get_config_var("LDLIBRARY"))'); \
	case $$name in *.so) ;; *) name= ;; esac; \
	if [ -n "$$name" ] && [ -e "$$folder/$$name" ]; then \
	    echo "cargo test --quiet -p gevent-core --lib"; \
	    LD_LIBRARY_PATH=$$folder PYO3_PYTHON=$(abspath $(PY)) cargo test --quiet -p gevent-core --lib; \
	else \
	    echo "the extension's own unit tests are left out: this Python has no shared library"; \
	fi

test-python: $(BUILT) $(READY)
	$(PY) -m pytest -q -rs -n $(WORKERS)

# The tests under every other version that is here, each with its own environment and build. `.ci/debian-python` brings
# those versions that the machine's distribution lacks.
test-versions: $(READY)
	@main=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(VERSIONS); do \
	    [ $$version = $$main ] && continue; \
	    python=$$(.ci/find-python $$version) || { echo "CPython $$version is not here"; continue; }; \
	    echo "CPython $$version:"; \
	    CARGO_TARGET_DIR=target/cpython-$$version CARGO_PROFILE_RELEASE_LTO=off \
	        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 $(MAKE) --no-print-directory $(SUITES) \
	        PYTHON=$$python VENV=.venv-$$version || exit 1; \
	done

# Many connections, dropped in every way; `make test` opens a twentieth of them.
soak: $(BUILT) $(READY)
	SOAK_CONNECTIONS=200000 $(PY) -m pytest -q -o faulthandler_timeout=0 tests/memory/test_soak.py

# `python -m gevent.serve` killed, reloaded and ended at random under load; `make test` does so for some seconds.
chaos: $(BUILT) $(READY)
	CHAOS_SECONDS=60 $(PY) -m pytest -q -s tests/serve/test_serve_chaos.py

# ARGS=--update raises the floors; see tests/conformance/run.py --help.
conformance: $(BUILT) $(READY)
	$(PY) tests/conformance/run.py --jobs $(JOBS) $(ARGS)

# gevent 0.13.1's own tests, carried to Python 3; see tests/conformance_0_13/run.py --help.
conformance-0.13: $(BUILT) $(READY)
	$(PY) tests/conformance_0_13/run.py --jobs $(JOBS) $(ARGS)

# CPython's own tests of the patched modules; see tests/stdlib/run.py --help.
stdlib: $(BUILT) $(READY)
	$(PY) tests/stdlib/run.py --jobs $(JOBS) $(ARGS)
	$(PY) tests/stdlib/own_loop.py --jobs $(JOBS)

# The test suites of asyncio's libraries, downloaded from the package index, with the loop of gevent.aio beside asyncio's own;
# SUITE=anyio runs one of them.
async-suites: $(BUILT) $(READY)
	$(PY) tests/async_suites/run.py $(SUITE)

bench: $(BUILT) $(READY)
	$(PY) benchmarks/run.py
	$(PY) benchmarks/network.py
	$(PY) benchmarks/look_ups.py
	$(PY) benchmarks/stdlib.py
	$(PY) benchmarks/web.py
	$(PY) benchmarks/flask_servers.py
	$(PY) benchmarks/websocket.py
	$(PY) benchmarks/asyncio_loop.py
	$(PY) benchmarks/charts.py

# The charts of benchmarks/RESULTS.md, in docs/charts, without measuring anew.
charts: $(BASIC)
	$(PY) benchmarks/charts.py

# The documentation, in build/docs. A warning is an error; nothing is fetched. All pages are written anew: what their
# directives take from the package has no file that Sphinx could compare.
docs: $(BUILT) $(DOCS)/.ready
	@rm -rf $(SITE)
	$(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going --fresh-env -q -b html -d build/doctrees docs $(SITE)
	@echo "The documentation is in $(SITE)/index.html"

docs-serve: docs
	$(DOCS)/bin/python -m http.server --bind 127.0.0.1 --directory $(SITE) $(DOCS_PORT)

# What the site holds, and how a browser shows it.
test-docs: docs
	$(DOCS)/bin/python -m pytest -q -c docs/tests/pytest.ini docs/tests

# Every target of fuzz/, and random programs over all that can be waited for, for so many seconds.
FUZZ_SECONDS ?= 60
fuzz: $(BUILT)
	$(PY) tests/support/waiting_fuzzer.py --seconds $(FUZZ_SECONDS)
	$(PY) -m gevent.monkey tests/support/waiting_fuzzer.py --seconds $(FUZZ_SECONDS)
	$(PY) tests/support/structured_fuzzer.py --seconds $(FUZZ_SECONDS)
	$(PY) tests/support/interrupt_fuzzer.py --seconds $(FUZZ_SECONDS) --error Interrupt
	$(PY) tests/support/interrupt_fuzzer.py --seconds $(FUZZ_SECONDS) --error Alarm
	fuzz/run $(FUZZ_SECONDS)

# Faults of memory and arithmetic, with builds of their own; see tests/sanitize/run.
sanitize: $(READY)
	tests/sanitize/run $(PY)

# Which lines of the package and of the extension the tests reach, in build/coverage; see tests/coverage/run. ARGS are
# those of pytest.
coverage: $(READY)
	tests/coverage/run $(PY) $(ARGS)

# The types are checked in three ways: mypy reads the modules, stubtest compares the stub of the extension with the
# extension, and pyright says of how many public names the type is known.
lint: $(BUILT) $(READY)
	cargo fmt --all --check
	PYO3_PYTHON=$(abspath $(PY)) cargo clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" PYO3_PYTHON=$(abspath $(PY)) cargo doc --quiet --no-deps --workspace --document-private-items
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy.stubtest gevent._core --concise --allowlist tests/typing/stubtest.txt
	$(PY) tests/support/verify_types.py

fmt: $(READY)
	cargo fmt --all
	$(PY) -m ruff check --fix --quiet .
	$(PY) -m ruff format --quiet .

# The wheel that `pip install .` makes, without symbols, and the stand-in for the distribution gevent, in dist/.
build: $(BASIC)
	env -u CONDA_PREFIX $(PY) wheels/build.py

# The wheels of a release and the sources, in dist/, checked; see wheels/build.py --help and wheels/check.py --help.
wheels: $(RELEASE)/.ready
	rustup --quiet component add llvm-tools
	$(RELEASE)/bin/python wheels/build.py --all $(ARGS)
	$(RELEASE)/bin/python wheels/check.py

# What pip, uv and pipx do with the wheel, beside gevent and without; they need the package index.
test-install: build $(RELEASE)/.ready
	$(RELEASE)/bin/python -m pytest -q -n 2 --dist loadgroup wheels/tests

# The setup.py of the first imports what 3.12 left out; the second cannot be compiled for 3.15 yet.
UNBUILDABLE := s/^zunzuncito==.*/&; python_version < "3.12"/; s/^yappi==.*/&; python_version < "3.15"/
# Pin what requirements/dev.in asks for, at its newest. Some of it asks for gevent, which is here already.
lock: $(READY)
	$(PY) -m pip install --quiet --upgrade --upgrade-strategy eager -r requirements/dev.in
	$(PY) -m pip uninstall --quiet --yes gevent
	{ echo '# Pinned from dev.in by `make lock`.'; $(PY) -m pip freeze --exclude gevent-rs | sed '$(UNBUILDABLE)'; } > requirements/dev.txt
	$(PYTHON) -m venv --clear $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet -r requirements/release.in
	{ echo '# Pinned from release.in by `make lock`.'; $(RELEASE)/bin/python -m pip freeze; } > requirements/release.txt
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet -r requirements/docs.in
	{ echo '# Pinned from docs.in by `make lock`.'; $(DOCS)/bin/python -m pip freeze; } > requirements/docs.txt

clean:
	rm -rf build dist docs/reference/api target fuzz/target .venv .venv-* .pytest_cache .ruff_cache
	find python -name '*.so' -delete

# What is missing is told in one line, before anything is downloaded or compiled.
prerequisites:
	@test -n "$(PYTHON)" || { echo "gevent-rs: no CPython 3.11 or later found: install one, or name it with PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) wheels/prerequisites.py

# The build backend is wheels/backend.py, which calls maturin.
export MATURIN_NO_MISSING_BUILD_BACKEND_WARNING := 1

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps

$(BASIC): requirements/dev.txt | prerequisites
	@$(PYTHON) -m venv $(VENV)
	@$(PY) $(PIP_INSTALL) $$(grep -E '^(greenlet|maturin)==' $<)
	@touch $@

$(READY): requirements/dev.txt $(BASIC)
	@echo "Installing what the tests and tools need, about 400 MB, into $(VENV)"
	@$(PY) $(PIP_INSTALL) -r $<
	@touch $@

$(RELEASE)/.ready: requirements/release.txt | prerequisites
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python $(PIP_INSTALL) -r $<
	touch $@

$(DOCS)/.ready: requirements/docs.txt | prerequisites
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python $(PIP_INSTALL) -r $<
	@touch $@

# The extension is installed in place: only a change of the Rust sources asks for a new build.
$(BUILT): $(BASIC) $(RUST)
	@echo "Compiling gevent-rs, optimised as a whole, and the crates that it uses: about two minutes on two processors, once"
	@env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) PIP_QUIET=1 $(PY) -m maturin develop --release
	@touch $@
