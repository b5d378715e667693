"""Greenlet-local data: :class:`local`, the standard library's ``threading.local`` for greenlets.

A :class:`local` has other attributes in every greenlet. A subclass's ``__init__`` runs again, with
the arguments the object was made with, in every greenlet that comes to it. What is declared in
``__slots__`` is shared by all greenlets. Unlike the standard library's, objects can be copied with
:func:`copy.copy`: the copy is made with the same arguments and has the running greenlet's
attributes. The attributes of a greenlet are dropped when it ends.
"""

from __future__ import annotations

from gevent._core import all_local_dicts_for_greenlet as all_local_dicts_for_greenlet
from gevent._core import local

__all__ = ["local"]
