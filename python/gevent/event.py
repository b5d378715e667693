"""Events and results that greenlets wait for.

:class:`Event` is :class:`threading.Event` for greenlets; :class:`AsyncResult` brings one value or
exception to all who wait for it.
"""

from gevent._core import AsyncResult, Event

__all__ = ["AsyncResult", "Event"]
