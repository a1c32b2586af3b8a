"""Layers of the package, sizes of its files, and no leftovers."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import rllib_agentmixer
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS

NAME = "rllib_agentmixer"
PACKAGE = Path(rllib_agentmixer.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_FILE_LINES = 300
MOST_FUNCTION_LINES = 40
MOST_ROOT_MODULES = 8

CORE = ("core.settings", "core.data", "core.functional", "core.networks", "core.teams")
CORE += ("core.learners", "core.algorithms")
"""Folders of the core, each of which imports only those left of it."""

BELOW_ENVS = {"errors", "utils"}
BELOW_ADAPTERS = {"errors", "utils", "core", *CORE, "envs", "rollouts", "analysis"}
BELOW_RUNS = {*BELOW_ADAPTERS, "tracking", "runtime", "export", "adapters", "adapters.classic"}

LAYERS = {
    "errors": set(),
    "utils": {"errors"},
    "core": {"errors", "utils"},
    **{f: {"errors", "utils", "core", *CORE[:i]} for i, f in enumerate(CORE)},
    "envs": BELOW_ENVS,
    "runtime": {"errors", "utils", "core", *CORE},
    "rollouts": {"errors", "utils", "core", *CORE, "envs"},
    "analysis": {"errors", "utils", "core", *CORE, "envs", "rollouts"},
    "tracking": {"errors", "utils", "analysis"},
    "export": {"errors", "utils", "core", *CORE, "envs", "rollouts", "runtime", "tracking"},
    "adapters": BELOW_ADAPTERS,
    "adapters.classic": {*BELOW_ADAPTERS, "adapters"},
    "adapters.new_stack": {*BELOW_ADAPTERS, "adapters"},
    "runs": BELOW_RUNS,
    "search": {*BELOW_RUNS, "runs"},
    "commands": {*BELOW_RUNS, "runs", "search", "play"},
    "play": {"errors", "utils", "core", *CORE, "envs", "rollouts", "runtime"},
    "cli": {*BELOW_RUNS, "runs", "search", "commands"},
    "__main__": {"cli"},
}
"""Layer -> the layers that it may import from, besides itself."""

OPEN_MODULES = {"envs": {"core.data.masks", "core.data.sizes"}, "export": {"play"}}
"""Layer -> single modules of higher or foreign layers that it may import."""

MAY_IMPORT_RAY = ("adapters", "runs", "search", "commands")
RAY_MODULES = {"tracking.tune_callback"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def dotted(path):
    """Module of a file, without the package's name; "" is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in FILES}


def layer_of(module):
    """The longest entry of the table that a module stands in; None for the package's face."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in LAYERS:
            return ".".join(parts[:length])
    return None


def resolve(node, path):
    """Absolute module of an import statement."""
    if node.level == 0:
        return node.module
    package = [NAME, *path.relative_to(PACKAGE).parts[:-1]]
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


@cache
def imports_of(path):
    """Every module that a file names in an import, also in functions and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve(node, path)
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = inner.removeprefix(f"{NAME}.") in MODULES
                found.add(inner if is_module else module)
    return found


def own_imports(path):
    """Modules of this package that a file imports, without the package's name."""
    prefix = f"{NAME}."
    return {name.removeprefix(prefix) for name in imports_of(path) if name.startswith(prefix)}


@pytest.mark.parametrize("module", [m for m in MODULES if m])
def test_a_module_imports_only_from_its_layer_or_below(module):
    layer = layer_of(module)
    assert layer is not None, f"{module} stands in no layer of the table"
    allowed, single = LAYERS[layer] | {layer}, OPEN_MODULES.get(layer, set())
    wrong = {
        name
        for name in own_imports(MODULES[module])
        if layer_of(name) not in allowed and name not in single
    }
    assert not wrong


def test_every_layer_and_open_module_exists():
    planned = {"adapters.new_stack"}
    for layer in LAYERS.keys() - planned:
        assert any(m == layer or m.startswith(f"{layer}.") for m in MODULES), layer
    for module in {m for modules in OPEN_MODULES.values() for m in modules} | RAY_MODULES:
        assert module in MODULES, module


def cycle_in(edges):
    """A circle of names in a graph, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for target in sorted(edges.get(name, ())):
            found = visit(target)
            if found:
                return found
        path.pop()
        done.add(name)
        return None

    for name in sorted(edges):
        found = visit(name)
        if found:
            return found
    return None


def test_no_modules_import_each_other_in_a_circle():
    edges = {m: own_imports(p) - {m} for m, p in MODULES.items() if m}
    assert cycle_in(edges) is None


def test_circles_are_found():
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}}) is None


def test_imports_behind_type_checking_and_in_functions_count(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from rllib_agentmixer.runs import training\n"
        "def f():\n    import rllib_agentmixer.search.plan\n"
    )
    assert own_imports(path) == {"runs.training", "search.plan"}


@pytest.mark.parametrize("module", MODULES)
def test_ray_is_imported_by_adapters_runs_search_and_commands_alone(module):
    if module.startswith(MAY_IMPORT_RAY) or module in RAY_MODULES:
        return
    assert not [n for n in imports_of(MODULES[module]) if n.partition(".")[0] == "ray"]


def test_modules_free_of_ray_load_none():
    """Nor through a package whose face imports it, or a third one."""
    free = [m for m in MODULES if not m.startswith((*MAY_IMPORT_RAY, "cli", "__main__"))]
    names = [f"{NAME}.{m}" if m else NAME for m in sorted(set(free) - RAY_MODULES)]
    program = f"""
import importlib, sys
sys.modules["ray"] = None
for name in {names}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if "ray" in str(error).lower().split() or getattr(error, "name", "") == "ray":
            sys.exit(f"{{name}} imports ray: {{error}}")
        raise
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(names) > 100


PUBLIC = {
    "rllib_agentmixer": [*rllib_agentmixer.__all__],
    "rllib_agentmixer.runtime": ["load_policies"],
    "rllib_agentmixer.export": ["export_policies"],
    "rllib_agentmixer.analysis.equilibrium": ["correlated_equilibrium_gap", "nash_gap"],
    "rllib_agentmixer.errors": ["AgentMixerError", "ConfigError", "CheckpointError"],
    "rllib_agentmixer.envs": ["ENVS", "make_env", "register_env"],
    "rllib_agentmixer.play": ["main"],
}
"""Paths that users, tuned examples and deployed code rely on."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_paths_work(module):
    loaded = __import__(module, fromlist=PUBLIC[module])
    for name in PUBLIC[module]:
        assert hasattr(loaded, name), name


def test_the_root_of_the_package_has_few_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_ROOT_MODULES


def functions_of(tree):
    return [x for x in ast.walk(tree) if isinstance(x, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length_of(function):
    """Lines from ``def`` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - (docstring.end_lineno - docstring.lineno + 1)


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


PROGRAMS = {"cli", "play", "runs.demo"}
"""Modules whose output is their purpose."""


@pytest.mark.parametrize("module", sorted(MODULES.keys() - PROGRAMS))
def test_only_programs_print(module):
    tree = ast.parse(MODULES[module].read_text())
    calls = [x.func for x in ast.walk(tree) if isinstance(x, ast.Call)]
    assert not [x.lineno for x in calls if isinstance(x, ast.Name) and x.id == "print"]


def test_programs_exist():
    assert MODULES.keys() >= PROGRAMS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_page_and_tuned_examples(name):
    assert (ROOT / "docs" / "algorithms" / f"{name}.md").is_file()
    assert list((ROOT / "tuned_examples" / name).glob("*.py"))
