"""Runs a program whose processes are forked, as they were by default before CPython 3.14.

``python forking.py PROGRAM``. Programs of that time start processes as they are run, which those of
today's default would do again.
"""

from __future__ import annotations

import multiprocessing
import runpy
import sys

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    runpy.run_path(sys.argv[1], run_name="__main__")
