"""The memory of greenlets' first frames, where memory is not as usual."""

import subprocess

import pytest

CROWD = """
import gevent
from gevent.event import Event

def frames(depth, event, value):
    if depth:
        return frames(depth - 1, event, value) + 1
    event.wait()
    return value

def crowd(count, depth):
    stays, ends = Event(), Event()
    jobs = [
        gevent.spawn(frames, depth, stays if i // 4 % 2 else ends, i) for i in range(count)
    ]
    gevent.sleep(0.01)
    ends.set()
    gevent.joinall([job for i, job in enumerate(jobs) if not i // 4 % 2])
    more = [gevent.spawn(frames, depth, stays, i) for i in range(count // 2)]
    gevent.sleep(0.01)
    stays.set()
    gevent.joinall(jobs + more)
    assert [job.value for job in jobs] == [i + depth for i in range(count)]
    assert [job.value for job in more] == [i + depth for i in range(count // 2)]
"""

# An allocator as another extension may install one. It counts the frees of what no allocator of its
# kind has made: pieces that share a page.
FOREIGN = r"""
#include <stddef.h>
#include <sys/mman.h>
typedef struct {
    void *ctx;
    void *(*alloc)(void *, size_t);
    void (*free)(void *, void *, size_t);
} Allocator;
void PyObject_GetArenaAllocator(Allocator *);
void PyObject_SetArenaAllocator(Allocator *);
static Allocator below[64];
static int installed, pass_on, small;
static void *alloc(void *ctx, size_t size) {
    Allocator *next = ctx;
    if (pass_on) return next->alloc(next->ctx, size);
    void *found = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return found == MAP_FAILED ? 0 : found;
}
static void release(void *ctx, void *block, size_t size) {
    Allocator *next = ctx;
    if (pass_on) next->free(next->ctx, block, size);
    else if (size % 4096) small++;
    else munmap(block, size);
}
void install(int passes_on) {
    Allocator *next = &below[installed++];
    PyObject_GetArenaAllocator(next);
    Allocator ours = { next, alloc, release };
    pass_on = passes_on;
    PyObject_SetArenaAllocator(&ours);
}
int freed_small_ones(void) { return small; }
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, require_program):
    """The path of a library with functions `install(passes_on)` and `freed_small_ones()`."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "foreign.c").write_text(FOREIGN)
    command = [require_program("cc"), "-shared", "-fPIC", "-o", "foreign.so", "foreign.c"]
    subprocess.run(command, cwd=folder, check=True)
    return str(folder / "foreign.so")


@pytest.mark.parametrize("mebibytes", [512, 1126, 3000, 8192])
def test_under_a_limit_of_the_address_space(output_of, mebibytes):
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({mebibytes} << 20,) * 2)
{CROWD}
crowd(2000, 2)
crowd(300, 100)
print("done")
"""
    assert output_of(program) == "done\n"


def test_addresses_are_taken_as_needed(output_of):
    # Without overcommitment, all that is mapped counts, used or not.
    program = """
        def mapped():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[0]) * 4096
        before = mapped()
        import gevent
        gevent.joinall([gevent.spawn(int) for _ in range(100)])
        print(mapped() - before < 400 << 20)
        """
    assert output_of(program) == "True\n"


@pytest.mark.parametrize("passes_on", [False, True], ids=["in its place", "in front of it"])
@pytest.mark.parametrize("ending", ["waiting", "new", "thread"])
def test_another_arena_allocator(output_of, foreign, passes_on, ending):
    program = f"""
{CROWD}
import ctypes, gc, threading
foreign = ctypes.PyDLL({foreign!r})
if {ending!r} == "waiting":
    # Begun before, ended after.
    event = Event()
    jobs = [gevent.spawn(frames, 1, event, i) for i in range(500)]
    gevent.sleep(0)
    foreign.install({passes_on:d})
    event.set()
    gevent.joinall(jobs)
    del jobs
elif {ending!r} == "new":
    foreign.install({passes_on:d})
else:
    # Never ended: dropped with their thread.
    begun, installed = threading.Event(), threading.Event()
    def leave():
        jobs = [gevent.spawn(frames, 1, Event(), i) for i in range(50)]
        gevent.sleep(0)
        begun.set()
        installed.wait()
    thread = threading.Thread(target=leave)
    thread.start()
    begun.wait()
    foreign.install({passes_on:d})
    installed.set()
    thread.join()
gc.collect()
crowd(2000, 2)
crowd(50, 200)
print(foreign.freed_small_ones())
"""
    assert output_of(program) == "0\n"


def test_installed_again_and_again(output_of, foreign):
    # Each passes on to the one before, and none to itself.
    program = f"""
{CROWD}
import ctypes
foreign = ctypes.PyDLL({foreign!r})
for _ in range(20):
    foreign.install(1)
    crowd(200, 2)
print("done")
"""
    assert output_of(program) == "done\n"
