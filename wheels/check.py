"""Checks the wheels and the sources of a release, and installs them to run the tests.

Of every file `twine check` reads the metadata; of every wheel `auditwheel show` names the oldest C
library that it runs with, which must be that of its tag. The wheels for this machine's C library
whose CPython is here (see .ci/find-python) are installed, each in a fresh environment, where the
tests run against them: all of them, or those that `--tests` names.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dist", type=Path, default=TOP / "dist", help="folder with the wheels")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="what pytest is to run")
    parser.add_argument("--no-tests", action="store_true", help="only look at the files")
    return parser.parse_args()


def output(*command: str | Path) -> str:
    return subprocess.check_output([str(part) for part in command], text=True)


def auditwheel_agrees(wheel: Path) -> bool:
    """Print what auditwheel says of a wheel, and return true if it is what its tag says."""
    said = " ".join(output(sys.executable, "-m", "auditwheel", "show", wheel).split())
    found = re.search(r'consistent with the following platform tag: "(\w+)"', said)
    allowed = re.search(r'constrains the platform tag to "(\w+)"', said)
    tag = allowed or found
    print(f"{wheel.stat().st_size / 1e6:5.1f} MB  {wheel.name}  auditwheel: {tag and tag[1]}")
    return bool(tag) and wheel.stem.endswith(tag[1])


def interpreter(wheel: Path) -> str | None:
    """Return the CPython that a wheel is for, if it is here and is of the wheel's C library."""
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    digits, tag = re.search(r"-cp3(\d+)-cp\d+-(.*)\.whl$", wheel.name).groups()
    if not (tag.startswith(libc) and tag.endswith(f"_{platform.machine()}")):
        return None
    found = subprocess.run(
        [TOP / ".ci" / "find-python", f"3.{digits}"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def passes_tests(wheel: Path, python: str, tests: list[str]) -> bool:
    """Install a wheel in a fresh environment of *python*; return true if the tests pass there."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        inside = Path(folder, "bin", "python")
        pip = [inside, "-m", "pip", "install", "--quiet"]
        requirements = TOP / "requirements" / "dev.txt"
        subprocess.run([*pip, "--no-deps", "-r", requirements], check=True)
        subprocess.run([*pip, wheel], check=True)
        print(output(inside, "-m", "gevent_rs").strip(), flush=True)
        command = [inside, "-m", "pytest", "-q", "-n", "2", *tests]
        return subprocess.run(command, cwd=TOP, check=False).returncode == 0


def main() -> int:
    options = arguments()
    files = sorted(
        [*options.dist.glob("gevent_rs-*.whl"), *options.dist.glob("gevent_rs-*.tar.gz")]
    )
    if not files:
        sys.exit(f"{options.dist} holds no wheels: run `make wheels`")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], check=True)

    for archive in (file for file in files if file.suffix == ".gz"):
        print(f"{archive.stat().st_size / 1e6:5.1f} MB  {archive.name}")
    failed = []
    for wheel in (file for file in files if file.suffix == ".whl"):
        if not auditwheel_agrees(wheel):
            failed.append(f"{wheel.name}: auditwheel")
        python = None if options.no_tests else interpreter(wheel)
        if python and not passes_tests(wheel, python, options.tests):
            failed.append(f"{wheel.name}: tests")
    print(f"{len(files)} files checked, {len(failed)} failed", *failed, sep="\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
