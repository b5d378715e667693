"""What is installed, and where to.

`make test-install` runs these tests. They need a wheel for this interpreter in the folder that the
environment variable WHEELS names, `dist` by default, and uv and pipx beside the interpreter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import TOP, Venv


@pytest.fixture(scope="session")
def dist() -> Path:
    """The folder with the wheels under test."""
    return Path(os.environ.get("WHEELS", TOP / "dist")).resolve()


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel of gevent-rs for this interpreter."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = sorted(dist.glob(f"gevent_rs-*-{tag}-{tag}-*_{os.uname().machine}.whl"))
    assert found, f"no wheel for {tag} in {dist}: run `make build`"
    return found[0]


@pytest.fixture(params=["pip", "uv"])
def venv(request: pytest.FixtureRequest, tmp_path: Path) -> Venv:
    """An empty environment, once for pip and once for uv."""
    return Venv(tmp_path / "venv", request.param)


@pytest.fixture
def make_venv(tmp_path: Path) -> Callable[..., Venv]:
    """Make an environment that uv installs into: `make_venv(name, *options)`."""
    return lambda name, *options: Venv(tmp_path / name, "uv", *options)
