"""Nudges are hints: they wake at once, and losing one hurts nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.engine import Nudge, NudgeSocket, SocketNotifier
from stream.errors import LogError


def test_the_last_nudge_arrives(tmp_path: Path) -> None:
    socket = NudgeSocket(tmp_path / "w.sock")
    notifier = SocketNotifier([tmp_path / "w.sock"])
    for seq in range(5):
        notifier.notify(seq, 10 * seq)
    assert socket.wait(120) == Nudge(4, 40)
    assert socket.drain() is None
    socket.close()
    notifier.close()


def test_nobody_listening_or_a_full_queue_stops_no_one(tmp_path: Path) -> None:
    socket = NudgeSocket(tmp_path / "w.sock")
    notifier = SocketNotifier([tmp_path / "nobody.sock", tmp_path / "w.sock"])
    for seq in range(5_000):
        notifier.notify(seq, 0)
    assert socket.drain() is not None
    socket.close()
    notifier.notify(1, 1)
    notifier.close()


def test_a_path_too_long_for_the_kernel_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    socket = NudgeSocket(folder / "learner.sock")
    notifier = SocketNotifier([folder / "learner.sock"])
    notifier.notify(7, 8)
    assert socket.wait(120) == Nudge(7, 8)
    socket.close()
    notifier.close()


def test_a_socket_takes_the_place_of_one_that_a_killed_process_left(tmp_path: Path) -> None:
    left = NudgeSocket(tmp_path / "w.sock")
    NudgeSocket(tmp_path / "w.sock").close()
    left.close()
    with pytest.raises(LogError, match="cannot be made"):
        NudgeSocket(tmp_path / "missing" / "w.sock")
