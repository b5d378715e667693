"""File objects that block only the greenlet that uses them.

:class:`FileObject` is the best kind for pipes, sockets and terminals, :class:`FileObjectPosix`,
which waits for them with the loop. :class:`FileObjectThread` has threads do the work, and is for
everything else; :class:`FileObjectBlock` blocks as :func:`open` does. All take the arguments of
:func:`open`, the first of which may also be a descriptor or an object with a ``fileno`` method.

The environment variable ``GEVENT_FILE``, or ``gevent.config.fileobject`` until this module is
imported, names another kind for :class:`FileObject`: ``posix``, ``thread``, ``block`` or the full
name of a class.
"""

from __future__ import annotations

from gevent import lock as _lock  # noqa: F401
from gevent._config import config
from gevent._fileobjectcommon import FileObjectBlock, FileObjectThread
from gevent._fileobjectposix import FileObjectPosix

__all__ = ["FileObject", "FileObjectBlock", "FileObjectPosix", "FileObjectThread"]

FileObject = config.fileobject
