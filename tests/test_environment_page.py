"""docs/environments.md: its table is the registry's, and its walk-through works as written."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "environments.md"
BLOCK = re.compile(r"<!-- walk-through: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


def test_tables_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for name in tables.TABLES:
        text = (ROOT / "docs" / name).read_text()
        assert tables.page_with_table(name, text) == text, "run: python docs/make_tables.py"
    assert "`simple_speaker_listener`" in tables.environment_table()
    assert "`modifier_lr` | `loguniform" in tables.space_table()


def blocks():
    return BLOCK.findall(PAGE.read_text())


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Output of every command of the walk-through, typed into an empty folder, by its words."""
    folder = tmp_path_factory.mktemp("walk")
    binaries = Path(sys.executable).parent
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")},
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    outputs = {}
    for name, content in blocks():
        if name != "run":
            (folder / name).write_text(content)
            continue
        for line in content.splitlines():
            assert line.startswith("$ ")
            words = shlex.split(line[2:])
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            outputs[" ".join(words[:2])] = done.stdout
    return folder, outputs


def test_the_walk_through_leads_to_policies_that_work(walked):
    folder, outputs = walked
    assert "14 ok, 0 note, 0 FAIL" in outputs["rllib-agentmixer check-env"]
    evaluated = json.loads(outputs["rllib-agentmixer evaluate"])
    assert evaluated["individual"]["episode_return_mean"] > 0.7  # random play earns -0.44
    assert (folder / "runs/corridor/episode.gif").stat().st_size > 0
    assert (folder / "exported/manifest.json").is_file()
    assert float(outputs["python deploy.py"].rpartition(" ")[2]) > 0.7


def test_the_walk_through_has_all_its_parts():
    names = [name for name, _ in blocks()]
    assert names == ["corridor.py", "run", "run", "run", "run", "deploy.py", "run"]
