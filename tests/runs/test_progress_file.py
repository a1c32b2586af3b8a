"""Every row of a run reaches its file once, whole, and in order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_agentmixer.runs.progress_file import PROGRESS, ProgressFile, read_progress


def test_rows_are_appended_to_those_that_are_kept(tmp_path):
    (tmp_path / PROGRESS).write_text('{"n": 1}\n{"n": 7}\n{"n": 8')
    file = ProgressFile(tmp_path, [{"n": 1}])
    assert file.append({"n": 2})
    assert (tmp_path / PROGRESS).read_text() == '{"n": 1}\n{"n": 2}\n'


FULL_FOR_A_WHILE = """
import logging, resource, signal, sys
from pathlib import Path
from rllib_agentmixer.runs.progress_file import ProgressFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = ProgressFile(Path(sys.argv[1]), [])
taken = []
for n in range(9):
    soft = 25 if 2 <= n < 6 else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    taken.append(file.append({"n": n}))
    sys.stdout.write(str(int(taken[-1])))
"""


def test_rows_wait_while_the_disk_is_full_and_none_is_lost(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_FOR_A_WHILE, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout == "110000111", done.stderr
    assert done.stderr.count("[Errno 27] File too large); they are buffered") == 1
    assert "is writable again: 5 rows were written" in done.stderr
    assert (tmp_path / PROGRESS).read_text() == "".join(f'{{"n": {n}}}\n' for n in range(9))


def test_half_a_line_of_a_failed_attempt_is_written_over(tmp_path, monkeypatch):
    file = ProgressFile(tmp_path, [])
    with (tmp_path / PROGRESS).open("a") as other:
        other.write('{"n": 1, "much": "longer')
    file.append({"n": 2})
    assert (tmp_path / PROGRESS).read_text() == '{"n": 2}\n'


def test_what_json_does_not_know_is_written_as_text(tmp_path):
    row = {"n": 1, "place": Path("a/b")}
    file = ProgressFile(tmp_path, [row])
    file.append(row)
    assert read_progress(tmp_path) == [{"n": 1, "place": "a/b"}] * 2


def test_a_folder_that_takes_nothing_is_an_error_at_the_start(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OSError, match="run"):
        ProgressFile(tmp_path / "run", [])
    assert os.listdir(tmp_path) == ["run"]
