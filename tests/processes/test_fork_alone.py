"""Children in which no greenlet of the parent may run: before exec, and in multiprocessing."""

import pytest

#: A greenlet that writes a line whenever it finds itself in another process than it began in.
WATCH = """
from gevent import monkey; monkey.patch_all()
import os, subprocess, sys, tempfile, threading, time
import gevent
from gevent.event import Event
from gevent.queue import Queue
file = tempfile.NamedTemporaryFile()
me = os.getpid()
lock, event, queue = threading.Lock(), Event(), Queue()
lock.acquire()
def note():
    if os.getpid() != me:
        os.write(file.fileno(), b"ran in a child\\n")
def turn():
    while True:
        note()
        gevent.sleep(0)
def wait(call):
    try:
        call()
    finally:
        note()
for call in (turn, lambda: gevent.sleep(0.02), event.wait, queue.get, lock.acquire):
    gevent.spawn(wait, call)
gevent.spawn(gevent.sleep, 0)
gevent.spawn_later(0.01, note)
gevent.get_hub().loop.run_callback(note)
timer = gevent.get_hub().loop.timer(0.01, 0.01)
timer.start(note)
gevent.sleep(0)
def disturb():
    gevent.sleep(0)
    event.set()
    queue.put(1)
    assert not lock.acquire(timeout=0.03)
    gevent.sleep(0.03)
def lines():
    with open(file.name) as written:
        return written.read()
"""


