"""Steps of a compiled learner beside those of a plain one; prints the results as JSON.

A program of its own: the shape checks that tests put around every function cannot be compiled.
"""

import importlib.util
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from rllib_agentmixer.core.networks.recurrence import leave_uncompiled

spec = importlib.util.spec_from_file_location(
    "core_conftest", Path(__file__).parents[1] / "conftest.py"
)
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
build = conftest.Build


class Compiler:
    """Dynamo without code generation: counts the graphs that it was given."""

    def __init__(self):
        self.num_graphs = 0
        torch._dynamo.reset()

    def backend(self, graph, inputs):
        self.num_graphs += 1
        return graph.forward

    def __call__(self, function):
        return torch.compile(function, backend=self.backend, fullgraph=True)


def learner_and_batch(compiler=None, **settings):
    """The same networks and experience at every call."""
    actor, batch = build.collected(**settings)
    return build.learner(actor.module, compiler=compiler, grad_clip=1.0), batch


def differences(compiler, **settings):
    """Largest difference of any metric and of any weight after one step."""
    steps, weights = [], []
    for used in (None, compiler):
        learner, batch = learner_and_batch(used, **settings)
        steps.append(learner.step(batch, build.weights))
        weights.append(torch.nn.utils.parameters_to_vector(learner.team.parameters()))
    plain, compiled = steps
    assert plain.keys() == compiled.keys()
    return {
        "metrics": max(float((plain[name] - compiled[name]).abs()) for name in plain),
        "weights": float((weights[0] - weights[1]).abs().max()),
    }


def moving():
    """Graphs and losses while coefficients and temperature move."""
    compiler = Compiler()
    learner, batch = learner_and_batch(compiler)
    losses = []
    for scale in (1.0, 0.5, 0.25):
        learner.team.temperature = torch.tensor(scale)
        weights = replace(build.weights, entropy_coeff=0.1 * scale, kl_coeff=scale)
        losses.append(float(learner.loss(learner.team, batch, weights.as_tensors()).total))
    return {"num_graphs": compiler.num_graphs, "losses": losses}


results = {
    f"{algorithm} {name}": differences(Compiler(), name=name, algorithm=algorithm)
    for algorithm in ("agentmixer", "mappo")
    for name in ("climbing", "continuous_game")
}
leave_uncompiled()
results["recurrent"] = differences(partial(torch.compile, backend="eager"), use_gru=True)
results["moving"] = moving()
json.dump(results, sys.stdout)
