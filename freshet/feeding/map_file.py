"""The file of `--map`: what the rows of a team's own files are, in the words of `[[kafka.sources]]`."""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from freshet.feeding.map_findings import Source
from freshet.feeding.mapped_rows import MappedRows
from learning.errors import SettingsError
from learning.settings_errors import explained
from stream.event_mapping import EventMapping

__all__ = ["FileMap", "FileSource", "load_map"]


class FileSource(EventMapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of event that rows of a file are.

    A row becomes an event for each source whose `where` holds. A path may also be `$row`: the name of the
    file and the number of the row in it, from 1, which serves as a `request_id` where the log has none.

    Example:
        >>> fields = {"request_id": "$row", "user_id": "who", "items": "shown", "ts": "at"}
        >>> FileSource("impression", fields, separator="|").file
        '*'
    """

    places: ClassVar[tuple[str, ...]] = ("$row",)

    file: Annotated[str, Meta(min_length=1)] = "*"
    """Which files, by a pattern for their names such as `orders-*.csv`."""


class _Map(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: tuple[FileSource, ...]


class FileMap:
    """All sources of a map; `digest` tells it from others."""

    def __init__(self, sources: Sequence[FileSource], digest: int = 0) -> None:
        self._sources = list(sources)
        self.digest = digest

    def of(self, path: Path) -> MappedRows:
        """The rows of one file as this map has them.

        Raises:
            SettingsError: no source is for a file of that name.
        """
        chosen = [
            Source(f"sources[{n}]", source)
            for n, source in enumerate(self._sources)
            if fnmatchcase(path.name, source.file)
        ]
        if not chosen:
            patterns = ", ".join(dict.fromkeys(source.file for source in self._sources))
            msg = f"{path}: no source of the map is for it; expected a name like {patterns}, got {path.name}"
            raise SettingsError(msg)
        return MappedRows(path, chosen)


def load_map(path: Path) -> FileMap:
    """Read a map.

    Raises:
        SettingsError: it cannot be read, or says something that cannot be; names the place.

    Example:
        >>> import tempfile
        >>> home = tempfile.TemporaryDirectory()
        >>> file = Path(home.name) / "map.toml"
        >>> lines = ['[[sources]]', 'type = "click"', 'fields = { item_id = "sku", user_id = "who" }']
        >>> _ = file.write_text("\\n".join(lines))
        >>> load_map(file)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        learning.errors.SettingsError: map ...: sources[0]: expected where ts of click stands...
        >>> home.cleanup()
    """
    try:
        data = path.read_bytes()
        found = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"map {path}: expected TOML in UTF-8, got something else: {error}"
        raise SettingsError(msg) from error
    except OSError as error:
        msg = f"map {path}: {error.strerror or error}"
        raise SettingsError(msg) from error
    if not found.get("sources"):
        msg = f"map {path}: expected at least one [[sources]], got {', '.join(found) or 'nothing'}"
        raise SettingsError(msg)
    try:
        sources = msgspec.convert(found, _Map).sources
    except msgspec.ValidationError as error:
        msg = f"map {path}: {explained(str(error), found, _Map)}; see docs/guides/files.md"
        raise SettingsError(msg) from None
    return FileMap(sources, zlib.crc32(data))
