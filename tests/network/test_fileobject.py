"""gevent.fileobject: file objects that block only the greenlet that uses them."""

import io
import os
import sys
from contextlib import nullcontext, suppress

import pytest

import gevent
from gevent.fileobject import FileObject, FileObjectBlock, FileObjectPosix, FileObjectThread

KINDS = [FileObjectPosix, FileObjectThread, FileObjectBlock]
COOPERATIVE = KINDS[:2]


@pytest.fixture
def pipe():
    r, w = os.pipe()
    yield r, w
    for fd in (r, w):
        with suppress(OSError):
            os.close(fd)


@pytest.mark.parametrize("kind", COOPERATIVE)
def test_reading_waits_for_another_greenlet(kind, pipe):
    r, w = pipe
    with kind(r, "rb") as reader:
        reading = gevent.spawn(reader.read)
        with kind(w, "wb") as writer:
            for byte in (b"a", b"b"):
                writer.write(byte)
                writer.flush()
                gevent.sleep(0.001)
        assert reading.get() == b"ab"


@pytest.mark.parametrize("kind", COOPERATIVE)
def test_writing_waits_for_room(kind, pipe):
    r, w = pipe
    size = 300_000
    with kind(r, "rb") as reader:
        reading = gevent.spawn(reader.read)
        with kind(w, "wb") as writer:
            assert writer.write(b"x" * size) == size
        assert len(reading.get()) == size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"encoding": "utf-16"}, {"newline": ""}, {"buffering": 2}])
def test_text_is_that_of_open(kind, options, tmp_path):
    path = tmp_path / "text"
    text = "snow\N{SNOWMAN}\r\nline\nlast"
    with kind(path, "w", **options) as file:
        assert file.write(text) == len(text)
    with open(path, **options) as expected, kind(str(path), "r", **options) as file:
        assert list(file) == list(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_regular_files_have_positions(kind, tmp_path):
    with kind(tmp_path / "file", "w+b") as file:
        assert file.seekable()
        file.write(b"0123456789")
        assert file.seek(5) == 5
        assert file.read(2) == b"56"
        assert file.tell() == 7
        buffer = bytearray(2)
        assert file.readinto(buffer) == 2
        assert buffer == b"78"
        assert file.truncate(3) == 3
    with kind(tmp_path / "file", "ab") as file:
        file.write(b"X")
    assert (tmp_path / "file").read_bytes() == b"012X"
    with pytest.raises(FileExistsError):
        kind(tmp_path / "file", "xb")


@pytest.mark.parametrize("kind", KINDS)
def test_attributes(kind, pipe):
    r, w = pipe
    with kind(r, "rb", closefd=False) as file:
        assert (file.mode, file.name, file.fileno(), file.closed) == ("rb", r, r, False)
        assert file.readable()
        assert not file.writable()
        assert not file.seekable()
        assert hasattr(file, "read1")
        assert isinstance(file.io, io.BufferedReader)
        assert repr(file).startswith(f"<{kind.__name__} at 0x")
    with kind(w, "w", 1, closefd=False) as file:
        assert (file.mode, file.line_buffering) == ("w", True)
        assert not hasattr(file, "read1")
    os.fstat(r), os.fstat(w)


@pytest.mark.parametrize("kind", KINDS)
def test_closing(kind, pipe):
    file = kind(pipe[0], "rb")
    file.close()
    file.close()
    assert file.closed
    assert file.name == pipe[0]
    assert "closed" in repr(file)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[0])
    with pytest.raises(OSError, match="FileObject was closed"):
        file.read()


@pytest.mark.parametrize("kind", [FileObjectPosix, FileObjectThread, FileObjectBlock])
def test_what_is_dropped_closes(kind, pipe):
    file = kind(pipe[1], "wb")
    file.write(b"x")
    with nullcontext() if kind is FileObjectPosix else pytest.warns(ResourceWarning):
        del file
    assert os.read(pipe[0], 9) == b"x"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[1])


def test_closing_wakes_who_waits(pipe):
    file = FileObjectPosix(pipe[0], "rb", 0)
    reading = gevent.spawn(file.read, 1)
    gevent.sleep(0.001)
    file.close()
    with pytest.raises(OSError, match="File descriptor was closed in another greenlet"):
        reading.get()


def test_two_greenlets_cannot_use_one_buffer(pipe):
    file = FileObjectPosix(pipe[0], "rb")
    reading = gevent.spawn(file.read, 1)
    gevent.sleep(0.001)
    with pytest.raises(RuntimeError, match="reentrant call"):
        file.read(1)
    os.write(pipe[1], b"x")
    assert reading.get() == b"x"
    file.close()


@pytest.mark.parametrize("kind", KINDS)
def test_unbuffered(kind, pipe):
    r, w = pipe
    with kind(r, "rb", 0) as reader, kind(w, "wb", 0) as writer:
        assert writer.write(b"abc") == 3
        assert reader.read(10) == b"abc"
        writer.writelines([b"1", b"2"])
        assert reader.read(2) == b"12"


