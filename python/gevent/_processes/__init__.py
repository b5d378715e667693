"""Patches that make :mod:`multiprocessing` cooperative, and billiard, Celery's fork of it.

A helper for :mod:`gevent.monkey`, which applies it together with ``thread``: immediately to modules
imported by then, to the rest as they are imported. The processes themselves, their start methods
and what goes over the wire stay as they are, so patched and unpatched processes work together.
"""
