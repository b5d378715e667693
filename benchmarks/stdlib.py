"""Compare what the standard library costs in a patched process with gevent's, and print a table.

Measured and reported as run.py does it; the operations are in stdlib_operations.py.
"""

import sys

from catalogue import STDLIB_OPERATIONS
from run import main

if __name__ == "__main__":
    title = __doc__.partition("\n")[0]
    sys.exit(main("stdlib", title, STDLIB_OPERATIONS, "RESULTS-stdlib.md"))
