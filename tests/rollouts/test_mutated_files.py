"""Mutations of checkpoints and exports end in one clear line, or change nothing."""

import json
import random
import shutil
import time

import pytest
import torch

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.errors import AgentMixerError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.rollouts.saved_team import load_team, save_team
from rllib_agentmixer.rollouts.team import Team, environment_stamp, team_sizes
from rllib_agentmixer.runtime import load_policies, read_manifest, write_manifest
from rllib_agentmixer.utils import manifests
from rllib_agentmixer.utils.files import checksum

NUM_MUTATIONS = 220
SECONDS_PER_FILE = 2.0

ODD_VALUES = [
    None,
    True,
    -1,
    0,
    10**12,
    1e300,
    "",
    "x" * 5000,
    "../../etc/passwd",
    "os:system",
    [],
    {},
    [[]],
    {"__type__": "reference", "name": "os:system"},
    {"__type__": "array", "array": "AAAA"},
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A checkpoint's part that is read without RLlib, and an export."""
    folder = tmp_path_factory.mktemp("sources")
    creator = TeamEnvCreator("predator_prey")
    probe = creator.vector({"max_steps": 5}, 1)
    spec = probe.spec
    probe.close()
    entry = ALGORITHMS["mappo"]
    settings = entry.make_settings(hidden_size=8, critic_hidden=(8,), use_gru=True)
    module = entry.team(team_sizes(spec), settings)
    layout, config = TeamLayout(team_sizes(spec)), {"max_steps": 5}
    stamp = environment_stamp("predator_prey", config, spec)
    team = Team(entry, settings, spec, module, layout, None, None, creator, config, stamp, 64)
    save_team(folder / "checkpoint", team)
    manifests.write_manifest(folder / "checkpoint", {"algorithm": "MAPPO"})
    export_policies(team, folder / "export")
    return folder


def load_checkpoint(folder):
    return load_team(folder).module.state_dict()


def load_export(folder):
    policies = load_policies(folder)
    return {
        f"{name}.{key}": value
        for name, policy in policies.items()
        for key, value in policy.network.state_dict().items()
    }


LOADERS = {"checkpoint": load_checkpoint, "export": load_export}


def mutate_bytes(rng, path):
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "cut", "empty", "grow", "header"])
    if kind == "flip":
        for _ in range(rng.choice([1, 5])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "empty":
        data.clear()
    elif kind == "grow":
        data += bytes(rng.randrange(1, 100))
    else:
        data[:8] = rng.randbytes(8)
    path.write_bytes(bytes(data))


def places_in(value, path=()):
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        if isinstance(item, (dict, list)):
            found += places_in(item, (*path, key))
        else:
            found.append((*path, key))
    return found


def mutate_json(rng, content):
    """Replace, remove or deepen an entry at a random place."""
    # Numbers of examples fill most of an export: choose the depth first.
    places = places_in(content)
    depth = rng.choice(sorted({len(place) for place in places}))
    *above, last = rng.choice([place for place in places if len(place) == depth])
    target = content
    for key in above:
        target = target[key]
    kind = rng.choice(["replace", "replace", "remove", "deepen", "add"])
    if kind == "remove":
        del target[last]
    elif kind == "add" and isinstance(target, dict):
        target["x" * rng.choice([1, 5000])] = rng.choice(ODD_VALUES)
    elif kind == "deepen":
        for _ in range(rng.choice([1, 200])):
            target[last] = [target[last]]
    else:
        target[last] = rng.choice(ODD_VALUES)


def sign(folder, kind):
    """Make checksums fit again, so that the readers behind them are reached."""
    if kind == "checkpoint":
        path = folder / manifests.MANIFEST
        if path.exists():
            content = json.loads(path.read_text())
            stamp = content["stamp"]
            path.unlink()
            manifests.write_manifest(folder, stamp)
        return
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["agents"]:
        if (folder / entry["weights"]).is_file():
            entry["sha256"] = checksum(folder / entry["weights"])
    write_manifest(folder, manifest)


def mutate(rng, folder, kind):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    is_manifest = path.name in (manifests.MANIFEST, "manifest.json")
    if path.suffix == ".json" and rng.random() < 0.8:
        content = json.loads(path.read_text())
        mutate_json(rng, content)
        if path.name == "manifest.json" and rng.random() < 0.8:
            write_manifest(folder, content)
            return
        path.write_text(json.dumps(content))
    elif path.suffix != ".json" and rng.random() < 0.1:
        path.unlink()
    else:
        mutate_bytes(rng, path)
    if not is_manifest and rng.random() < 0.8:
        sign(folder, kind)


@pytest.mark.parametrize("kind", LOADERS)
def test_mutations_end_in_one_clear_line_or_change_nothing(sources, tmp_path, kind):
    torch.manual_seed(0)
    whole = LOADERS[kind](sources / kind)
    refused = 0
    for seed in range(NUM_MUTATIONS // len(LOADERS)):
        rng, folder = random.Random(f"{kind} {seed}"), tmp_path / str(seed)
        shutil.copytree(sources / kind, folder)
        mutate(rng, folder, kind)
        started = time.monotonic()
        try:
            loaded = LOADERS[kind](folder)
        except AgentMixerError as error:
            message = str(error)
        else:
            message = None
            assert loaded.keys() == whole.keys()
            assert all(loaded[name].shape == value.shape for name, value in whole.items())
        if message is not None:
            refused += 1
            assert "\n" not in message
            assert 10 < len(message) < 8000  # one of 5,000 characters may be quoted
        assert time.monotonic() - started < SECONDS_PER_FILE
        shutil.rmtree(folder)
    assert refused > NUM_MUTATIONS // len(LOADERS) // 2


def test_a_manifest_that_names_a_file_elsewhere_does_not_read_it(sources, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(sources / "checkpoint", folder)
    path = folder / manifests.MANIFEST
    content = json.loads(path.read_text())
    content["files"]["../../../../../../etc/passwd"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(AgentMixerError, match="leads out of the folder") as raised:
        load_team(folder)
    assert "sha256" not in str(raised.value)


def test_what_was_not_changed_loads(sources):
    assert load_checkpoint(sources / "checkpoint")
    assert load_export(sources / "export")
    assert read_manifest(sources / "export")["agents"]
