"""What makes :mod:`multiprocessing` cooperative, and billiard, Celery's fork of it.

A helper for :mod:`gevent.monkey`, which applies it together with ``thread``: to what is imported
by then at once, to the rest as it is imported. The processes themselves, their start methods and
what goes over the wire stay as they are, so patched and unpatched processes work together.
"""
