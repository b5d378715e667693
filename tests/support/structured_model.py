"""A model of cancel scopes and task groups, for programs whose greenlets wait at known places.

A program is a list of statements: ``("wait", name, cleans)``, ``("scope", name, shield, body)`` and
``("group", name, programs, body)``. A wait ends as the model's user says, by :meth:`Model.release`
or :meth:`Model.fail`, or by an exception from outside. With *cleans* it then waits once more, at
the place *name* + "c", before the exception goes on.
"""

from collections import deque


class Raised:
    """An exception: ``cancelled``, ``killed``, ``error`` or ``group``, and what it is of."""

    def __init__(self, kind, of, context=None):
        self.kind = kind
        self.of = of
        self.context = context

    def __str__(self):
        return f"{self.kind} {self.of}"

    def append_context(self, other):
        known, at = [], other
        while at is not None:
            known.append(at)
            at = at.context
        at = self
        while at.context is not None and at.context not in known:
            at = at.context
        if at is not other:
            at.context = other


class Block:
    """A scope or a group that a greenlet is in, and what of its body is left to do."""

    def __init__(self, kind, name, rest, shield=False):
        self.kind = kind
        self.name = name
        self.rest = rest
        self.shield = shield
        self.cancelled = False
        self.delivery = None
        self.closing = False
        # Of a group.
        self.children = []
        self.errors = []
        self.leaving = None
        self.own = False
        self.body_error = None


class Worker:
    """A greenlet."""

    def __init__(self, name, program, group=None):
        self.name = name
        self.group = group
        self.blocks = [Block("function", name, list(program))]
        self.started = False
        self.outcome = None
        #: The place it waits at, and the exception that is being cleaned up after there.
        self.place = None
        self.handled = None
        self.held = deque()

    @property
    def shielded(self):
        return any(block.shield for block in self.blocks)

    def shielded_from(self, scope):
        inside = self.blocks[self.blocks.index(scope) + 1 :]
        return any(block.shield for block in inside)


