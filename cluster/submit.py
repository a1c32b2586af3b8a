"""Submission of a job described by a file, with its log and exit status.

    python cluster/submit.py cluster/jobs/train.yaml

RAY_API_SERVER_ADDRESS is the address of the jobs API, RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH
give the token.
Ctrl-C leaves the job running; `ray job stop ID` stops it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import yaml

RUNTIME_ENV = Path(__file__).parent / "jobs" / "runtime_env.yaml"


def read_job(path: Path) -> dict[str, Any]:
    """Keyword arguments for Ray's ``submit_job``."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


async def follow(client: Any, job_id: str) -> None:
    """Print the log of a job until it ends."""
    async for lines in client.tail_job_logs(job_id):
        click.echo(lines, nl=False)


@click.command()
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "job_id", help="Submission id, which must be unused.")
@click.option("--runtime-env", type=click.Path(exists=True, path_type=Path), default=RUNTIME_ENV)
@click.option("--no-wait", is_flag=True, help="Do not follow the log.")
def main(job: Path, job_id: str | None, runtime_env: Path, no_wait: bool) -> None:
    """Submit JOB, a file such as cluster/jobs/train.yaml."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    try:
        client = JobSubmissionClient()
        env = yaml.safe_load(runtime_env.read_text(encoding="utf-8"))
        job_id = client.submit_job(**read_job(job), submission_id=job_id, runtime_env=env)
    except (ConnectionError, RuntimeError, ValueError) as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error
    click.echo(f"job {job_id}")
    if no_wait:
        return
    asyncio.run(follow(client, job_id))
    status = client.get_job_status(job_id)
    click.echo(f"job {job_id}: {status}")
    raise SystemExit(0 if status == JobStatus.SUCCEEDED else 1)


if __name__ == "__main__":
    main()
