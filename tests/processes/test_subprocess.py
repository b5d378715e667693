"""gevent.subprocess: children whose pipes and ends block only a greenlet."""

import contextlib
import os
import subprocess as native
import sys
import threading

import pytest
from descriptors import open_descriptors
from native_threads import in_thread

import gevent
from gevent import select, subprocess
from gevent.subprocess import PIPE, STDOUT, CalledProcessError, Popen, TimeoutExpired

ECHO = [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"]
FOREVER = ["sleep", "3600"]


def shell(command, **options):
    return subprocess.run(command, shell=True, **options)


def test_wait_blocks_only_the_greenlet():
    process = Popen(["cat"], stdin=PIPE)
    assert process.poll() is None
    # It ends because another greenlet runs while this one waits for it.
    gevent.spawn_later(0.01, process.stdin.close)
    assert process.wait() == 0
    assert (process.poll(), process.returncode) == (0, 0)


def test_return_codes_and_signals():
    assert shell("exit 10").returncode == 10
    with Popen(FOREVER) as process:
        process.terminate()
        assert process.wait() == -15
        process.kill()


def test_polling_comes_to_an_end():
    process = Popen(["true"])
    with gevent.Timeout(10):
        while process.poll() is None:
            pass


def test_wait_takes_a_timeout():
    with Popen(FOREVER) as process:
        with pytest.raises(TimeoutExpired) as caught:
            process.wait(0.01)
        assert (caught.value.cmd, caught.value.timeout) == (FOREVER, 0.01)
        process.kill()


def test_links_and_gevent_wait():
    process, seen = Popen(["true"]), []
    process.rawlink(seen.append)
    assert gevent.wait([process], timeout=10) == [process]
    gevent.sleep(0)
    assert seen == [process]


def test_communicate():
    process = Popen(ECHO, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert process.communicate(b"banana" * 50_000) == (b"BANANA" * 50_000, b"")
    assert process.communicate() == (b"BANANA" * 50_000, b"")
    with pytest.raises(ValueError, match="Cannot send input"):
        process.communicate(b"more")
    assert process.stdout.closed


def test_communicate_in_text_mode():
    for option in ({"text": True}, {"universal_newlines": True}, {"encoding": "latin-1"}):
        process = Popen("printf 'a\\r\\nb\\rc\\n'; cat >&2", shell=True, stdin=PIPE, stdout=PIPE,
                        stderr=PIPE, **option)  # fmt: skip
        assert process.communicate("x\ny") == ("a\nb\nc\n", "x\ny")
    process = Popen(["true"], stdout=PIPE, text=True)
    assert process.communicate() == ("", None)


def test_undecodable_output_reaches_the_caller():
    process = Popen(r"printf '\377'", shell=True, stdout=PIPE, encoding="utf-8")
    with pytest.raises(UnicodeDecodeError):
        process.communicate()


def test_communicate_takes_a_timeout_and_goes_on():
    process = Popen("echo early; read line; echo $line", shell=True, stdin=PIPE, stdout=PIPE)
    gate = os.dup(process.stdin.fileno())
    assert select.select([process.stdout], [], [], 20)[0]
    with pytest.raises(TimeoutExpired) as caught:
        # The shell keeps waiting for its input: the duplicate holds the pipe open.
        process.communicate(timeout=0.3)
    assert caught.value.output == b"early\n"
    os.write(gate, b"late\n")
    os.close(gate)
    assert process.communicate(timeout=10) == (b"early\nlate\n", None)


def test_communicate_without_pipes_takes_a_timeout():
    with Popen(FOREVER) as process:
        with pytest.raises(TimeoutExpired):
            process.communicate(timeout=0.01)
        process.kill()
        assert process.communicate() == (None, None)


def test_a_child_that_does_not_read():
    process = Popen(["true"], stdin=PIPE)
    process.wait()
    assert process.communicate(b"x" * 300_000) == (None, None)


def test_input_for_a_closed_pipe():
    refused = pytest.raises(OSError, match="closed")
    for sent, outcome in ((None, contextlib.nullcontext()), (b"x", refused)):
        with Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
            process.stdin.close()
            with outcome:
                assert process.communicate(sent, timeout=20) == (b"", None)


def test_streams_are_cooperative_files():
    with Popen(ECHO, stdin=PIPE, stdout=PIPE, bufsize=0) as process:
        reading = gevent.spawn(process.stdout.readline)
        gevent.sleep(0.001)
        assert process.stdin.write(b"x" * 300_000 + b"\n") == 300_001
        process.stdin.close()
        assert reading.get() == b"X" * 300_000 + b"\n"
    with Popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        for word in ("one\n", "two\n"):
            process.stdin.write(word)
            assert process.stdout.readline() == word


def test_a_cooperative_file_is_fit_for_the_child():
    r, w = os.pipe()
    with subprocess.FileObject(r) as stdin, Popen(["cat"], stdin=stdin, stdout=PIPE) as process:
        gevent.sleep(0.05)
        assert process.poll() is None
        os.write(w, b"x")
        os.close(w)
        assert process.stdout.read() == b"x"
        assert process.wait() == 0


def test_leaving_stops_those_who_communicate():
    with Popen(FOREVER, stdout=PIPE, stderr=PIPE) as process:
        communicating = gevent.spawn(process.communicate)
        gevent.sleep(0.01)
        readers = list(process._communicating_greenlets)
        assert len(readers) == 2
        communicating.kill()
        process.kill()
    assert all(reader.dead for reader in readers)
    assert process.stdout.closed
    assert process.returncode == -9


def test_leaving_while_another_greenlet_reads():
    process = Popen(FOREVER, stdout=PIPE)
    reader = gevent.spawn(process.stdout.read)
    gevent.sleep(0.01)
    process.kill()
    with process:
        pass
    assert process.stdout.closed
    reader.kill()


def test_starting_fails_as_in_the_standard_library():
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(FileNotFoundError) as caught:
            Popen(["/no/such/program"], stdin=PIPE, stdout=PIPE)
        assert caught.value.filename == "/no/such/program"
    with pytest.raises(FileNotFoundError):
        Popen(["true"], cwd="/no/such/place")
    with pytest.raises(TypeError):
        Popen(["true"], bufsize="x")
    with pytest.raises(TypeError, match="nosuch"):
        Popen(["true"], nosuch=1)
    assert open_descriptors() == before


def test_options_of_the_standard_library(tmp_path):
    def status(**options):
        return shell("echo $X; pwd; umask", stdout=PIPE, **options).stdout.decode().split()

    assert status(env={"X": "set"}, cwd=tmp_path, umask=0o077) == ["set", str(tmp_path), "0077"]
    sid = f"{sys.executable} -c 'import os; print(os.getsid(0) == os.getpid())'"
    assert shell("exec " + sid, stdout=PIPE, start_new_session=True).stdout == b"True\n"
    assert shell("echo x >&2", stdout=PIPE, stderr=STDOUT).stdout == b"x\n"
    r, w = os.pipe()
    write = f"import os; os.write({w}, b'inherited')"
    assert subprocess.call([sys.executable, "-c", write], pass_fds=[w]) == 0
    assert os.read(r, 100) == b"inherited"
    os.close(r)
    os.close(w)
    preexec = Popen(["true"], preexec_fn=lambda: os._exit(9))
    with preexec:
        assert preexec.wait() == 9


def test_run():
    done = subprocess.run(ECHO, input=b"pear", capture_output=True)
    assert isinstance(done, native.CompletedProcess)
    assert (done.args, done.returncode, done.stdout, done.stderr) == (ECHO, 0, b"PEAR", b"")
    with pytest.raises(CalledProcessError) as caught:
        shell("echo out; exit 3", check=True, stdout=PIPE)
    assert (caught.value.returncode, caught.value.output) == (3, b"out\n")
    with pytest.raises(CalledProcessError):
        shell("exit 3").check_returncode()
    with pytest.raises(ValueError, match="stdin and input"):
        subprocess.run(ECHO, input=b"", stdin=PIPE)
    with pytest.raises(ValueError, match="capture_output"):
        subprocess.run(ECHO, capture_output=True, stdout=PIPE)


def test_run_kills_what_takes_too_long():
    # A shell that has not come to its first word by then gets more time.
    for timeout in (0.3, 3, 15):
        with pytest.raises(TimeoutExpired) as caught, gevent.Timeout(60):
            # A child of the shell keeps the pipes open, and nobody waits for it.
            shell("echo early; sleep 3600", timeout=timeout, capture_output=True)
        if caught.value.stdout:
            break
    assert caught.value.stdout == b"early\n"


def test_call_and_check():
    assert subprocess.call(["true"]) == subprocess.check_call(["true"]) == 0
    assert subprocess.call(["false"]) == 1
    with pytest.raises(CalledProcessError) as caught:
        subprocess.check_call(["false"])
    assert caught.value.cmd == ["false"]
    with pytest.raises(TimeoutExpired):
        subprocess.call(FOREVER, timeout=0.01)
    assert subprocess.check_output(["echo", "x"], text=True) == "x\n"
    assert subprocess.check_output(ECHO, input=None) == b""
    with pytest.raises(CalledProcessError):
        subprocess.check_output(["false"])
    for name in ("stdout", "check"):
        with pytest.raises(ValueError, match=f"{name} argument not allowed"):
            subprocess.check_output(["true"], **{name: True})


def test_many_children_at_once():
    def one(n):
        return shell(f"sleep 0.05; echo {n}", capture_output=True, text=True).stdout

    greenlets = [gevent.spawn(one, n) for n in range(60)]
    assert [g.get() for g in greenlets] == [f"{n}\n" for n in range(60)]


def test_more_children_than_descriptors(output_of):
    out = output_of(
        """
        import resource
        from gevent import monkey; monkey.patch_all()
        import gevent, os, signal, subprocess
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
        ends = os.pipe()
        children = [
            subprocess.Popen(["sh", "-c", f"read line; exit {n % 7}"], stdin=ends[0])
            for n in range(150)
        ]
        waiting = [gevent.spawn(child.wait) for child in children]
        gevent.sleep(0.05)
        print(sum(greenlet.ready() for greenlet in waiting))
        for end in ends:
            os.close(end)
        gevent.joinall(waiting, timeout=30)
        print([greenlet.value for greenlet in waiting] == [n % 7 for n in range(150)])
        # With the others gone, what was there before is in place again.
        print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, subprocess.call(["false"]))
        ended = subprocess.Popen(["true"])
        print(os.waitpid(ended.pid, 0)[1], ended.wait())
        """,
        timeout=60,
    )
    assert out == "0\nTrue\nTrue 1\n0 0\n"


def test_children_run_in_any_thread():
    assert in_thread(lambda: subprocess.run(["sh", "-c", "exit 8"]).returncode) == 8
    assert in_thread(lambda: subprocess.check_output(["echo", "x"], timeout=20)) == b"x\n"
    assert in_thread(lambda: Popen(["cat"], stdin=PIPE, stdout=PIPE).communicate(b"x")) == (
        b"x",
        None,
    )

    def take_too_long():
        with Popen(["sleep", "60"]) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=0.01)
            assert process.poll() is None
            process.kill()
            return process.wait(20)

    assert in_thread(take_too_long) == -9


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    "ask",
    [
        lambda process: process.wait(20),
        lambda process: process.communicate(timeout=20) and process.returncode,
        lambda process: os.waitstatus_to_exitcode(gevent.os.waitpid(process.pid, 0)[1]),
        lambda process: wait_for_any_until(process),
        lambda process: poll_until_it_ends(process),
    ],
    ids=["wait", "communicate", "waitpid", "waitpid(-1)", "poll"],
)
def test_a_child_of_another_thread(ask, ended):
    def start():
        process = Popen(["sh", "-c", "cat; exit 8"], stdin=PIPE, stdout=PIPE)
        if ended:
            process.stdin.close()
        return process

    process = in_thread(start)
    if not ended:
        gevent.spawn(process.stdin.close)
    ticks = gevent.spawn(lambda: [gevent.sleep(0.001) for _ in range(3)])
    assert ask(process) == 8
    ticks.join()
    process.wait()
    process.stdout.close()