@pytest.mark.parametrize(
    "preexec", ["None", "os.getpid", "disturb", "lambda: gevent.spawn(gevent.sleep, 0.01).join()"]
)
@pytest.mark.parametrize("hook", ["None", "disturb"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_of_the_parent_runs_before_exec(run_python, preexec, hook, when):
    register = "os.register_at_fork(after_in_child=lambda: hook and armed and hook())\n"
    result = run_python(
        f"""
import os
hook, armed = None, []
{register if when == "before" else ""}
{WATCH}
{register if when == "after" else ""}
hook = {hook}
armed.append(1)
def start():
    subprocess.run(["true"], preexec_fn={preexec}, check=True)
    subprocess.run(["true"], preexec_fn={preexec}, start_new_session=True, check=True)
start()
gevent.spawn(start).get()
print(lines(), end="")
armed.clear()
timer.stop()
sys.stdout.flush(); os._exit(0)
"""
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_a_wait_that_has_no_end_fails_in_the_child_only(run_python):
    result = run_python(
        f"""
{WATCH}
timer.stop()
try:
    subprocess.run(["true"], preexec_fn=lock.acquire)
except subprocess.SubprocessError as error:
    print(error)
print(lines(), end="")
sys.stdout.flush(); os._exit(0)
"""
    )
    assert result.stdout == "Exception occurred in preexec_fn.\n"


def test_multiprocessing_forks_children_of_their_own(run_python):
    result = run_python(
        f"""
{WATCH}
import gc, multiprocessing, signal
from gevent import socket
fork = multiprocessing.get_context("fork")
one, other = socket.socketpair()
watcher = gevent.get_hub().loop.fork()
forked = []
watcher.start(lambda: forked.append(os.getpid() != me))
handled = gevent.signal_handler(signal.SIGUSR1, note)
with open(__import__("gevent").__file__) as _:
    pass
def work(reader, writer):
    disturb()
    # Objects that the child inherits work, in a hub of its own.
    one.sendall(b"from the child")
    assert one.recv(10) == b"answer"
    gevent.spawn(gevent.sleep, 0.01).join()
    assert gevent.get_hub().threadpool.apply(len, ("five!",)) == 5
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()
    assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
    gc.collect()
    writer.send((forked, signal.getsignal(signal.SIGUSR1)))
    gevent.sleep(0)
reader, writer = fork.Pipe(False)
def answer():
    assert other.recv(20) == b"from the child"
    other.sendall(b"answer")
def start():
    # A timeout that is under way is none of the child's.
    with gevent.Timeout(20):
        process = fork.Process(target=work, args=(reader, writer))
        process.start()
        answer()
        print(reader.recv())
        process.join()
    print(process.exitcode)
start()
gevent.spawn(start).get()
print(lines(), end="")
timer.stop()
sys.stdout.flush(); os._exit(0)
"""
    )
    lines = "([True], <Handlers.SIG_DFL: 0>)\n0\n"
    assert (result.stdout, result.stderr) == (lines * 2, "")


def test_interrupts_reach_the_child_not_the_copy_of_the_parents_main_greenlet(run_python):
    result = run_python(
        f"""
{WATCH}
import multiprocessing, signal
fork = multiprocessing.get_context("fork")
reader, writer = fork.Pipe(False)
def work():
    try:
        writer.send("begun")
        time.sleep(30)
    except KeyboardInterrupt:
        writer.send("interrupted")
def start():
    process = fork.Process(target=work)
    process.start()
    assert reader.recv() == "begun"
    os.kill(process.pid, signal.SIGINT)
    print(reader.recv())
    process.join()
    print(process.exitcode)
gevent.spawn(start).get(timeout=20)
print(lines(), end="")
timer.stop()
sys.stdout.flush(); os._exit(0)
"""
    )
    assert result.stdout == "interrupted\n0\n"


def test_a_plain_fork_takes_the_greenlets_along(run_python):
    result = run_python(
        f"""
{WATCH}
if not os.fork():
    gevent.sleep(0.05)
    os._exit(0)
os.wait()
print(len(lines()) > 0)
sys.stdout.flush(); os._exit(0)
"""
    )
    assert (result.stdout, result.stderr) == ("True\n", "")


@pytest.mark.parametrize("begun", [False, True])
def test_a_fork_while_a_thread_starts(run_python, begun):
    result = run_python(
        f"""
from gevent import monkey; monkey.patch_all()
import os, sys, threading
import gevent
ran = []
thread = threading.Thread(target=lambda: (gevent.sleep(0.02), ran.append(1)))
def start():
    thread.start()
    ran.append("started")
starter = gevent.spawn(start)
gevent.sleep(0)
if {begun}:
    gevent.sleep(0)
    gevent.sleep(0)
if not os.fork():
    starter.join(20)
    gevent.sleep(0.1)
    print(ran, thread.is_alive(), threading.enumerate() == [threading.main_thread()])
    late = threading.Thread(target=ran.append, args=("late",))
    late.start()
    late.join()
    print(ran[-1], flush=True)
    os._exit(0)
os.wait()
starter.join()
thread.join()
print(ran)
"""
    )
    ran = "['started', 1]"
    in_child = ran if begun else "['started']"
    assert result.stderr == ""
    assert result.stdout == f"{in_child} False True\nlate\n{ran}\n"


def test_a_process_of_a_thread_that_its_executor_is_just_starting(run_python):
    """The greenlet that submits holds the executors' lock then, and never goes on in the child."""
    result = run_python("""
        from gevent import monkey; monkey.patch_all()
        import multiprocessing, os, warnings
        from concurrent.futures import ThreadPoolExecutor

        warnings.simplefilter("ignore")
        context = multiprocessing.get_context("fork")

        def grandchild():
            # A plain fork keeps the greenlets, and with them what they hold.
            if not (pid := os.fork()):
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        def status(target):
            process = context.Process(target=target)
            process.start()
            process.join()
            return process.exitcode

        for target in (int, grandchild):
            with ThreadPoolExecutor(1) as executor:
                print(executor.submit(status, target).result())
    """)
    assert (result.stdout, result.stderr) == ("0\n0\n", "")


def test_a_child_has_no_descriptors_for_the_children_before_it(run_python):
    result = run_python("""
        from gevent import monkey; monkey.patch_all()
        import multiprocessing, os, sys

        def descriptors():
            found = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    found.append(os.readlink(f"/proc/self/fd/{fd}"))
                except FileNotFoundError:
                    pass
            return [each for each in found if "pidfd" in each]

        def tell(connection, before):
            connection.send((before, len(descriptors())))
            connection.recv()

        def run(connection):
            tell(connection, len(descriptors()))

        fork = multiprocessing.get_context("fork")
        pipes = [fork.Pipe() for _ in range(3)]
        for here, there in pipes:
            fork.Process(target=run, args=(there,), daemon=True).start()
            print(*here.recv(), flush=True)
        if not (child := os.fork()):
            # It goes on with the loop that has watched them.
            here, there = multiprocessing.Pipe()
            here.send(0)
            there.recv()
            print(len(descriptors()))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        for here, there in pipes:
            here.send(None)
    """)
    assert (result.stdout, result.stderr) == ("0 0\n0 0\n0 0\n0\n", "")
