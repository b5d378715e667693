"""The environment of processes that tests start."""

import os

OWN_SETTINGS = ("PYTHON", "GEVENT")


def clean_environment(**extra: str) -> dict[str, str]:
    """Return the environment without the settings of Python and gevent that would change a test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OWN_SETTINGS)}
    return kept | extra
