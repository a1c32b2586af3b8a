"""Inference with exported individual policies in plain PyTorch, without Ray or pickle.

>>> policies = load_policies("exported/")
>>> policy = policies["predator_0"]
>>> state = policy.initial_state()
>>> action, state = policy.act(obs, state)
"""

from .manifests import FORMAT_VERSION, MANIFEST, agent_name, read_manifest, write_manifest
from .policies import (
    PARITY_TOLERANCE,
    IndividualPolicy,
    check_parity,
    load_policies,
)

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "PARITY_TOLERANCE",
    "IndividualPolicy",
    "agent_name",
    "check_parity",
    "load_policies",
    "read_manifest",
    "write_manifest",
]
