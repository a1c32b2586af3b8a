"""Shape annotations mean jaxtyping here, and plain tensors where it is not installed."""

import runpy
import sys

import jaxtyping
import torch

from rllib_agentmixer.core import shapes


def test_annotations_are_jaxtypings_where_it_is_installed():
    assert (shapes.Bool, shapes.Float, shapes.Int) == (
        jaxtyping.Bool,
        jaxtyping.Float,
        jaxtyping.Int,
    )


def test_without_jaxtyping_annotations_are_plain_tensors(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxtyping", None)  # as if it were not installed
    plain = runpy.run_path(shapes.__file__)
    for name in ("Bool", "Float", "Int"):
        assert plain[name][torch.Tensor, "B N"] is torch.Tensor
