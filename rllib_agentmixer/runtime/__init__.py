"""Exported individual policies, loaded and run with PyTorch alone: no Ray, no pickle.

>>> policies = load_policies("exported/")
>>> policy = policies["predator_0"]
>>> state = policy.initial_state()
>>> action, state = policy.act(obs, state)
"""

from .policies import (
    FORMAT_VERSION,
    MANIFEST,
    PARITY_TOLERANCE,
    IndividualPolicy,
    check_parity,
    load_policies,
    read_manifest,
)

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "PARITY_TOLERANCE",
    "IndividualPolicy",
    "check_parity",
    "load_policies",
    "read_manifest",
]
