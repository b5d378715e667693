"""A build backend that only says what pip asks for before it keeps a source distribution."""

from __future__ import annotations

from pathlib import Path

DISTRIBUTION = "gevent-0.13.1"


class __legacy__:
    """The backend of a project without a pyproject.toml."""

    @staticmethod
    def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
        """Return no requirements: nothing is built."""
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(folder: str, config_settings: object = None) -> str:
        """Write the name and the version, and return where they are."""
        name, _, version = DISTRIBUTION.partition("-")
        made = Path(folder) / f"{DISTRIBUTION}.dist-info"
        made.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (made / "METADATA").write_text(text)
        return made.name