def test_unbuffered_text_is_written_at_once(pipe):
    r, w = pipe
    with FileObject(w, "w", 0) as writer:
        writer.write("no newline")
        assert os.read(r, 100) == b"no newline"


def test_unbuffered_can_write_everything(pipe):
    r, w = pipe
    size = 300_000
    with FileObject(w, "wb", 0, atomic_write=True) as writer, FileObject(r, "rb") as reader:
        reading = gevent.spawn(reader.read, size)
        assert writer.write(b"x" * size) == size
        assert len(reading.get()) == size


def test_around_other_file_objects(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"first\nsecond\n")
    with open(path, "rb") as inner:
        with FileObjectPosix(inner, "r", closefd=False) as file:
            assert (next(file), file.name) == ("first\n", str(path))
        assert not inner.closed
    with open(path, "rb") as inner:
        FileObjectPosix(inner).close()
        assert inner.closed
    with FileObjectThread(io.BytesIO(b"text")) as file:
        assert file.read() == "text"
    with pytest.raises(io.UnsupportedOperation, match="fileno"):
        FileObjectPosix(io.BytesIO())


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "invalid mode: 42", {"mode": 42}),
        (TypeError, "invalid buffering: 'x'", {"buffering": "x"}),
        (TypeError, "invalid encoding: 42", {"encoding": 42}),
        (TypeError, "invalid errors: 42", {"errors": 42}),
        (ValueError, "invalid mode: 'q'", {"mode": "q"}),
        (ValueError, "mode U cannot be combined", {"mode": "wU"}),
        (ValueError, "can't have text and binary mode at once", {"mode": "rtb"}),
        (ValueError, "can't have read/write/append mode at once", {"mode": "rw"}),
        (ValueError, "must have exactly one of read/write/append mode", {"mode": "+"}),
        (ValueError, "binary mode doesn't take an encoding", {"mode": "rb", "encoding": "x"}),
        (ValueError, "binary mode doesn't take an errors", {"mode": "rb", "errors": "x"}),
        (ValueError, "binary mode doesn't take a newline", {"mode": "rb", "newline": ""}),
        (
            TypeError,
            "Cannot specify both buffering=1 and bufsize=2",
            {"buffering": 1, "bufsize": 2},
        ),
        (
            TypeError,
            "Cannot specify both closefd=True and close=False",
            {"closefd": True, "close": False},
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_arguments(kind, error, message, options):
    with pytest.raises(error, match=message.replace("+", r"\+")):
        kind(0, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_opening_what_is_not_there(kind):
    with pytest.raises(FileNotFoundError):
        kind("/no/such/file")
    with pytest.raises(OSError, match="Bad file descriptor"):
        kind(999_999, "rb")
    with pytest.raises(TypeError):
        kind(1.5)


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("posix", "FileObjectPosix"),
        ("thread", "FileObjectThread"),
        ("block", "FileObjectBlock"),
        ("gevent.fileobject.FileObjectBlock", "FileObjectBlock"),
    ],
)
def test_the_environment_chooses(run_python, setting, kind):
    code = "from gevent.fileobject import FileObject; print(FileObject.__name__)"
    assert run_python(code, GEVENT_FILE=setting).stdout == kind + "\n"


def test_standard_output_of_a_child(run_python):
    result = run_python(
        "from gevent.fileobject import FileObject; import sys\n"
        "with FileObject(sys.stdout, 'w') as out: print('through it', file=out)"
    )
    assert (result.stdout, result.stderr) == ("through it\n", "")
    assert sys.stdout is not None


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize(
    ("mode", "method"), [("rb", "read"), ("rb", "readline"), ("r", "readline"), ("r", "read")]
)
def test_closing_ends_the_reads_of_others(pipe, mode, method, buffering):
    r, _w = pipe
    reader = FileObjectPosix(r, mode, buffering=buffering)
    readings = [gevent.spawn(getattr(reader, method))]
    gevent.sleep(0)
    reader.close()
    gevent.joinall(readings, timeout=20)
    assert isinstance(readings[0].exception, OSError)
    assert reader.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(r)


def test_closing_ends_the_writes_of_others(pipe):
    _r, w = pipe
    writer = FileObjectPosix(w, "wb", buffering=0, atomic_write=True)
    writing = gevent.spawn(writer.write, b"x" * 1_000_000)
    gevent.sleep(0)
    writer.close()
    writing.join(20)
    assert isinstance(writing.exception, OSError)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(w)


def test_files_of_other_threads(pipe):
    r, w = pipe
    with FileObjectPosix(r, "rb") as reader:
        lines = gevent.get_hub().threadpool.spawn(reader.readline)
        gevent.sleep(0.01)
        os.write(w, b"line\n")
        assert lines.get(timeout=20) == b"line\n"
        here = gevent.spawn(reader.readline)
        gevent.sleep(0)
        os.write(w, b"next\n")
        assert here.get(timeout=20) == b"next\n"
