"""The PEP 517 backend: maturin's, with the wheel laid out as an overlay.

``pip install .``, ``uv build`` and whatever else builds by ``pyproject.toml`` come here. maturin
can put a wheel's files only where the source tree has them, and the tree keeps ``python/gevent``,
so that tracebacks, editors and editable installs see plain paths. Editable installs are maturin's
own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_editable,
    build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

import overlay
import prerequisites

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, Any]

# maturin warns of a backend by another name, which calls it all the same.
os.environ["MATURIN_NO_MISSING_BUILD_BACKEND_WARNING"] = "1"


def build_wheel(
    wheel_directory: str,
    config_settings: Settings | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the wheel into *wheel_directory* and return its file name."""
    name = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    overlay.lay_out(Path(wheel_directory, name))
    return name


def get_requires_for_build_wheel(config_settings: Settings | None = None) -> list[str]:
    """Return what to install before the build; end with one line where something else is missing.

    This is the first call of an installer, so that what is missing is said before anything is
    compiled. Unlike maturin's, it never installs a Rust toolchain behind the user's back.
    """
    prerequisites.check("python", "cargo", "compiler")
    return []


def get_requires_for_build_sdist(config_settings: Settings | None = None) -> list[str]:
    """Return what to install before packing the sources, for which cargo lists the files."""
    prerequisites.check("cargo")
    return []


get_requires_for_build_editable = get_requires_for_build_wheel
