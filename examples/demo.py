"""The main job: an ordinary blocking program downloads 500 documents at once under gevent.

The program is `download.py`; this file patches the standard library, gives it a pool, and reports.
The documents come from `document_server.py`, another process, which answers after 50 ms.
"""

import argparse
import resource
import sys
import time
from itertools import islice

import document_server
import download
import gevent
from gevent import monkey
from gevent.pool import Pool

DELAY = 0.05
SAMPLE = 10


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--greenlets", type=int, default=100, help="size of the pool")
    return parser.parse_args()


def table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def main() -> int:
    options = arguments()
    name = getattr(gevent, "__implementation__", f"gevent {gevent.__version__}")
    print(f"{options.documents} documents, 50 ms each, with {name}:")

    with document_server.running(DELAY) as address:
        monkey.patch_all()

        began = time.perf_counter()
        sample = list(islice(download.download(address, range(SAMPLE)), SAMPLE))
        one_by_one = (time.perf_counter() - began) / SAMPLE * options.documents

        pool = Pool(options.greenlets)
        at_once = 0
        progress = download.Progress(options.documents, sys.stdout)
        wrong = sample.count(False)
        began = time.perf_counter()
        for right in download.download(address, range(options.documents), pool.imap_unordered):
            at_once = max(at_once, len(pool))
            wrong += not right
            progress.advance()
        taken = time.perf_counter() - began

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = {
        "bodies": "all right" if not wrong else f"{wrong} WRONG",
        "sequential estimate": f"{one_by_one:.2f} s (from {SAMPLE} documents)",
        "time taken": f"{taken:.2f} s",
        "speed-up": f"{one_by_one / taken:.1f} times",
        "peak memory": f"{peak:.0f} MiB",
        "greenlets": f"{at_once} at the same time",
    }
    print(table(rows))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
