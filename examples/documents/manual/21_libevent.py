# The gevent 0.13 manual, "gevent.core":
# events on a descriptor and on a signal, and the loop that dispatches them.

import os
import signal

from gevent import core

# The manual describes each of these without an example.
reader, writer = os.pipe()

def on_read(event, evtype):
    print(event.events_str, evtype == core.EV_READ, os.read(event.fd, 100), event.arg)

def on_timeout(event, evtype):
    print('timeout', evtype == core.EV_TIMEOUT, event.pending)

core.init()
print(core.get_version() == core.get_header_version(), core.get_method())
event = core.event(core.EV_READ, reader, on_read, 'argument')
print(event.pending)
event.add()
print(event.pending)
core.timer(0.1, os.write, writer, b'data')
print(core.dispatch())
print(core.dispatch())

core.read_event(reader, on_timeout, timeout=0.1)
core.active_event(print, 'in the current loop iteration')
core.dispatch()

def on_signal():
    print('signal')
    usr1.cancel()

usr1 = core.signal(signal.SIGUSR1, on_signal)
core.timer(0, os.kill, os.getpid(), signal.SIGUSR1)
core.dispatch()
