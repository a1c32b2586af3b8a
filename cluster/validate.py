"""Offline validation of every file of this folder; exit code 1 if there are findings.

    python cluster/validate.py [FILE ...]

Each file is checked by its consumer: ``ray up`` by Ray's validator, KubeRay's kinds by its
schemas made strict, core objects by Kubernetes' schemas, the Containerfile by hadolint, scripts
by bash, units by systemd. Every command line is parsed by the program that it calls. Project
rules come on top: a token everywhere, fixed image versions, only rollouts on spot machines, runs
in the shared folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

if not __package__:  # run as a program
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click

from cluster.checks_kubernetes import check_manifest, check_values
from cluster.checks_machines import (
    check_container,
    check_job_file,
    check_ray_up,
    check_readme,
    check_runtime_env_file,
    check_slurm,
    check_unit,
)

FOLDER = Path(__file__).resolve().parent

CHECKS: dict[str, Callable[[str], Iterable[str]]] = {
    "README.md": check_readme,
    "Containerfile": check_container,
    "jobs/runtime_env.yaml": check_runtime_env_file,
    "jobs/train.yaml": check_job_file,
    "jobs/tune.yaml": check_job_file,
    "kuberay/networkpolicy.yaml": check_manifest,
    "kuberay/operator-values.yaml": check_values,
    "kuberay/raycluster.yaml": check_manifest,
    "kuberay/rayjob.yaml": check_manifest,
    "kuberay/storage.yaml": check_manifest,
    "ray-up/aws.yaml": check_ray_up,
    "ray-up/gcp.yaml": check_ray_up,
    "ray-up/onprem.yaml": check_ray_up,
    "slurm/train.sbatch": check_slurm,
    "systemd/ray-worker.service": check_unit,
}
"""File -> check of its text."""

UNCHECKED = {"kuberay/schemas.json"}
"""Files that are not deployed: the schemas themselves."""


def findings(name: str, text: str | None = None) -> list[str]:
    """Findings in a file, or in a text in its place."""
    if text is None:
        text = (FOLDER / name).read_text(encoding="utf-8")
    try:
        return list(CHECKS[name](text))
    except Exception as error:  # a malformed file that makes a check fail is a finding
        return [f"cannot be read: {type(error).__name__}: {error}"]


def unknown_files() -> list[str]:
    """Files of the folder that have no check."""
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    programs = {name for name in found if name.endswith((".py", ".pyc"))}
    return sorted(found - programs - CHECKS.keys() - UNCHECKED)


@click.command()
@click.argument("files", nargs=-1, type=click.Choice(list(CHECKS)))
def main(files: tuple[str, ...]) -> None:
    """Check FILES, or all of them."""
    found = [f"{name}: {finding}" for name in files or CHECKS for finding in findings(name)]
    found += [] if files else [f"{name}: no check for this file" for name in unknown_files()]
    for line in found:
        click.echo(line)
    if found:
        raise SystemExit(1)
    click.echo(f"{len(files or CHECKS)} files, no findings")


if __name__ == "__main__":
    main()
