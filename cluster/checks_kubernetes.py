"""Checks of Kubernetes manifests: schemas of Kubernetes and KubeRay, and project rules."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cluster.checks_commands import check_own, check_ray_start, check_restartable

FOLDER = Path(__file__).parent
SCHEMAS = FOLDER / "kuberay" / "schemas.json"
CONSTRAINTS = FOLDER.parent / "constraints.txt"
KUBERNETES = "1.34"
SPOT_GROUP = "rollouts"

OPERATOR_VALUES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "singleNamespaceInstall": {"type": "boolean"},
        "watchNamespace": {"type": "array", "items": {"type": "string"}},
        "featureGates": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "enabled"],
                "properties": {
                    "name": {"enum": ["RayJobDeletionPolicy"]},
                    "enabled": {"type": "boolean"},
                },
            },
        },
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": "object", "additionalProperties": {"type": "string"}}
                for name in ("requests", "limits")
            },
        },
    },
}
"""Schema of the chart values in use; the chart has no schema."""


def check_manifest(text: str) -> Iterator[str]:
    """Check every document of a manifest by its kind; unknown kinds are findings."""
    for document in yaml.safe_load_all(text):
        if not isinstance(document, dict):
            yield "not a Kubernetes object"
        elif document.get("apiVersion", "").startswith("ray.io/"):
            yield from check_custom(document)
        else:
            yield from check_core(document)


def check_core(document: dict[str, Any]) -> Iterator[str]:
    """Check a core Kubernetes object against its published schema, strictly."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message
        return
    except kubernetes_validate.ValidationError as error:
        yield f"{list(error.path)}: {error.message}"
        return
    spec = document.get("spec", {})
    if document["kind"] == "NetworkPolicy":
        if not spec.get("podSelector", {}).get("matchLabels"):
            yield "a NetworkPolicy without labels applies to every pod of the namespace"
        if "Ingress" not in spec.get("policyTypes", []):
            yield "a NetworkPolicy that does not limit ingress"
        if not all(rule.get("from") for rule in spec.get("ingress", [])):
            yield "an ingress rule without `from` allows all sources"
    if document["kind"] == "PersistentVolumeClaim" and spec["accessModes"] != ["ReadWriteMany"]:
        yield f"several nodes write runs: ReadWriteMany, not {spec['accessModes']}"


@cache
def _schemas() -> dict[str, Any]:
    return json.loads(SCHEMAS.read_text(encoding="utf-8"))


def check_custom(document: dict[str, Any]) -> Iterator[str]:
    """Check a RayCluster or RayJob: KubeRay's schema, then project rules."""
    kind = str(document.get("kind"))
    if kind not in _schemas()["kinds"]:
        yield f"unknown kind {kind!r} of {document['apiVersion']}"
        return
    found = list(_schema_problems({"$ref": f"#/kinds/{kind}", **_schemas()}, document))
    if found:
        yield from found
    elif kind == "RayCluster":
        yield from check_cluster(document["spec"])
    else:
        yield from check_job(document["spec"])


def check_values(text: str) -> Iterator[str]:
    """Check values of the operator's chart."""
    values = yaml.safe_load(text)
    yield from _schema_problems(OPERATOR_VALUES, values)
    gates = {gate.get("name"): gate.get("enabled") for gate in values.get("featureGates", [])}
    if gates.get("RayJobDeletionPolicy") is not True:
        yield "rayjob.yaml needs the feature gate RayJobDeletionPolicy"


def _schema_problems(schema: dict[str, Any], value: Any) -> Iterator[str]:
    import jsonschema

    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        yield f"{error.json_path}: {error.message[:200]}"


def check_cluster(spec: dict[str, Any]) -> Iterator[str]:
    """Check token, autoscaler, a head without CPUs, and spot machines for rollouts only."""
    if spec.get("rayVersion") != pinned("ray"):
        yield f"rayVersion {spec.get('rayVersion')!r} is not the pinned {pinned('ray')!r}"
    auth = spec.get("authOptions", {})
    if auth.get("mode") != "token" or not auth.get("secretName"):
        yield "no token: authOptions needs mode: token and secretName"
    scaling = spec.get("autoscalerOptions", {})
    if not spec.get("enableInTreeAutoscaling") or scaling.get("version") != "v2":
        yield "enableInTreeAutoscaling with autoscalerOptions.version v2"
    head = spec["headGroupSpec"]
    if head.get("serviceType") != "ClusterIP":
        yield "the head's service is internal to the cluster: serviceType: ClusterIP"
    if head.get("rayStartParams", {}).get("num-cpus") != "0":
        yield 'workers would be scheduled on the head: num-cpus: "0"'
    yield from check_group("head", head)
    yield from check_worker_groups(spec)


def check_worker_groups(spec: dict[str, Any]) -> Iterator[str]:
    """Check every worker group, and that one for rollouts scales to zero."""
    groups = {group["groupName"]: group for group in spec.get("workerGroupSpecs", [])}
    for name, group in groups.items():
        yield from check_group(name, group)
        low, high = group["minReplicas"], group["maxReplicas"]
        if not low <= group.get("replicas", low) <= high:
            yield f"{name}: replicas outside {low}..{high}"
    if SPOT_GROUP not in groups or groups[SPOT_GROUP]["minReplicas"] != 0:
        yield f"a group {SPOT_GROUP!r} that scales to zero: minReplicas: 0"


