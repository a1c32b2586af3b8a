"""Rules that keep the package readable: what the core may import, sizes, and no leftovers."""

import ast
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rllib_agentmixer
from rllib_agentmixer.algorithms import ALGORITHMS

PACKAGE = Path(rllib_agentmixer.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_FILE_LINES = 300
MOST_FUNCTION_LINES = 40

WITHOUT_RAY = ["acting", "experience", "preprocessing", "rollouts", "runtime"]
"""Modules beside the core that must run where Ray is not installed."""

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def functions_of(tree):
    return [x for x in ast.walk(tree) if isinstance(x, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length_of(function):
    """Lines from ``def`` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def test_the_core_and_the_runtime_import_no_ray():
    core = [f"rllib_agentmixer.core.{m.name}" for m in pkgutil.iter_modules([PACKAGE / "core"])]
    beside = [
        f"rllib_agentmixer.{name}" for name in WITHOUT_RAY if (PACKAGE / f"{name}.py").exists()
    ]
    program = f"""
import importlib, sys
for name in {core + beside}:
    importlib.import_module(name)
    if any(loaded.partition(".")[0] == "ray" for loaded in sys.modules):
        sys.exit(name + " imports ray")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(core) > 10


@each_file
def test_a_file_has_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= MOST_FILE_LINES


@each_file
def test_a_function_has_at_most_40_lines(path):
    functions = functions_of(ast.parse(path.read_text()))
    too_long = {f.name: length_of(f) for f in functions if length_of(f) > MOST_FUNCTION_LINES}
    assert not too_long


@each_file
def test_nothing_is_left_to_do(path):
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text())


PROGRAMS = ("cli.py", "play.py", "demo.py")
"""Files whose output is their purpose."""


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name not in PROGRAMS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_only_programs_print(path):
    calls = [x.func for x in ast.walk(ast.parse(path.read_text())) if isinstance(x, ast.Call)]
    assert not [x.lineno for x in calls if isinstance(x, ast.Name) and x.id == "print"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_page_and_tuned_examples(name):
    assert (ROOT / "docs" / "algorithms" / f"{name}.md").is_file()
    assert list((ROOT / "tuned_examples" / name).glob("*.py"))
