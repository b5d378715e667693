# The gevent 0.13 manual, "gevent.queue":
# waiting until enqueued tasks are completed.

import gevent
from gevent.queue import JoinableQueue

# The text leaves these open.
num_worker_threads = 3

def source():
    return range(10)

def do_work(item):
    gevent.sleep(0.01 * item)
    print('done with %s' % item)

def worker():
    while True:
        item = q.get()
        try:
            do_work(item)
        finally:
            q.task_done()

q = JoinableQueue()
for i in range(num_worker_threads):
     gevent.spawn(worker)

for item in source():
    q.put(item)

q.join()  # block until all tasks are done
print('all tasks are done')
