"""What looks up names for :mod:`gevent.socket`: :attr:`gevent.hub.Hub.resolver`.

The setting ``gevent.config.resolver`` (``GEVENT_RESOLVER``) chooses the class.
"""

from __future__ import annotations

__all__ = ()
