"""Says in one line what a build lacks, before anything is downloaded or compiled.

    python wheels/prerequisites.py [python] [venv] [cargo] [compiler]

Old interpreters run this file too, in order to be told that they are too old: it keeps to syntax
of CPython 3.6.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
RUSTUP = "install Rust from https://rustup.rs"


def python():
    """Return what is wrong with this interpreter, or None."""
    free_threaded = "t" in getattr(sys, "abiflags", "")
    if (
        (sys.implementation.name, sys.platform) == ("cpython", "linux")
        and (3, 11) <= sys.version_info[:2] < (3, 16)
        and not free_threaded
    ):
        return None
    version = ".".join(map(str, sys.version_info[:3]))
    build = " (free-threaded)" if free_threaded else ""
    return (
        "CPython 3.11 to 3.15 on Linux is needed, with the GIL; "
        f"{sys.executable} is {sys.implementation.name} {version}{build} on {sys.platform}: "
        "choose another (make: PYTHON=/path/to/python)"
    )


def venv():
    """Return what keeps this interpreter from making a virtual environment with pip, or None."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return (
            f"{sys.executable} has no module {error.name}: "
            "install its venv package (Debian: python3-venv)"
        )
    return None


def cargo():
    """Return what is wrong with the Rust toolchain, or None."""
    if not shutil.which("cargo"):
        return f"no cargo found: {RUSTUP}"
    found = version_of("cargo")
    wanted = re.search(r'rust-version = "([\d.]+)"', (TOP / "Cargo.toml").read_text()).group(1)
    if found is None:
        return f"cargo does not run (`cargo --version` fails): {RUSTUP}"
    if found < numbers(wanted):
        return f"Rust {wanted} or later is needed, cargo is {'.'.join(map(str, found))}: {RUSTUP}"
    return None


def compiler():
    """Return what is wrong with the C compiler, by which Rust links, or None."""
    linker_named = any(
        re.match(r"CARGO_TARGET_.*_LINKER$", name) or ("RUSTFLAGS" in name and "linker" in value)
        for name, value in os.environ.items()
    )
    if not linker_named and not shutil.which("cc") and not configured_linker():
        return (
            "no C compiler found (cc), which Rust links with: install gcc (Debian: gcc libc6-dev)"
        )
    return None


def configured_linker():
    """Return true if cargo's own configuration names a linker."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    files = [home / "config.toml", home / "config"]
    return any(file.is_file() and "linker" in file.read_text() for file in files)


def version_of(program):
    """Return the version that *program* prints as a list of numbers, or None."""
    try:
        output = subprocess.check_output([program, "--version"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\d+(\.\d+)+", output.decode())
    return match and numbers(match.group())


def numbers(version):
    """Return a version as a list of numbers."""
    return [int(part) for part in version.split(".")]


CHECKS = {"python": python, "venv": venv, "cargo": cargo, "compiler": compiler}


def check(*names):
    """End the process with one line for each of the named checks that fails."""
    faults = [fault for fault in (CHECKS[name]() for name in names) if fault]
    if faults:
        sys.exit("\n".join(f"gevent-rs: {fault}" for fault in faults))


if __name__ == "__main__":
    check(*(sys.argv[1:] or CHECKS))
