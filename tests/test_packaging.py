"""What a user gets who installs the package, and what an import costs."""

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml
from pathspec import PathSpec

import rllib_agentmixer

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
BUILD_INPUTS = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "rllib_agentmixer", "tests")
BUILD_INPUTS += (".gitignore",)  # the build leaves out what it ignores
HEAVY = {"ray", "torch", "gymnasium", "mlflow", "pettingzoo", "matplotlib"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def required_name(requirement):
    return canonical(re.match(r"[A-Za-z0-9._-]+", requirement).group())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy, so that the checkout gains no folder.
    source = tmp_path_factory.mktemp("source")
    for name in BUILD_INPUTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (source / "dist").iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_import_loads_no_heavy_package():
    code = "import sys, rllib_agentmixer; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "rllib_agentmixer" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", rllib_agentmixer.__all__)
def test_public_name_can_be_imported(name):
    assert getattr(rllib_agentmixer, name) is not None
    assert name in dir(rllib_agentmixer)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rllib_agentmixer.no_such_name


def test_wheel_holds_the_typed_package_and_nothing_else(wheel):
    names = wheel.namelist()
    assert "rllib_agentmixer/py.typed" in names
    folders = {name.split("/")[0] for name in names}
    assert folders == {
        "rllib_agentmixer",
        f"rllib_agentmixer-{rllib_agentmixer.__version__}.dist-info",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_holds_every_module(wheel):
    modules = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "rllib_agentmixer").rglob("*.py")
    }
    assert modules <= set(wheel.namelist())


def test_every_folder_of_modules_is_a_regular_package():
    folders = {path.parent for path in (ROOT / "rllib_agentmixer").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("ignored", ["git", "jobs"])
def test_no_module_is_left_out_of_the_repository_or_of_submitted_jobs(ignored):
    patterns = (ROOT / ".gitignore").read_text().splitlines()
    if ignored == "jobs":
        runtime_env = yaml.safe_load((ROOT / "cluster" / "jobs" / "runtime_env.yaml").read_text())
        patterns = runtime_env["excludes"]
        assert "/.venv" in patterns
    spec = PathSpec.from_lines("gitwildmatch", patterns)
    names = [
        path.relative_to(ROOT).as_posix() for path in (ROOT / "rllib_agentmixer").rglob("*.py")
    ]
    assert [name for name in names if spec.match_file(name)] == []
    assert spec.match_file("runs/pp/config.json")


def test_metadata_has_the_version_of_the_package(metadata):
    assert metadata["Version"] == rllib_agentmixer.__version__


ENVIRONMENTS = {"mpe", "sisl", "butterfly", "mamujoco", "lbf", "rware", "vmas", "openspiel"}


def test_metadata_lists_every_extra(metadata):
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)
    others = {"plot", "video", "envs", "cluster", "tune", "export", "all", "dev"}
    assert set(EXTRAS) == ENVIRONMENTS | others


def test_wheel_installs_the_console_script(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "rllib-agentmixer = rllib_agentmixer.cli:main" in wheel.read(name).decode()


def test_every_constraint_is_one_exact_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    # No local label: "torch==2.13.0" is met by the CPU wheel and by PyPI's alike.
    loose = [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin)]
    assert loose == []
    names = [required_name(pin) for pin in pins]
    assert len(names) == len(set(names))


def test_constraints_pin_every_direct_dependency():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {required_name(line) for line in lines if line and not line.startswith("#")}
    direct = {
        required_name(requirement)
        for group in (PROJECT["dependencies"], *EXTRAS.values())
        for requirement in group
    }
    assert direct - {"rllib-agentmixer"} <= pinned
