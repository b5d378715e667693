"""Names that gevent's tests use to run on every platform; here there is one."""

import io
import os
import time

PYPY = WIN = OSX = PURE_PYTHON = False
LINUX = True

# They send requests that a server must refuse today, and expect answers.
os.environ.setdefault("GEVENT_HTTP_STRICT", "no")

NativeStrIO = io.StringIO
_fspath = os.fspath
get_clock_info = time.get_clock_info
perf_counter = time.perf_counter
thread_mod_name = "_thread"


def get_this_psutil_process():
    """Return psutil's view of this process, or None without psutil."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil.Process()


def reraise(_type, value, tb=None):
    """Raise an exception as `sys.exc_info()` gave it."""
    raise value.with_traceback(tb)
