"""Fresh environments, and pip and uv to install into them from the package index."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
GEVENT = "26.9.0"

WHICH = "import gevent; print(gevent.__path__[0])"


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without what would choose another Python, gevent or environment."""
    unwanted = ("PYTHON", "GEVENT", "VIRTUAL_ENV", "PYTEST")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    return kept | extra


def run(*command: object, **options) -> str:
    """Run a command that must end well; return what it printed to both streams."""
    extra = options.pop("environment", {})
    options.setdefault("timeout", 300)
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(**extra),
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout.strip()


class Venv:
    """A virtual environment that pip or uv installs into."""

    def __init__(self, folder: Path, installer: str, *options: str) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.installer = installer
        if installer == "uv":
            run(TOOLS / "uv", "venv", "--quiet", "--python", sys.executable, *options, folder)
        else:
            run(sys.executable, "-m", "venv", *options, folder)
        [self.packages] = (folder / "lib").glob("python*/site-packages")

    def _command(self, verb: str) -> list[object]:
        if self.installer == "uv":
            return [TOOLS / "uv", "pip", verb, "--quiet", "--python", self.python]
        return [self.python, "-m", "pip", verb, "--quiet"]

    def install(self, *what: object) -> None:
        run(*self._command("install"), *what)

    def uninstall(self, *what: str) -> None:
        agree = [] if self.installer == "uv" else ["--yes"]
        run(*self._command("uninstall"), *agree, *what)

    def check(self) -> None:
        """Have the installer check that every requirement is met."""
        run(*self._command("check"))

    def output(self, *arguments: object, **environment: str) -> str:
        return run(self.python, *arguments, environment=environment, cwd=self.folder)

    def imported(self, *options: str, **environment: str) -> Path:
        """The folder of the gevent that an import gives."""
        return Path(self.output(*options, "-c", WHICH, **environment))

    def version(self, distribution: str) -> str:
        code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
        return self.output("-c", code)

    @property
    def ours(self) -> Path:
        return self.packages / "gevent_rs" / "overlay" / "gevent"

    @property
    def gevents(self) -> Path:
        return self.packages / "gevent"

    def damaged(self, distribution: str) -> list[str]:
        """The files of a distribution that are not as its RECORD says."""
        [record] = self.packages.glob(f"{distribution}-*.dist-info/RECORD")
        return list(differences(self.packages, record))


def differences(folder: Path, record: Path) -> Iterator[str]:
    with record.open(newline="") as lines:
        for name, digest, _ in csv.reader(lines):
            if not (folder / name).exists():
                yield f"{name} is missing"
            elif digest:
                found = hashlib.sha256((folder / name).read_bytes()).digest()
                if digest != f"sha256={base64.urlsafe_b64encode(found).rstrip(b'=').decode()}":
                    yield f"{name} differs"
