"""The open descriptors of this process, for tests after which none is to be left."""

import gc
import os


def open_descriptors() -> set[str]:
    """Return their numbers, without those of garbage that an earlier test may have left."""
    gc.collect()
    return set(os.listdir("/proc/self/fd"))
