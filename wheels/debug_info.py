"""Takes debug information out of extension modules, into files of its own.

A module keeps a link to its file by name and checksum (`.gnu_debuglink`), by which gdb and perf
find the file in the same folder or in `.debug` beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path


def objcopy() -> str:
    """Return the path of an objcopy: LLVM's, which knows every machine, or else this machine's."""
    command = ["rustc", "--print", "target-libdir"]
    libraries = Path(subprocess.check_output(command, text=True).strip())
    of_the_toolchain = shutil.which("llvm-objcopy", path=str(libraries.parent / "bin"))
    found = of_the_toolchain or shutil.which("llvm-objcopy") or shutil.which("objcopy")
    if not found:
        raise SystemExit(
            "no objcopy found: install binutils, or run `rustup component add llvm-tools`"
        )
    return found


def take_out(module: bytes, debug_file: Path) -> bytes:
    """Return *module* without symbols and debug information, which go to *debug_file*."""
    tool = objcopy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module")
        path.write_bytes(module)
        debug_file.parent.mkdir(parents=True, exist_ok=True)
        compress = "--compress-debug-sections=zlib"
        subprocess.run([tool, "--only-keep-debug", compress, path, debug_file], check=True)
        strip = ["--strip-all", f"--add-gnu-debuglink={debug_file}"]
        subprocess.run([tool, *strip, path], check=True)
        return path.read_bytes()