def check_group(name: str, group: dict[str, Any]) -> Iterator[str]:
    """Check a pod group: flags of ``ray start``, node selector, image, privileges, volumes."""
    arguments = [f"--{key}={value}" for key, value in group.get("rayStartParams", {}).items()]
    if any(argument.startswith("--dashboard-host") for argument in arguments):
        yield f"{name}: KubeRay sets dashboard-host; leave it to serviceType and the token"
    # Split as by the pod's shell.
    words = shlex.split(" ".join(arguments))
    yield from (f"{name}: {problem}" for problem in check_ray_start(words))
    pod = group["template"]["spec"]
    wants_spot = "spot" in json.dumps([pod.get("tolerations"), pod.get("nodeSelector")])
    if wants_spot != (name == SPOT_GROUP):
        yield f"{name}: {'on' if wants_spot else 'not on'} spot machines"
    if not pod.get("nodeSelector"):
        yield f"{name}: no nodeSelector, so it may be scheduled on spot machines"
    yield from (f"{name}: {problem}" for problem in check_pod(pod))
    mounts = [mount["mountPath"] for c in pod["containers"] for mount in c.get("volumeMounts", [])]
    if "/runs" not in mounts:
        yield f"{name}: /runs is not mounted"


def check_pod(pod: dict[str, Any]) -> Iterator[str]:
    """Check for non-root user, no privilege escalation, pinned images and limits."""
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield "runAsNonRoot: true"
    for container in pod["containers"]:
        yield from check_image(container.get("image", ""))
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation: false"
        limits = container.get("resources", {}).get("limits", {})
        if not {"cpu", "memory"} <= limits.keys():
            yield "limits for cpu and memory; Ray derives its resources from them"


def check_image(image: str) -> Iterator[str]:
    """Check that an image has a fixed version."""
    _, _, tag = image.rpartition("/")[2].partition(":")
    if not tag or tag.startswith(("latest", "nightly")):
        yield f"image {image!r} has no fixed version"


def check_job(spec: dict[str, Any]) -> Iterator[str]:
    """Check a RayJob: entrypoint, placement, retries and deletion."""
    words = shlex.split(spec["entrypoint"])
    yield from check_own(words)
    yield from check_restartable(words)
    yield from check_runtime_env(yaml.safe_load(spec.get("runtimeEnvYAML", "{}")))
    if not spec.get("backoffLimit"):
        yield "backoffLimit: a job whose cluster is lost is retried"
    if not spec.get("activeDeadlineSeconds"):
        yield "activeDeadlineSeconds: a job that hangs is terminated"
    yield from check_deletion(spec)
    cluster = spec["rayClusterSpec"]
    yield from check_cluster(cluster)
    yield from check_pod(spec.get("submitterPodTemplate", {}).get("spec", {"containers": []}))
    yield from check_driver_place(spec, cluster)
    standalone = yaml.safe_load((FOLDER / "kuberay" / "raycluster.yaml").read_text())["spec"]
    if cluster != standalone:
        yield "rayClusterSpec differs from raycluster.yaml"


def check_driver_place(spec: dict[str, Any], cluster: dict[str, Any]) -> Iterator[str]:
    """Check that the driver requests an on-demand group's resource and all of its CPUs."""
    wanted = json.loads(spec.get("entrypointResources", "{}"))
    for group in cluster["workerGroupSpecs"]:
        given = json.loads(shlex.split(group["rayStartParams"].get("resources", "{}"))[0] or "{}")
        given = json.loads(given) if isinstance(given, str) else given
        if wanted and wanted.items() <= given.items():
            limit = group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
            if float(limit) != spec.get("entrypointNumCpus"):
                yield f"entrypointNumCpus is not all {limit} CPUs of {group['groupName']}"
            return
    yield f"no group has the resources {wanted} that the driver requests"


def check_deletion(spec: dict[str, Any]) -> Iterator[str]:
    """Check rules of KubeRay's webhook and CEL expressions, which JSON schema cannot express."""
    strategy = spec.get("deletionStrategy", {})
    rules = strategy.get("deletionRules", [])
    if not rules:
        yield "deletionRules: a cluster is deleted after its job"
    if rules and (strategy.keys() & {"onSuccess", "onFailure"}):
        yield "onSuccess and onFailure cannot be combined with deletionRules"
    if rules and (spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")):
        yield "shutdownAfterJobFinishes and its ttl cannot be combined with deletionRules"
    for rule in rules:
        if len(rule["condition"].keys() & {"jobStatus", "jobDeploymentStatus"}) != 1:
            yield "a deletion rule has either jobStatus or jobDeploymentStatus"
    ended = {rule["condition"].get("jobStatus") for rule in rules if "Cluster" in rule["policy"]}
    if ended != {"SUCCEEDED", "FAILED"}:
        yield "DeleteCluster for jobs that succeeded and for those that failed"


def check_runtime_env(values: dict[str, Any]) -> Iterator[str]:
    """Check a runtime environment: known fields, string variables, and time to stop."""
    from ray.runtime_env import RuntimeEnv

    for name in values.keys() - set(RuntimeEnv.known_fields):
        yield f"unknown field {name!r} of a runtime environment"
    variables = values.get("env_vars", {})
    for name, value in variables.items():
        if not isinstance(value, str):
            yield f"{name}: {value!r} is not a string; put it in quotes"
    if int(variables.get("RAY_JOB_STOP_WAIT_TIME_S", 3)) < 60:
        yield "RAY_JOB_STOP_WAIT_TIME_S: a stopped run needs time for its checkpoint"


@cache
def pinned(package: str) -> str:
    """Version of a package in constraints.txt."""
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise KeyError(package)
