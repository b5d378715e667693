"""Locks that park only the greenlet that waits.

They work between threads too: between the greenlets of several hubs, and with threads that have
no hub, which then block as a whole.
"""

from gevent import monkey as _monkey  # noqa: F401
from gevent._core import BoundedSemaphore, DummySemaphore, RLock, Semaphore

__all__ = ["BoundedSemaphore", "DummySemaphore", "RLock", "Semaphore"]
