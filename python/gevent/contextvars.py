"""Context variables of greenlets: the standard library's :mod:`contextvars`, which serves.

Every greenlet runs in a context of its own, empty at the start unless ``gr_context`` says
otherwise, so a variable set in one greenlet is not seen in another. Context variables are
usually easier to handle through :mod:`gevent.local`.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, Token, copy_context

__all__ = ["Context", "ContextVar", "Token", "copy_context"]
__imports__ = __all__
