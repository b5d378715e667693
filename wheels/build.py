"""Builds wheels, laid out as overlays, with the debug information in files of their own.

Without `--all` it builds the wheel of the interpreter that runs this, for this machine. `--all`
builds what a release consists of: for every CPython, C library and machine of `PYTHONS` and
`PLATFORMS` a wheel, which zig links against the oldest C library that its tag allows, and the
sources. rustup brings Rust's standard libraries; a platform that it has none for is left out with
a message.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import debug_info
import musl
import overlay
import stand_in

TOP = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
#: What pip calls a platform, and what rustc does.
PLATFORMS = {
    "manylinux_2_28_x86_64": "x86_64-unknown-linux-gnu",
    "manylinux_2_28_aarch64": "aarch64-unknown-linux-gnu",
    "musllinux_1_2_x86_64": "x86_64-unknown-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-unknown-linux-musl",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TOP / "dist", help="folder for the wheels")
    parser.add_argument("--all", action="store_true", help="build a release's wheels and sdist")
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, help="with --all: only these")
    parser.add_argument(
        "--platforms",
        nargs="+",
        default=list(PLATFORMS),
        choices=PLATFORMS,
        metavar="PLATFORM",
        help=f"with --all: only these of {', '.join(PLATFORMS)}",
    )
    return parser.parse_args()


def maturin(*options: str | Path) -> list[Path]:
    """Run maturin and return what it wrote."""
    folder = TOP / "build" / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "maturin", *options, "--out", folder]
    # maturin asks for zig with this interpreter, which may not be the one that is first on PATH.
    environment = {
        **os.environ,
        "CARGO_ZIGBUILD_PYTHON_PATH": sys.executable,
        "MATURIN_NO_MISSING_BUILD_BACKEND_WARNING": "1",
    }
    subprocess.run(command, check=True, cwd=TOP, env=environment)
    return sorted(folder.iterdir())


def finish(wheel: Path, out: Path) -> Path:
    """Lay a wheel of maturin's out as an overlay in the folder *out*, and return its path."""

    def finished(module: bytes) -> bytes:
        stripped = debug_info.take_out(module, out / "debug" / f"{wheel.stem}.debug")
        on_musl = re.search(r"-musllinux_\d+_\d+_(\w+)$", wheel.stem)
        return musl.name_library(stripped, on_musl[1]) if on_musl else stripped

    overlay.lay_out(wheel, finished)
    return Path(shutil.move(wheel, out / wheel.name))


def build_for(platform: str, pythons: list[str]) -> list[Path]:
    """Build the wheels of one platform; return none where Rust has no standard library for it."""
    target = PLATFORMS[platform]
    if subprocess.run(["rustup", "--quiet", "target", "add", target], check=False).returncode:
        print(f"left out: {platform}, rustup has no standard library for {target}", file=sys.stderr)
        return []
    interpreters = [option for version in pythons for option in ("-i", f"python{version}")]
    compatibility = platform.removesuffix(f"_{target.partition('-')[0]}")
    return maturin(
        *("build", "--release", "--zig", "--target", target, "--compatibility", compatibility),
        *interpreters,
    )


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.all:
        built = maturin("sdist")
        finished = [Path(shutil.move(path, options.out / path.name)) for path in built]
        for platform in options.platforms:
            finished += [finish(w, options.out) for w in build_for(platform, options.pythons)]
    else:
        [wheel] = maturin("build", "--release", "--interpreter", sys.executable)
        finished = [finish(wheel, options.out), stand_in.write(options.out)]
    for path in finished:
        print(f"{path.stat().st_size / 1e6:5.1f} MB  {path.name}")


if __name__ == "__main__":
    main()
