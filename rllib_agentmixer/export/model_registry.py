"""Registration in the MLflow Model Registry: one model per agent, without Ray or pickle."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer import runtime
from rllib_agentmixer.errors import ConfigError, ExportError
from rllib_agentmixer.export.onnx import add_onnx
from rllib_agentmixer.export.onnx_graph import ActingGraph
from rllib_agentmixer.runtime.tensor_files import read_checked
from rllib_agentmixer.tracking.identity import RUN_FILE, RunIdentity, known_identity
from rllib_agentmixer.tracking.remote_run import RemoteRun
from rllib_agentmixer.tracking.store import (
    StoreUnavailableError,
    answering_store,
    cannot_open,
    default_tracking_uri,
)
from rllib_agentmixer.tracking.tags import stamp_tags, version_tags
from rllib_agentmixer.utils.files import checksum

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "rllib_agentmixer"
_NAME = re.compile(r"[^\w\-. ]")


def register_export(
    folder: Path,
    name: str,
    *,
    alias: str | None = None,
    tracking_uri: str | None = None,
    trained_in: Path | None = None,
) -> dict[str, str]:
    """Register the policy of every agent of an export as ``<name>-<agent>``.

    Args:
        folder: folder written by ``rllib-agentmixer export``; ONNX graphs are added if missing.
        name: model name of the team.
        alias: alias moved to the new versions, such as ``champion``.
        tracking_uri: MLflow tracking URI; None for that of the exported run.
        trained_in: path inside the run's folder; None for the export's own.

    Returns:
        Version by model name.

    Raises:
        ConfigError: the MLflow server is unavailable, or MLflow rejects the name.
        ExportError: a graph differs from its policy.
    """
    if not name or _NAME.search(name):
        raise ConfigError(f"a model's name has letters, digits, `_ - .` and spaces, got {name!r}")
    manifest = runtime.read_manifest(folder)
    if "onnx" not in manifest:
        manifest = add_onnx(folder)
    policies = runtime.load_policies(folder)
    place = trained_in or folder
    origin = _origin_of(place, tracking_uri)
    uri = origin.tracking_uri if origin else tracking_uri or default_tracking_uri(place)
    try:
        client = answering_store(uri)
    except StoreUnavailableError as error:
        raise ConfigError(cannot_open(uri, str(error))) from error
    run_id = _run_for(client, origin, name, uri)
    tags = _tags_of(folder, manifest, run_id)
    versions = {}
    for entry in manifest["agents"]:
        model = f"{name}-{_NAME.sub('_', str(runtime.agent_name(entry)))}"
        graph = ActingGraph(policies[runtime.agent_name(entry)])
        with _saved_model(folder, entry, graph) as saved:
            versions[model] = _add_version(client, run_id, model, saved, tags)
        if alias is not None:
            client.set_registered_model_alias(model, alias, versions[model])
    return versions


def _origin_of(folder: Path, tracking_uri: str | None) -> RunIdentity | None:
    """MLflow run whose folder contains the export, if it was created on the server."""
    for place in (folder, *list(folder.absolute().parents)[:2]):
        if (place / RUN_FILE).is_file():
            identity = known_identity(place, tracking_uri)
            return identity if identity and identity.run_id else None
    return None


def _run_for(client: MlflowClient, origin: RunIdentity | None, name: str, uri: str) -> str:
    """Run that trained the team if the server has it, else a new run for the registration."""
    from mlflow.exceptions import MlflowException

    if origin is not None and origin.run_id is not None:
        try:
            return client.get_run(origin.run_id).info.run_id
        except MlflowException:  # trained with another store
            pass
    with tempfile.TemporaryDirectory() as place:
        RunIdentity.fresh(uri, EXPERIMENT, f"register {name}").write(Path(place))
        run_id = RemoteRun(Path(place), client).run_id
    client.set_terminated(run_id)
    return run_id


def _tags_of(folder: Path, manifest: dict[str, Any], run_id: str) -> dict[str, str]:
    return {
        **stamp_tags(manifest["environment"]),
        **version_tags(),
        "algorithm": manifest["algorithm"],
        "env_steps": str(manifest["env_steps"]),
        "run_id": run_id,
        "export.sha256": checksum(folder / runtime.MANIFEST),
        "onnx.max_difference": f"{manifest['onnx']['max_difference']:.2g}",
    }


@contextmanager
def _saved_model(folder: Path, entry: dict[str, Any], graph: ActingGraph) -> Iterator[Path]:
    """Temporary folder with the agent's graph as an MLflow model."""
    import onnx
    from mlflow.onnx import save_model

    content = read_checked(folder, entry["onnx"], entry["onnx_sha256"])
    # Everything else that users need: spaces, and constants for sampling.
    notes = {name: value for name, value in entry.items() if name != "fixture"}
    with tempfile.TemporaryDirectory() as place:
        saved = Path(place) / "model"
        save_model(
            onnx.load_model_from_string(content),
            str(saved),
            signature=signature_of(graph),
            pip_requirements=[
                f"{package}=={metadata.version(package)}"
                for package in ("mlflow", "onnx", "onnxruntime", "numpy")
            ],
            onnx_execution_providers=["CPUExecutionProvider"],
            onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
            metadata={"agent": json.dumps(notes)},
            save_as_external_data=False,
        )
        yield saved


def signature_of(graph: ActingGraph) -> Any:
    """Names, types and shapes of a graph's inputs and outputs, which MLflow enforces."""
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = graph.example(1)
    with torch.no_grad():
        outputs = graph(*(torch.from_numpy(value) for value in inputs.values()))

    def specification(name: str, array: Any) -> TensorSpec:
        return TensorSpec(np.dtype(array.dtype), (-1, *array.shape[1:]), name)

    return ModelSignature(
        inputs=Schema([specification(name, value) for name, value in inputs.items()]),
        outputs=Schema(
            [
                specification(name, value.numpy())
                for name, value in zip(graph.output_names, outputs, strict=True)
            ]
        ),
    )


def _add_version(
    client: MlflowClient, run_id: str, model: str, saved: Path, tags: dict[str, str]
) -> str:
    from mlflow.exceptions import MlflowException

    client.log_artifacts(run_id, str(saved), f"models/{model}")
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise ExportError(f"MLflow does not take a model named {model!r}: {error}") from error
    place = f"{client.get_run(run_id).info.artifact_uri}/models/{model}"
    return str(client.create_model_version(model, place, run_id, tags=tags).version)
