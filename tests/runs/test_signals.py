"""Signals that ask a run to end."""

import os
import signal

import pytest

from rllib_agentmixer.runs.signals import END_SIGNALS, exit_on_signals, stop_requests


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_run_collects_signals_and_handlers_return(number):
    before = signal.getsignal(number)
    with stop_requests() as received:
        os.kill(os.getpid(), number)
        assert received == [number]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_start_exits_with_the_signals_status(number):
    with pytest.raises(SystemExit) as exited, exit_on_signals():
        os.kill(os.getpid(), number)
    assert exited.value.code == 128 + number


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_requests() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_rays_own_status_is_translated():
    with pytest.raises(SystemExit) as exited, exit_on_signals():
        raise SystemExit(signal.SIGTERM)  # as Ray's handler does
    assert exited.value.code == 143
    with pytest.raises(SystemExit) as exited, exit_on_signals():
        raise SystemExit(3)
    assert exited.value.code == 3
