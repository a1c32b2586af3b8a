"""Records lie on disk in order, whatever happens while they are written."""

import errno

import pytest

from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.tracking.spool import Spool, sending_lock


def row(step, **values):
    return {"kind": "metrics", "time": step, "step": step, "values": values or {"a": float(step)}}


def steps(spool, start=0):
    return [entry.record["step"] for entry in spool.entries(start)]


def test_records_are_read_in_order_and_from_any_place(tmp_path):
    spool = Spool(tmp_path)
    assert steps(spool) == []
    for step in (1, 2, 3):
        spool.append(row(step))
    entries = list(spool.entries())
    assert [entry.record["step"] for entry in entries] == [1, 2, 3]
    assert steps(spool, entries[0].end) == [2, 3]
    assert entries[-1].end == spool.size == spool.path.stat().st_size
    assert spool.last_step() == 3


def test_the_last_step_is_the_highest_one_that_metrics_were_written_for(tmp_path):
    spool = Spool(tmp_path)
    assert spool.last_step() == -1
    for step in (5, 9, 7):
        spool.append(row(step))
    spool.append({"kind": "status", "status": "FINISHED"})
    assert spool.last_step() == 9


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_line_that_a_kill_cut_short_is_no_record_and_is_not_continued(tmp_path, share):
    spool = Spool(tmp_path)
    spool.append(row(1))
    whole = spool.size
    spool.append(row(2))
    spool.close()
    torn = whole + int(share * (spool.size - whole))
    with spool.path.open("rb+") as file:
        file.truncate(torn)
    again = Spool(tmp_path)
    assert steps(again) == [1]
    again.append(row(3))
    assert steps(again) == [1, 3]


def test_a_single_torn_line_is_removed(tmp_path):
    spool = Spool(tmp_path)
    spool.path.write_bytes(b'{"kind": "met')
    spool.append(row(4))
    assert steps(spool) == [4]


def test_a_damaged_line_is_left_out(tmp_path, caplog):
    spool = Spool(tmp_path)
    spool.append(row(1))
    spool.path.write_bytes(spool.path.read_bytes() + b"\x00garbage\n\n")
    spool.append(row(2))
    assert steps(spool) == [1, 2]
    assert "damaged line" in caplog.text


class FullDisk:
    """Takes half of what it is given."""

    def __init__(self, file):
        self.file = file
        self.fileno = file.fileno

    def write(self, line):
        self.file.write(line[: len(line) // 2])
        raise OSError(errno.ENOSPC, "no space left")


def test_a_full_disk_loses_one_record_and_no_other(tmp_path):
    spool = Spool(tmp_path)
    spool.append(row(1))
    file = spool._file
    spool._file = FullDisk(file)
    with pytest.raises(OSError, match="no space left"):
        spool.append(row(2))
    spool._file = file
    spool.append(row(3))
    assert steps(spool) == [1, 3]


def test_what_has_arrived_is_remembered(tmp_path):
    spool = Spool(tmp_path)
    assert spool.sent == 0
    assert not spool.has_unsent
    spool.append(row(1))
    assert spool.has_unsent
    spool.remember_sent(spool.size)
    assert Spool(tmp_path).sent == spool.size
    assert not spool.has_unsent
    (tmp_path / "mlflow_sent.json").write_text('{"by')
    assert spool.sent == 0
    (tmp_path / "mlflow_sent.json").write_text('{"bytes": 99999}')  # of a longer file
    assert spool.sent == spool.size


def test_one_process_sends_at_a_time(tmp_path):
    first, second = sending_lock(tmp_path), sending_lock(tmp_path)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()


def test_records_wait_while_the_disk_is_full_and_arrive_in_order(tmp_path, monkeypatch, caplog):
    log = RunLog(tmp_path)
    log.metrics({"a": 1.0}, 10)
    append = Spool.append

    def full(self, record):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Spool, "append", full)
    log.metrics({"a": 2.0}, 20)
    log.tags({"x": "y"})
    log.metrics({"a": 3.0}, 30)
    assert caplog.text.count("cannot be written") == 1
    monkeypatch.setattr(Spool, "append", append)
    log.metrics({"a": 4.0}, 40)
    log.metrics({"a": 5.0}, 50)
    records = [entry.record for entry in Spool(tmp_path).entries()]
    assert [record["kind"] for record in records] == [
        "metrics",
        "metrics",
        "tags",
        *["metrics"] * 3,
    ]
    found = [record["step"] for record in records if record["kind"] == "metrics"]
    assert found == [10, 20, 30, 40, 50]
