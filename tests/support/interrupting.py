"""Ending a program as a person does at the terminal."""

import signal
import subprocess
import time


def interrupt(process: subprocess.Popen, seconds: float = 60) -> int:
    """Interrupt a process, again if that was lost, until it ends; return its status.

    An interrupt is raised in what runs. One that comes during a finalizer or the callback of a weak
    reference is lost, as Python ignores errors there.
    """
    end = time.monotonic() + seconds
    while True:
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(10)
        except subprocess.TimeoutExpired:
            if time.monotonic() > end:
                raise
