"""Wherever the process dies, every record arrives once, in one run."""

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rllib_agentmixer.tracking import remote_run
from rllib_agentmixer.tracking.identity import RunIdentity
from rllib_agentmixer.tracking.remote_run import RemoteRun
from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.tracking.sender import Sender

WRITING = ("create_run", "log_batch", "log_dict", "update_run", "set_terminated")
STEPS = [(step, float(step)) for step in range(10, 70, 10)]


class KilledError(BaseException):
    """Ends the process as far as the code under test can tell."""


class Fate:
    """Counts what happens outside the process and ends it at one such event.

    Args:
        place: number of the event; None for never.
        moment: ``before`` or ``after`` it.
    """

    def __init__(self, place, moment):
        self.place, self.moment, self.count = place, moment, 0

    def wrap(self, honest):
        def call(*arguments, **settings):
            is_now = self.count == self.place
            self.count += 1
            if is_now and self.moment == "before":
                raise KilledError
            result = honest(*arguments, **settings)
            if is_now:
                raise KilledError
            return result

        return call


def client_of(uri, fate):
    client = MlflowClient(tracking_uri=uri)
    for name in WRITING:
        setattr(client, name, fate.wrap(getattr(client, name)))
    return client


def write_records(folder, uri):
    RunIdentity.fresh(uri, "once", folder.name).write(folder)
    log = RunLog(folder)
    log.parameters({"lr": 1.0})
    for step, value in STEPS[:2]:
        log.metrics({"a": value, "b": -value}, step)
    log.tags({"seed": "1"})
    for step, value in STEPS[2:]:
        log.metrics({"a": value, "b": -value}, step)
    log.status("FINISHED")
    log.spool.close()


def send_all(folder, uri, fate, monkeypatch):
    """One life of a process."""
    with monkeypatch.context() as patch:
        patch.setattr(remote_run, "MOST_METRICS", 4)  # two iterations a request
        for owner, name in ((remote_run.Spool, "remember_sent"), (RunIdentity, "write")):
            patch.setattr(owner, name, fate.wrap(getattr(owner, name)))
        run = RemoteRun(folder, client_of(uri, fate))
        while run.send():
            pass


def num_events(folder, uri, monkeypatch):
    fate = Fate(None, "")
    write_records(folder, uri)
    send_all(folder, uri, fate, monkeypatch)
    return fate.count


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_may_die_at_any_event(tmp_path, mlflow_store, monkeypatch, held, moment):
    (tmp_path / "alive").mkdir()
    count = num_events(tmp_path / "alive", mlflow_store, monkeypatch)
    assert count > 15
    for place in range(count):
        folder = tmp_path / f"{moment}{place}"
        folder.mkdir()
        write_records(folder, mlflow_store)
        with pytest.raises(KilledError):
            send_all(folder, mlflow_store, Fate(place, moment), monkeypatch)
        send_all(folder, mlflow_store, Fate(None, ""), monkeypatch)
        now = held(folder)
        assert now.points("a") == STEPS, place
        assert now.points("b") == [(step, -value) for step, value in STEPS]
        assert now.run.info.status == "FINISHED"
        assert now.run.data.params == {"lr": "1.0"}
        runs = now.client.search_runs(
            [now.run.info.experiment_id], f"attributes.run_name = '{folder.name}'"
        )
        assert len(runs) == 1


def test_a_place_that_was_forgotten_sends_nothing_twice(tmp_path, mlflow_store, monkeypatch, held):
    write_records(tmp_path, mlflow_store)
    send_all(tmp_path, mlflow_store, Fate(None, ""), monkeypatch)
    (tmp_path / "mlflow_sent.json").unlink()
    sent = []
    honest = MlflowClient.log_batch
    monkeypatch.setattr(
        MlflowClient,
        "log_batch",
        lambda self, run, metrics=(), **rest: (
            sent.extend(metrics),
            honest(self, run, metrics=metrics, **rest),
        ),
    )
    # MLflow itself drops exact repetitions; nothing must hang on that.
    send_all(tmp_path, mlflow_store, Fate(None, ""), monkeypatch)
    assert sent == []
    assert held(tmp_path).points("a") == STEPS


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_request_without_an_answer_is_looked_up_before_it_is_repeated(
    tmp_path, mlflow_store, held, is_accepted
):
    write_records(tmp_path, mlflow_store)
    client = MlflowClient(tracking_uri=mlflow_store)
    honest, values, answers = client.log_batch, [], [False, True]

    def log_batch(run_id, metrics=(), **rest):
        has_answer = not metrics or answers.pop() if len(answers) else True
        if has_answer or is_accepted:
            values.extend(metrics)
            honest(run_id, metrics=metrics, **rest)
        if not has_answer:
            raise ConnectionError("the line went dead")

    client.log_batch = log_batch
    run = RemoteRun(tmp_path, client)
    failures = 0
    for _ in range(20):
        try:
            if not run.send():
                break
        except ConnectionError:
            failures += 1
    assert failures == 1
    assert len(values) == 2 * len(STEPS)
    assert held(tmp_path).points("a") == STEPS


def test_an_outage_in_the_middle_delays_but_keeps_order(tmp_path, mlflow_store, held, caplog):
    """A store that is away for some requests, seen from the thread that sends."""
    write_records(tmp_path, mlflow_store)
    client = MlflowClient(tracking_uri=mlflow_store)
    honest, left = client.log_batch, [3]

    def log_batch(*arguments, **settings):
        if settings.get("metrics") and left[0]:
            left[0] -= 1
            raise MlflowException("API request to http://x failed with exception refused")
        return honest(*arguments, **settings)

    client.log_batch = log_batch
    sender = Sender(lambda: client, send_every=0.01)
    sender.add(tmp_path)
    assert sender.close(20.0)
    assert held(tmp_path).points("a") == STEPS
    assert caplog.text.count("MLflow is unavailable") == 1
    assert caplog.text.count("MLflow is available again") == 1
