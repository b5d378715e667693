"""On the PYTHONPATH of every process of gevent's tests: finds what only those tests import.

The finder is asked last, so a module that the package under test has always wins over a shim.
"""

import os
import sys
from importlib.machinery import PathFinder


class SuiteFinder:
    """Finds submodules of `gevent` in the folders that CONFORMANCE_PATHS names."""

    roots = os.environ["CONFORMANCE_PATHS"].split(os.pathsep)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        package, _, _ = name.rpartition(".")
        if package.partition(".")[0] != "gevent":
            return None
        below = package.replace(".", os.sep)
        return PathFinder.find_spec(name, [os.path.join(root, below) for root in cls.roots])


sys.meta_path.append(SuiteFinder)
