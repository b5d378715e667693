"""Compression of messages (RFC 7692)."""

from typing import NamedTuple

__all__ = ["PerMessageDeflate"]


class PerMessageDeflate(NamedTuple):
    """The parameters of compression: the most that one side offers, or those agreed on.

    Without context takeover each message is compressed by itself, which needs less memory between
    messages and makes them larger. A window of n bits takes 2**n bytes, from 9 to 15.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15
