"""Compression of messages (RFC 7692)."""

from typing import NamedTuple

__all__ = ["PerMessageDeflate"]


class PerMessageDeflate(NamedTuple):
    """How messages are compressed: what one side would have at most, or what both agreed on.

    Without context, messages are compressed one by one, which needs less memory between them and
    makes them larger. A window of n bits takes 2**n bytes, from 9 to 15.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15
