"""`freshet doctor`: what is wrong here, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from freshet import __version__
from freshet.cli.output import console, json_target, write_json
from freshet.config import load_settings
from freshet.run.clock_repair import repair_clock, why_folder_ahead
from freshet.run.learned import compare_learned
from learning.choices import chosen_parts, policy_names
from learning.errors import SettingsError
from learning.starting import startable_parts
from serving.chosen_sources import SOURCES
from stream.clock import Clock, WallClock
from stream.errors import FreshetError
from stream.folder import DataFolder

__all__ = ["doctor"]

_PACKAGES = ("numpy", "numba", "hnswlib", "msgspec", "uvicorn", "uvloop", "httptools", "pyarrow")
_SLOW_SYNC_MS = 50.0
_LITTLE_DISK_GB = 2.0
_LETTERS = 3


class _Finding(NamedTuple):
    """One thing looked at: `state` is ok, warn or bad; `advice` says what to do."""

    what: str
    state: str
    found: str
    advice: str = ""


def doctor(
    data: Annotated[Path | None, typer.Option(help="Also look into this data folder.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Also see if this port is free.")
    ] = None,
    mend_clock: Annotated[
        bool,
        typer.Option(
            "--repair-clock",
            help="Let time begin again now in --data: the clock was wrong while it was used.",
        ),
    ] = False,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", callback=json_target, help="Write the findings here.")
    ] = None,
) -> None:
    """Look at this machine, the installation and, when asked, a data folder and a port.

    Example: `freshet doctor --data ./freshet-data --port 8080`
    """
    if mend_clock:
        _repair_clock(data, config)
    checks: list[Callable[[], _Finding]] = [
        _python,
        lambda: _settings(config),
        lambda: _disk(data or Path.cwd()),
        lambda: _sync(data or Path(tempfile.gettempdir()), WallClock()),
        _kernel_cache,
    ]
    if port is not None:
        checks.append(lambda: _port(port))
    if data is not None:
        checks += [
            lambda: _folder(data),
            lambda: _learned(data, config),
            lambda: _clock(data, config),
            lambda: _letters(data),
        ]
    findings = [*(check() for check in checks), *_packages()]
    table = Table("", "what", "found", "what to do", title=f"freshet {__version__}", title_justify="left")
    marks = {"ok": "[green]ok[/]", "warn": "[yellow]look[/]", "bad": "[red]bad[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.what, escape(finding.found), escape(finding.advice))
    console.print(table)
    if json_out is not None:
        write_json(json_out, [finding._asdict() for finding in findings])
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _python() -> _Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return _Finding("Python", "ok", found)


def _settings(config: Path | None) -> _Finding:
    said: list[str] = []
    try:
        settings = load_settings(config, say=said.append)
        startable_parts(settings, chosen_parts(SOURCES, settings.sources), kafka=False, trains=True)
    except SettingsError as error:
        return _Finding("settings", "bad", str(error), "mend freshet.toml or the FRESHET_* variable it names")
    found = "; ".join([f"policies {', '.join(policy_names(settings))}, clock {settings.clock}", *said])
    return _Finding("settings", "ok", found)


def _disk(folder: Path) -> _Finding:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free < _LITTLE_DISK_GB:
        advice = "free some space; a full disk makes Freshet refuse events with 503"
        return _Finding("disk", "warn", f"{free:.1f} GiB free", advice)
    return _Finding("disk", "ok", f"{free:.1f} GiB free")


def _sync(folder: Path, clock: Clock) -> _Finding:
    where = folder if folder.is_dir() else Path(tempfile.gettempdir())
    times = []
    try:
        # A file without a name: nothing is left behind, whatever happens.
        with tempfile.TemporaryFile(dir=where) as file:
            for _ in range(10):
                started = clock.monotonic_s()
                file.write(b"x" * 4_096)
                file.flush()
                os.fsync(file.fileno())
                times.append((clock.monotonic_s() - started) * 1e3)
    except OSError as error:
        found = f"{where} cannot be written: {error.strerror or error}"
        return _Finding("disk sync", "bad", found, "mend its mode, its owner or the disk")
    median = sorted(times)[len(times) // 2]
    if median > _SLOW_SYNC_MS:
        return _Finding("disk sync", "warn", f"{median:.1f} ms", "put the data folder on a faster disk")
    return _Finding("disk sync", "ok", f"{median:.2f} ms")


def _kernel_cache() -> _Finding:
    here = Path(__file__).resolve().parents[1]
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else here
    if os.access(folder if folder.exists() else folder.parent, os.W_OK):
        return _Finding("compiled kernels", "ok", f"kept under {folder.name}")
    advice = "set NUMBA_CACHE_DIR to a writable folder, or every start compiles anew"
    return _Finding("compiled kernels", "warn", "the package folder is read-only", advice)


def _port(port: int) -> _Finding:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return _Finding(
                f"port {port}", "bad", str(error), "choose another with --port, or end who holds it"
            )
    return _Finding(f"port {port}", "ok", "free")


def _folder(data: Path) -> _Finding:
    try:
        facts = DataFolder.describe(data)
    except FreshetError as error:
        return _Finding(f"data folder {data}", "bad", str(error), "see docs/guides/operating.md")
    return _Finding(f"data folder {data}", "ok", facts)


def _learned(data: Path, config: Path | None) -> _Finding:
    if not (data / "freshet.json").is_file():
        return _Finding("what was learned", "ok", "no data folder, nothing kept")
    try:
        learned = compare_learned(data, load_settings(config))
    except SettingsError:
        return _Finding("what was learned", "warn", "not looked at", "mend the settings first")
    except FreshetError as error:
        return _Finding("what was learned", "bad", str(error), "mend the data folder first")
    if learned.refused:
        advice = "a start ends with it: put the settings back, or do as it says"
        return _Finding("what was learned", "bad", learned.refused, advice)
    if learned.changed:
        advice = "nothing, if that is meant; see docs/guides/operating.md"
        return _Finding("what was learned", "warn", "; ".join(learned.changed), advice)
    return _Finding("what was learned", "ok", f"{learned.found}, under these settings")


def _clock(data: Path, config: Path | None) -> _Finding:
    if not (data / "freshet.json").is_file():
        return _Finding("times stored", "ok", "no data folder, none kept")
    try:
        why = why_folder_ahead(data, load_settings(config), WallClock())
    except FreshetError as error:
        return _Finding("times stored", "bad", str(error), "mend the data folder first")
    if why:
        advice = (
            f"set the clock right; if it is, stop Freshet and `freshet doctor --data {data} --repair-clock`"
        )
        return _Finding("times stored", "bad", why.partition(":")[0], advice)
    return _Finding("times stored", "ok", "none that has not come")


def _repair_clock(data: Path | None, config: Path | None) -> None:
    if data is None:
        msg = "expected --data with the folder to mend; topics on Kafka: `freshet topics repair-clock`"
        raise typer.BadParameter(msg, param_hint="--repair-clock")
    settings, clock = load_settings(config), WallClock()
    if not why_folder_ahead(data, settings, clock):
        console.print(f"{escape(str(data))}: no time that has not come; nothing was changed")
        return
    console.print(escape(repair_clock(data, settings, clock)))


def _letters(data: Path) -> _Finding:
    if not (data / "freshet.json").is_file():
        return _Finding("dead letters", "ok", "no data folder, none kept")
    try:
        count, newest = DataFolder(data, create=False).newest_letters(_LETTERS)
    except FreshetError as error:
        return _Finding("dead letters", "bad", str(error), "mend the data folder first")
    if not count:
        return _Finding("dead letters", "ok", "none")
    reasons = dict.fromkeys(letter.reason for letter in newest)
    advice = "mend who sends them; the original bytes are kept, see docs/reference/files.md"
    return _Finding("dead letters", "warn", f"{count:,} refused; newest: {'; '.join(reasons)}", advice)


def _packages() -> list[_Finding]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(_Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(_Finding(name, "bad", "not installed", "pip install freshet"))
    return found
