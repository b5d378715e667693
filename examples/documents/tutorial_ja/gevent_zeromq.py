"""The name by which the tutorial imports what is part of pyzmq today, as `zmq.green`."""

from zmq import green as zmq

__all__ = ["zmq"]
