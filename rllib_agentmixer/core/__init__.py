"""Algorithms in plain PyTorch: networks, teams, losses and learners.

Nothing here imports Ray: every class and function runs on tensors alone, so a unit test
needs no cluster and an exported policy carries no training code.

Dimension key, used in every shape annotation of the package:

    T  time steps        B  sub-environments or sequences   N  agents   R  rows of a flat batch
    O  observation       S  state features        A  actions, or action dimensions
    H  width of features  D  width of the policy modifier   G  parameter groups

Inside networks the agent axis comes first, ``[N, R, H]``: separate parameters per agent
are then one batched matrix product, and mixing across agents is one product with
``[N, R * D]``, neither of which moves data.

Reference: Li et al., "AgentMixer: Multi-Agent Correlated Policy Factorization",
AAAI 2025, arXiv:2401.08728.
"""