class Model:
    """The state of a program; every call carries out all that follows from it."""

    def __init__(self, program):
        self.queue = deque()
        self.log = []
        self.blocks = {}
        self.workers = {}
        self.caught = set()
        self._spawn("main", program)
        self._settle()

    # The steps of the user.

    def release(self, worker):
        self._resume(self.workers[worker], None)
        self._settle()

    def fail(self, worker, number):
        worker = self.workers[worker]
        self._resume(worker, Raised("error", number, worker.handled))
        self._settle()

    def kill(self, worker, number):
        self._throw(self.workers[worker], Raised("killed", number))
        self._settle()

    def cancel(self, name):
        self._cancel(self.blocks[name][1])
        self._settle()

    def waiting(self):
        """The names of the greenlets that wait at a place, with it."""
        return {
            name: worker.place
            for name, worker in self.workers.items()
            if worker.place is not None and worker.place != "exit"
        }

    def active(self):
        """The names of the blocks that may be cancelled."""
        return [name for name, (worker, block) in self.blocks.items() if block in worker.blocks]

    # The consequences.

    def _settle(self):
        while self.queue:
            task, *args = self.queue.popleft()
            task(*args)

    def _spawn(self, name, program, group=None):
        worker = self.workers[name] = Worker(name, program, group)
        self.queue.append((self._start, worker))
        return worker

    def _start(self, worker):
        if worker.outcome is None:
            worker.started = True
            self._go_on(worker)

    def _throw(self, worker, raised):
        """Do what `kill` does: a greenlet that has not begun ends at once."""
        if worker.outcome is not None:
            return
        if not worker.started:
            self._end(worker, raised)
            return
        self.queue.append((self._thrown, worker, raised))

    def _thrown(self, worker, raised):
        if worker.outcome is not None:
            return
        if worker.shielded:
            worker.held.append(raised)
        else:
            self._interrupt(worker, raised)

    def _cancel(self, block):
        if block.cancelled:
            return
        block.cancelled = True
        worker = self.blocks[block.name][0]
        if not block.closing:
            block.delivery = "queued"
            self.queue.append((self._deliver, worker, block))
        for child in list(block.children):
            self._throw(child, Raised("cancelled", block.name))

    def _deliver(self, worker, block):
        if block not in worker.blocks or block.closing or block.delivery != "queued":
            return
        if worker.shielded_from(block):
            block.delivery = "held"
            return
        block.delivery = "raised"
        self._interrupt(worker, Raised("cancelled", block.name))

    def _interrupt(self, worker, raised):
        """Raise something in a waiting greenlet from outside."""
        if raised.kind == "cancelled":
            handled = worker.handled
            if worker.place == "exit":
                handled = worker.blocks[-1].body_error
            raised.context = handled
        if worker.place == "exit":
            group = worker.blocks[-1]
            group.leaving = outranking(group.leaving, raised)
            self._wait_for_children(worker)
        else:
            self._resume(worker, raised)

    def _resume(self, worker, raised):
        """Go on at the place where a greenlet waits."""
        place, worker.place = worker.place, None
        name, cleans = place
        self.log.append((worker.name, name, "ok" if raised is None else str(raised)))
        if raised is not None and cleans:
            worker.handled = raised
            worker.place = (name + "c", False)
            return
        before, worker.handled = worker.handled, None
        if raised is None:
            raised = before
        self._go_on(worker, raised)

    def _go_on(self, worker, raised=None):
        """Run a greenlet to where it waits next; *raised* is on its way, if anything."""
        while True:
            block = worker.blocks[-1]
            if raised is None and block.rest and not block.closing:
                kind, name, *given = block.rest.pop(0)
                if kind == "wait":
                    worker.place = (name, given[0])
                    return
                inner = Block(kind, name, list(given[1]), kind == "scope" and given[0])
                self.blocks[name] = (worker, inner)
                worker.blocks.append(inner)
                if kind == "group":
                    for number, program in enumerate(given[0]):
                        child = self._spawn(f"{name}.{number}", program, inner)
                        inner.children.append(child)
                continue
            if block.kind == "function":
                self._end(worker, raised)
                return
            if block.kind == "group":
                if not self._close_group(worker, block, raised):
                    return
                raised = self._outcome_of_group(worker, block)
            else:
                raised = self._leave_scope(worker, block, raised)

    def _leave_scope(self, worker, block, raised):
        interrupted = None
        own = raised is not None and (raised.kind, raised.of) == ("cancelled", block.name)
        if own:
            self.caught.add(block.name)
            interrupted = find_interrupted(raised, worker)
        worker.blocks.pop()
        busy = (raised is not None and not own) or interrupted is not None
        released = self._release(worker, busy)
        if interrupted is not None:
            return interrupted
        return released if own or raised is None else raised

    def _release(self, worker, busy):
        now = None
        if not worker.shielded:
            while worker.held:
                kill = worker.held.popleft()
                if now is None and not busy:
                    now = kill
                else:
                    self.queue.append((self._thrown, worker, kill))
        for block in worker.blocks:
            if block.delivery != "held" or worker.shielded_from(block):
                continue
            if now is None and not busy:
                block.delivery = "raised"
                now = Raised("cancelled", block.name)
            else:
                block.delivery = "queued"
                self.queue.append((self._deliver, worker, block))
        return now

    def _close_group(self, worker, block, raised):
        """End the body of a group; return true if there are no children to wait for."""
        block.closing = True
        block.body_error = raised
        block.own = raised is not None and (raised.kind, raised.of) == ("cancelled", block.name)
        if block.own:
            block.leaving = find_interrupted(raised, worker)
        elif raised is not None:
            if raised.kind in ("error", "group"):
                block.errors.append(raised)
            else:
                block.leaving = raised
            self._cancel(block)
        return self._children_are_over(worker, block)

    def _children_are_over(self, worker, block):
        if block.children and block.leaving is not None:
            self._cancel(block)
        if block.children:
            worker.place = "exit"
            return False
        worker.place = None
        return True

    def _wait_for_children(self, worker):
        block = worker.blocks[-1]
        if worker.place == "exit" and self._children_are_over(worker, block):
            self._go_on(worker, self._outcome_of_group(worker, block))

    def _outcome_of_group(self, worker, block):
        worker.blocks.pop()
        if block.own:
            self.caught.add(block.name)
        error = None
        if block.errors:
            error = Raised("group", sorted(map(str, block.errors)), block.body_error)
        if block.leaving is None:
            return error
        if error is not None:
            error.context = None
            block.leaving.append_context(error)
        return block.leaving

    def _end(self, worker, raised):
        worker.outcome = "value" if raised is None else str(raised)
        group = worker.group
        if group is None:
            return
        group.children.remove(worker)
        if raised is not None and raised.kind in ("error", "group"):
            group.errors.append(raised)
            self._cancel(group)
        if not group.children and group.closing:
            self.queue.append((self._wait_for_children_of, group))

    def _wait_for_children_of(self, group):
        worker = self.blocks[group.name][0]
        if worker.blocks[-1] is group:
            self._wait_for_children(worker)


def find_interrupted(raised, worker):
    """Return the exception that the cancellation of a scope interrupted, and that goes on."""
    around = {block.name for block in worker.blocks}
    at, seen = raised.context, set()
    while at is not None and at not in seen:
        seen.add(at)
        if at.kind == "killed" or (at.kind == "cancelled" and at.of in around):
            return at
        at = at.context
    return None


def outranking(old, new):
    """Return which of two exceptions goes on that came to a group one after the other."""
    if old is not None and old.kind == "killed":
        return old
    if old is not None:
        new.append_context(old)
    return new
