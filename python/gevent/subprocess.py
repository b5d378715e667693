"""The standard :mod:`subprocess`, waiting for children and their pipes with the loop.

:class:`Popen` derives from that of the standard library and takes the same arguments. It starts the
child in the same way, but its pipes, ``communicate``, ``wait`` and the functions built on them
block only the greenlet. All of that works in any native thread, also in another one than the child
was started in. Between fork and exec the child runs *preexec_fn* and no greenlet.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import subprocess as _subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from subprocess import DEVNULL as DEVNULL
from subprocess import PIPE as PIPE
from subprocess import STDOUT as STDOUT
from subprocess import CalledProcessError as CalledProcessError
from subprocess import SubprocessError as SubprocessError
from subprocess import TimeoutExpired as TimeoutExpired
from subprocess import _fork_exec as _fork_exec  # type: ignore[attr-defined]
from subprocess import getoutput as getoutput
from subprocess import getstatusoutput as getstatusoutput
from typing import TYPE_CHECKING, Any, AnyStr, Literal, Self, TypeVar, overload

from gevent import monkey as _monkey  # noqa: F401
from gevent._fork import alone_in_child
from gevent._module_getattr import names_of
from gevent.event import AsyncResult
from gevent.fileobject import FileObject
from gevent.greenlet import Greenlet, joinall, killall
from gevent.hub import get_hub, getcurrent, sleep
from gevent.os import _children, _watch_child

__implements__: list[str] = [
    "CompletedProcess",
    "Popen",
    "_USE_POSIX_SPAWN",
    "_use_posix_spawn",
    "call",
    "check_call",
    "check_output",
    "run",
]

__imports__: list[str] = [
    "CalledProcessError",
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "SubprocessError",
    "TimeoutExpired",
    "_fork_exec",
    "getoutput",
    "getstatusoutput",
]

__extensions__: list[str] = ["_posixsubprocess"]

__all__ = [*__implements__, *__imports__, *__extensions__]

#: gevent has this name with this value. Children are started by :func:`_fork_exec`.
_posixsubprocess = None

#: False, as a child that :func:`os.posix_spawn` starts would be watched twice.
_USE_POSIX_SPAWN = False


def _use_posix_spawn() -> bool:
    """Return false: children are forked, so that the loop can watch them."""
    return _USE_POSIX_SPAWN


__getattr__: Callable[[str], Any] = names_of(_subprocess, __name__)


_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Command = _Path | Sequence[_Path]


class Popen(_subprocess.Popen[AnyStr]):
    """A child process; see :class:`subprocess.Popen` for the arguments.

    ``stdin``, ``stdout`` and ``stderr`` are file objects of :mod:`gevent.fileobject`. An object
    that is handed in as one of them is put into blocking mode, for the child's sake.

    :param threadpool: Accepted for compatibility.
    """

    #: The greenlets that read and write the pipes for :meth:`communicate`.
    _communicating_greenlets: _CommunicatingGreenlets | None = None

    #: The result that gets the return code once the child has ended.
    result: AsyncResult[int]
    threadpool: Any
    _watched: Any

    if TYPE_CHECKING:
        # The overloads distinguish pipes of text from pipes of bytes.
        @overload
        def __init__(
            self: Popen[str],
            args: _Command,
            bufsize: int | None = -1,
            *rest: Any,
            text: Literal[True],
            **kwargs: Any,
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[str],
            args: _Command,
            bufsize: int | None = -1,
            *rest: Any,
            encoding: str,
            **kwargs: Any,
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[str],
            args: _Command,
            bufsize: int | None = -1,
            *rest: Any,
            universal_newlines: Literal[True],
            **kwargs: Any,
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[bytes],
            args: _Command,
            bufsize: int | None = -1,
            *rest: Any,
            text: Literal[False] | None = None,
            encoding: None = None,
            universal_newlines: Literal[False] | None = None,
            errors: None = None,
            **kwargs: Any,
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[Any],
            args: _Command,
            bufsize: int | None = -1,
            *rest: Any,
            text: bool | None = None,
            encoding: str | None = None,
            universal_newlines: bool | None = None,
            **kwargs: Any,
        ) -> None: ...

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    else:

        def __init__(
            self,
            args: Any,
            bufsize: int | None = -1,
            *rest: Any,
            threadpool: Any = None,
            **kwargs: Any,
        ) -> None:
            loop = get_hub().loop
            self.threadpool = threadpool
            self.result = AsyncResult()
            loop.install_sigchld()
            super().__init__(args, bufsize, *rest, **kwargs)
            self._watched = _watch_child(self.pid, self._on_child, loop, ref=True)
            for name in ("stdin", "stdout", "stderr"):
                stream = getattr(self, name)
                if stream is not None:
                    setattr(self, name, _cooperative(stream, -1 if bufsize is None else bufsize))

    def _execute_child(self, *args: Any) -> None:
        with alone_in_child():
            super()._execute_child(*args)  # type: ignore[misc]

    def _get_handles(self, stdin: Any, stdout: Any, stderr: Any) -> Any:
        for given in (stdin, stdout, stderr):
            if given is not None and given not in (PIPE, STDOUT, DEVNULL):
                self._remove_nonblock_flag(given if isinstance(given, int) else given.fileno())
        return super()._get_handles(stdin, stdout, stderr)  # type: ignore[misc]

    @staticmethod
    def _remove_nonblock_flag(fd: int) -> None:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_NONBLOCK:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)

    def pipe_cloexec(self) -> tuple[int, int]:
        """Return the two ends of a new pipe that children do not inherit."""
        return os.pipe()

    def _on_child(self, watcher: Any) -> None:
        self._handle_exitstatus(watcher.rstatus)  # type: ignore[attr-defined]
        self.result.set(self.returncode)

    def rawlink(self, callback: Callable[[Self], object]) -> None:
        """Have *callback* called with this object, in the hub, when the child has ended."""
        self.result.rawlink(lambda result: callback(self))

    def poll(self) -> int | None:
        """Return the return code, or None if the child is running.

        The other greenlets get their turn first, so that polling in a loop comes to an end.
        """
        if self.returncode is None and getcurrent() is not get_hub():
            sleep()
            self._watched.probe()
        return self._internal_poll()

    def _internal_poll(self, _deadstate: Any = None) -> int | None:
        if self.returncode is None and self.result.ready():
            self.returncode: int | Any = self.result.value
        if self.returncode is not None:
            # The status was returned here, so it need not be kept for os.waitpid().
            _children.pop(self.pid, None)
        return self.returncode

    @overload
    def wait(self, timeout: float | None = None) -> int: ...

    @overload
    def wait(self, timeout: float | None = None, *, _raise_exc: bool) -> int | None: ...

    def wait(self, timeout: float | None = None, _raise_exc: bool = True) -> int | None:
        """Wait until the child has ended, and return its return code.

        :param timeout: The most seconds to wait.
        :raises TimeoutExpired: if it still runs then.
        """
        try:
            return super().wait(timeout)
        except TimeoutExpired:
            if _raise_exc:
                raise
            return None

    def _await_end(self, timeout: float | None) -> None:
        with self._watched.awaited():
            self.result.wait(timeout)

    def _wait(self, timeout: float | None) -> int:
        self._await_end(timeout)
        returncode = self._internal_poll()
        if returncode is None:
            raise TimeoutExpired(self.args, timeout)  # type: ignore[arg-type]
        return returncode

    def communicate(
        self, input: AnyStr | None = None, timeout: float | None = None
    ) -> tuple[AnyStr, AnyStr]:
        """Send *input*, read the output to its end, wait for the child, and return the output.

        May be called again after a timeout, and then loses nothing.

        :param input: Text or bytes for the child's standard input, if that is a pipe.
        :param timeout: The most seconds that all of it may take.
        :return: Standard output and standard error; None for one that is no pipe.
        :raises TimeoutExpired: if the time was not enough. It has the output so far, as bytes.
        :raises ValueError: if there is *input* in a second call.
        :raises InterruptedError: in a second call, if an interrupt cut the input off in the first.
        """
        if self._communicating_greenlets is None:
            self._communicating_greenlets = _CommunicatingGreenlets(self, input)
        elif input:
            raise ValueError("Cannot send input after starting communication")
        greenlets = self._communicating_greenlets
        greenlets.start()
        started = time.monotonic()
        joinall(list(greenlets), timeout=timeout)
        for error in greenlets.errors.values():
            raise error
        if all(greenlet.ready() for greenlet in greenlets):
            left = None
            if timeout is not None:
                left = max(0, timeout - (time.monotonic() - started))
            self._await_end(left)
        if self._internal_poll() is None or not all(g.ready() for g in greenlets):
            raise TimeoutExpired(
                self.args,
                timeout,  # type: ignore[arg-type]
                greenlets.so_far("stdout"),
                greenlets.so_far("stderr"),
            )
        return greenlets.output("stdout"), greenlets.output("stderr")

    def __exit__(self, t: Any, v: Any, tb: Any) -> None:
        if self._communicating_greenlets is not None:
            # The greenlets are ended because they hold the locks of the pipes' buffers.
            killall(list(self._communicating_greenlets))
        try:
            for stream in (self.stdout, self.stderr, self.stdin):
                if stream is not None:
                    stream.close()
        finally:
            super().__exit__(t, v, tb)


def _cooperative(stream: Any, bufsize: int) -> Any:
    """Return a file object for the pipe under a stream that has not been used yet."""
    mode = "rb" if stream.readable() else "wb"
    encoding = errors = None
    if isinstance(stream, io.TextIOWrapper):
        encoding, errors, mode = stream.encoding, stream.errors, mode[0]
        stream = stream.detach()
    if not isinstance(stream, io.RawIOBase):
        stream = stream.detach()
    return FileObject(
        stream, mode, bufsize, encoding=encoding, errors=errors, atomic_write="w" in mode
    )


class _CommunicatingGreenlets:
    """The greenlets that feed and empty the pipes of a child, and what they got so far."""

    def __init__(self, popen: Any, data: Any) -> None:
        #: The errors of pipes, by the names of these.
        self.errors: dict[str, BaseException] = {}
        self._text = popen.text_mode
        self._translate = popen._translate_newlines
        self._chunks: dict[str, list[bytes]] = {}
        self._coding: dict[str, tuple[str, str]] = {}
        #: The call that serves each pipe, and the greenlet that makes it, by the pipe's name.
        self._calls: dict[str, tuple[Any, ...]] = {}
        self._greenlets: dict[str, Greenlet] = {}
        if popen.stdin is not None:
            self._calls["stdin"] = self._write, popen.stdin, data
        for name in ("stdout", "stderr"):
            stream = getattr(popen, name)
            if _open(stream):
                if self._text:
                    self._coding[name] = stream.encoding, stream.errors
                chunks = self._chunks[name] = []
                self._calls[name] = self._read, stream, chunks

    def __iter__(self) -> Iterator[Greenlet]:
        return iter(self._greenlets.values())

    def start(self) -> None:
        """Start the greenlets, and go on reading where an error, perhaps of a signal, ended one.

        :raises InterruptedError: the one that writes the input was ended so. It cannot go on, as
            nobody knows how much of the input it had written.
        """
        for name, call in self._calls.items():
            greenlet = self._greenlets.get(name)
            ended = greenlet is not None and greenlet.exception is not None
            failed = ended or name in self.errors
            if failed and name == "stdin":
                text = "the input of the child was interrupted by a signal"
                raise self.errors.get(name) or InterruptedError(errno.EINTR, text)
            if greenlet is None or failed:
                self.errors.pop(name, None)
                greenlet = self._greenlets[name] = Greenlet(self._keep_error, name, *call)
            # The error of a signal may have come before a greenlet was started.
            greenlet.start()

    def so_far(self, name: str) -> bytes | None:
        """Return the bytes that came through a pipe, or None if there are none."""
        return b"".join(self._chunks.get(name, ())) or None

    def output(self, name: str) -> Any:
        """Return everything that came through a pipe, None if it is no pipe."""
        chunks = self._chunks.get(name)
        if chunks is None:
            return None
        data = b"".join(chunks)
        return self._translate(data, *self._coding[name]) if self._text else data

    def _keep_error(self, name: str, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:
            self.errors[name] = error

    @staticmethod
    def _read(stream: Any, chunks: list[bytes]) -> None:
        if stream.closed:
            # The error came after everything had been read.
            return
        binary: Any = stream.io
        if isinstance(binary, io.TextIOBase):
            binary = binary.buffer  # type: ignore[attr-defined]
        read = stream._wrap_method(getattr(binary, "read1", binary.read))
        while data := read(io.DEFAULT_BUFFER_SIZE):
            chunks.append(data)
        stream.close()

    @staticmethod
    def _write(stream: Any, data: Any) -> None:
        if data:
            with _unwanted():
                stream.write(data)
                stream.flush()
        with _unwanted():
            stream.close()


@contextmanager
def _unwanted() -> Iterator[None]:
    """Ignore the error of a child that has closed its input without reading all of it."""
    try:
        yield
    except BrokenPipeError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _open(stream: Any) -> bool:
    return stream is not None and not stream.closed


_F = TypeVar("_F", bound=Callable[..., Any])


def _typed_like(original: _F) -> Callable[[Callable[..., Any]], _F]:
    """Return a decorator that gives a function the type of *original*, and changes nothing."""
    return lambda function: function  # type: ignore[return-value]


class CompletedProcess(_subprocess.CompletedProcess[AnyStr]):
    """The result of :func:`run`: the arguments, the return code and the output."""


@_typed_like(_subprocess.run)
def run(
    *popenargs: Any,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **kwargs: Any,
) -> CompletedProcess[Any]:
    """Run a command, wait for its end, and return a :class:`CompletedProcess`.

    Takes the arguments of :class:`Popen`, and those of :func:`subprocess.run`:

    :param input: Text or bytes for its standard input.
    :param capture_output: True to keep what it prints.
    :param timeout: The most seconds that it may take before it is killed.
    :param check: True if a return code other than zero is an error.
    :raises TimeoutExpired: if it took too long.
    :raises CalledProcessError: if *check* is true and it failed.
    :raises ValueError: for arguments that contradict each other.
    """
    if input is not None:
        if kwargs.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        kwargs["stdin"] = PIPE
    if capture_output:
        if kwargs.get("stdout") is not None or kwargs.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        kwargs["stdout"] = kwargs["stderr"] = PIPE

    with Popen(*popenargs, **kwargs) as process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
        returncode = process.poll()
    if check and returncode:
        raise CalledProcessError(returncode, process.args, stdout, stderr)
    return CompletedProcess(process.args, returncode, stdout, stderr)  # type: ignore[arg-type]


@_typed_like(_subprocess.call)
def call(*popenargs: Any, timeout: float | None = None, **kwargs: Any) -> int:
    """Run a command and return its return code; see :func:`subprocess.call`.

    :param timeout: The most seconds that it may take before it is killed.
    :raises TimeoutExpired: if it took too long.
    """
    with Popen(*popenargs, **kwargs) as process:
        try:
            return process.wait(timeout)
        except BaseException:
            process.kill()
            raise


@_typed_like(_subprocess.check_call)
def check_call(*popenargs: Any, **kwargs: Any) -> int:
    """Run a command and return 0; see :func:`subprocess.check_call`.

    :raises CalledProcessError: if it failed.
    """
    returncode = call(*popenargs, **kwargs)
    if returncode:
        raise CalledProcessError(returncode, kwargs.get("args") or popenargs[0])
    return 0


@_typed_like(_subprocess.check_output)
def check_output(*popenargs: Any, timeout: float | None = None, **kwargs: Any) -> Any:
    """Run a command and return what it prints; see :func:`subprocess.check_output`.

    Takes the arguments of :func:`run` but for ``stdout`` and ``check``.

    :raises CalledProcessError: if it failed. Its ``output`` is what was printed.
    """
    for name in ("stdout", "check"):
        if name in kwargs:
            raise ValueError(f"{name} argument not allowed, it will be overridden.")
    if "input" in kwargs and kwargs["input"] is None:
        text = any(
            kwargs.get(name) for name in ("universal_newlines", "text", "encoding", "errors")
        )
        kwargs["input"] = "" if text else b""
    completed: CompletedProcess[Any] = run(  # type: ignore[call-overload]
        *popenargs, stdout=PIPE, timeout=timeout, check=True, **kwargs
    )
    return completed.stdout
