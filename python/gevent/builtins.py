"""The standard library's :mod:`builtins`, whose functions need no change to be cooperative.

The module exists for programs that import it by name. Imports take the interpreter's own
per-module locks, which :mod:`gevent.monkey` makes cooperative by patching the threads beneath.
"""

from __future__ import absolute_import as absolute_import
from __future__ import annotations

import builtins as _builtins
from _imp import acquire_lock as imp_acquire_lock  # noqa: F401
from _imp import release_lock as imp_release_lock  # noqa: F401
from builtins import *  # noqa: F403, UP029
from builtins import __import__ as __import__

from gevent.lock import RLock as RLock

__all__: list[str] = []
__target__ = "builtins"
__implements__ = __all__
__imports__: list[str] = [name for name in dir(_builtins) if name[0] != "_"]
