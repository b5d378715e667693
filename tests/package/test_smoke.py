"""The smoke test, which `.ci/smoke-aarch64` runs on an emulated machine, on this one."""

import subprocess
import sys

from paths import CERTIFICATE, SUPPORT


def test_every_part(own_environment):
    done = subprocess.run(
        [sys.executable, SUPPORT / "smoke.py", CERTIFICATE],
        capture_output=True,
        text=True,
        timeout=250,
        env=own_environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("passed:") == 8