def wait_for_any_until(process):
    while True:
        pid, status = gevent.os.waitpid(-1, 0)
        if pid == process.pid:
            return os.waitstatus_to_exitcode(status)


def poll_until_it_ends(process):
    while process.poll() is None:
        gevent.sleep(0.001)
    return process.returncode


def test_threads_that_wait_for_one_child_all_learn_of_its_end():
    process = Popen(["cat"], stdin=PIPE)
    codes = []
    waiting = [threading.Thread(target=lambda: codes.append(process.wait(20))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    gevent.sleep(0.01)
    process.stdin.close()
    codes.append(process.wait(20))
    for thread in waiting:
        thread.join()
    assert codes == [0] * 4


def test_patched_process(run_python):
    result = run_python(
        """
        import subprocess
        native = subprocess.Popen
        from gevent import monkey; monkey.patch_all()
        import os
        assert subprocess.Popen is not native is monkey.get_original("subprocess", "Popen")
        print(subprocess.getstatusoutput("echo x; exit 3"), os.popen("echo y").read().strip())
        process = subprocess.Popen(["/bin/true"], close_fds=False)
        assert os.waitpid(process.pid, 0) == (process.pid, 0) and process.wait() == 0
        """
    )
    assert (result.stdout, result.stderr) == ("(3, 'x') y\n", "")
