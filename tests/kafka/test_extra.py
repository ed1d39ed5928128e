"""Without the extra everything else works, and what needs it says how to get it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(["kafka", "aiokafka", "faust"]))
import stream.kafka.bundles, stream.kafka.layout, stream.kafka.mapping
from freshet.cli import app
from typer.testing import CliRunner

feed, serve = ["feed", sys.argv[0], "--kafka", "127.0.0.1:1"], ["serve", "--data", "nowhere"]
for words in (["topics", "check"], feed, serve, ["schema", "click"]):
    ran = CliRunner().invoke(app, words)
    print(ran.exit_code, ran.exception)
"""


def test_only_commands_that_need_the_client_ask_for_the_extra(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    ran = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    advice = "1 Kafka needs the extra `kafka`, which is not installed here; run: pip install 'freshet[kafka]'"
    assert ran.stdout.splitlines() == [advice, advice, advice, "0 None"]
