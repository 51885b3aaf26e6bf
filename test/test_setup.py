# SPDX-License-Identifier: Apache-2.0
"""`make setup` in broken surroundings: one line with the remedy, and no traceback."""

import ast
import os
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

UNDERLAY = Path(__file__).resolve().parent.parent / "underlay"
SCRIPT = UNDERLAY / "setup_environment.py"
sys.path.insert(0, str(UNDERLAY))

from environment import (  # noqa: E402
    logged,
    project_requirements,
    ros_sources,
    run_steps,
    steps,
    surroundings,
)
from environment.errors import SetupError  # noqa: E402

needs_wheels = pytest.mark.skipif(
    (sys.version_info[:2], sys.platform) not in [(p, "linux") for p in surroundings.WHEEL_PYTHONS],
    reason="no ROS wheels for this Python",
)


def without_ros(**changes: str) -> dict[str, str]:
    """The variables of a shell in which no ROS is sourced, with changes."""
    private = re.compile(r"ROS_|AMENT_|_ROS_|CMAKE_|PYTHON|LD_LIBRARY_PATH|CC$|CXX$")
    return {k: v for k, v in os.environ.items() if not private.match(k)} | changes


def run_setup(venv: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "--venv", venv], env=environ, capture_output=True, text=True
    )


def assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode != 0
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "; do: " in lines[0]
    for word in words:
        assert word in lines[0]


@needs_wheels
def test_without_a_compiler_it_names_the_package_to_install(tmp_path: Path) -> None:
    result = run_setup(tmp_path / ".venv", without_ros(PATH=str(tmp_path)))
    assert_one_line(result, "C++ compiler", "apt-get install", "g++")
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
@needs_wheels
def test_without_a_package_index_it_names_the_log_and_keeps_what_is_done(tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    # The port is taken, so that nothing else can listen there.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        environ = {k: v for k, v in without_ros().items() if not k.startswith("PIP_")} | {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"http://127.0.0.1:{taken.getsockname()[1]}/simple",
            "PIP_RETRIES": "1",
        }
        result = run_setup(venv, environ)
    assert_one_line(result, "package index cannot be reached", str(venv / "setup" / "log.txt"))
    assert "pip install" in (venv / "setup" / "log.txt").read_text()
    assert (venv / "setup" / "venv.done").exists()
    assert not (venv / "setup" / "packages.done").exists()


def test_an_old_python_can_read_the_script_that_refuses_it() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 4))


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18)])
def test_a_version_before_3_10_is_too_old(version: tuple[int, int, int]) -> None:
    import setup_environment

    assert "3.10 or newer" in setup_environment.too_old(version)
    assert setup_environment.too_old((3, 10, 0)) is None
    assert setup_environment.too_old((4, 0, 0)) is None


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert_one_line(run_setup(tmp_path / "missing" / ".venv", without_ros()), "missing")


@pytest.mark.parametrize(
    ("python", "implementation", "system", "machine"),
    [
        ((3, 14), "CPython", "linux", "x86_64"),
        ((3, 11), "PyPy", "linux", "x86_64"),
        ((3, 11), "CPython", "darwin", "x86_64"),
        ((3, 11), "CPython", "linux", "aarch64"),
    ],
)
def test_a_machine_without_wheels_is_known(
    python: tuple[int, int], implementation: str, system: str, machine: str
) -> None:
    assert not surroundings.wheels_exist(python, implementation, system, machine)
    assert surroundings.wheels_exist((3, 11), "CPython", "linux", "x86_64")


def test_without_ros_nothing_is_built_and_no_compiler_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "wheels_exist", lambda *_: False)
    here = surroundings.inspect_machine({}, tmp_path / ".venv")
    assert here.without_ros
    names = [step.name for step in steps.Environment(tmp_path / ".venv", here).steps()]
    assert names == ["venv", "packages", "links"]
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    surroundings.check_all(here, tmp_path / ".venv")
    monkeypatch.undo()
    assert surroundings.inspect_machine({"ROS_WHEELS": "none"}, tmp_path / ".venv").without_ros
    assert "as ROS_WHEELS=none asks" in run_steps.why_without_ros({"ROS_WHEELS": "none"})
    assert "none is sourced" in run_steps.why_without_ros({})
    sourced = surroundings.inspect_machine({"ROS_DISTRO": "rolling"}, tmp_path / ".venv")
    assert not sourced.without_ros


def test_missing_headers_are_named_with_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(SetupError, match=r"Python\.h; do: sudo apt-get install python3\.\d+-dev"):
        surroundings.check_apt_packages()


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        ("Retrying: NewConnectionError('refused')", "index cannot be reached"),
        ("ERROR: No matching distribution found for x", "No matching distribution found for x"),
        ("gcc\n/x.c:1:2: error: unknown type name 'y'", "unknown type name"),
        ("CMake Error at CMakeLists.txt:3:\n\n  no package x", "no package x"),
        ("nothing that tells", r"failed; do: read the log"),
    ],
)
def test_a_failed_command_is_explained_by_what_it_wrote(output: str, cause: str) -> None:
    assert re.search(cause, str(logged.explain("installing", output, Path("log.txt"))))


def test_extras_of_extras_are_installed_too() -> None:
    project = {
        "dependencies": ["numpy>=1"],
        "optional-dependencies": {
            "dev": ["mask_detector_ros[sample]", "pytest"],
            "sample": ["scikit-image"],
        },
    }
    wanted = ["numpy>=1", "scikit-image", "pytest"]
    assert project_requirements.requirements(project, ["dev"]) == wanted


def test_a_sourced_ros_is_asked_for_vision_msgs(tmp_path: Path) -> None:
    index = tmp_path / "ros/share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "vision_msgs").touch()
    variables = {"ROS_DISTRO": "humble", "AMENT_PREFIX_PATH": str(tmp_path / "ros")}
    here = surroundings.inspect_machine(variables, tmp_path / ".venv")
    assert here.provides("vision_msgs")
    assert not here.provides("cv_bridge")
    names = [step.name for step in steps.Environment(tmp_path / ".venv", here).steps()]
    assert "vision_msgs" not in names
    assert not surroundings.inspect_machine({}, tmp_path).provides("vision_msgs")


def test_jazzy_is_the_default_and_another_name_is_one_line(tmp_path: Path) -> None:
    assert surroundings.inspect_machine({}, tmp_path).wheels == "jazzy"
    assert surroundings.inspect_machine({"ROS_WHEELS": "kilted"}, tmp_path).wheels == "kilted"
    result = run_setup(tmp_path / ".venv", without_ros(ROS_WHEELS="noetic"))
    assert_one_line(result, "ROS_WHEELS is 'noetic'", "set it to one of jazzy, kilted")


@pytest.mark.parametrize("name", surroundings.WHEELS)
def test_every_list_of_wheels_is_pinned_and_of_one_distribution(name: str) -> None:
    lines = (UNDERLAY / "ros_wheels" / f"{name}.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith(("#", "-r"))]
    assert len(packages) > 10
    assert all(re.fullmatch(rf"ros-{name}-[a-z0-9-]+==[0-9.]+", line) for line in packages)
    assert "-r build_tools.txt" in lines


def test_other_wheels_make_the_environment_anew(tmp_path: Path) -> None:
    first, second = (
        steps.Environment(tmp_path, surroundings.inspect_machine({"ROS_WHEELS": name}, tmp_path))
        for name in surroundings.WHEELS
    )
    for one, other in zip(first.steps(), second.steps(), strict=True):
        assert one.fingerprint != other.fingerprint


def test_sources_are_pinned_and_installed_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repositories = ros_sources.read_sources()
    assert all(re.fullmatch("[0-9a-f]{40}", r.commit) and r.packages for r in repositories)
    monkeypatch.setenv("ROS_SOURCES_HOST", "file:///mirror")
    for repository in repositories:
        folder = tmp_path / repository.name.rpartition("/")[2]
        for package in repository.packages:
            (folder / package).mkdir(parents=True, exist_ok=True)
            if package not in ("composition_interfaces", "cv_bridge"):
                (folder / package / "setup.py").touch()
    commands: list[str] = []
    built: list[str] = []
    ros_sources.install_sources(
        repositories,
        Path("python"),
        tmp_path,
        lambda command, what: commands.append(" ".join(map(str, command))),
        lambda name, source: built.append(name),
    )
    assert built == ["composition_interfaces", "cv_bridge"]
    installed = [c.rpartition(" ")[2] for c in commands if "--no-deps" in c]
    packages = [(r.name.rpartition("/")[2], p) for r in repositories for p in r.packages]
    folders = [str(tmp_path / r / p) for r, p in packages if p not in built]
    assert installed == folders
    assert sum("fetch --depth=1 file:///mirror/ros2/launch " in c for c in commands) == 1


def test_what_all_tests_need_comes_only_when_asked_for(tmp_path: Path) -> None:
    environment = steps.Environment(tmp_path, surroundings.inspect_machine({}, tmp_path))
    names = [step.name for step in environment.steps()]
    full_names = [step.name for step in environment.steps(full=True)]
    assert full_names == [*names, "full_packages", "ros_tools"]


@pytest.fixture
def step() -> Callable[[Callable[[], None]], steps.Step]:
    return lambda action: steps.Step("step", "a step", "fingerprint", action)


def test_a_finished_step_is_not_done_again(
    tmp_path: Path, step: Callable[[Callable[[], None]], steps.Step]
) -> None:
    finished = step(lambda: None)
    assert not run_steps.is_done(finished, tmp_path)
    run_steps.do(finished, tmp_path)
    assert run_steps.is_done(finished, tmp_path)


def test_a_failed_step_is_done_again(
    tmp_path: Path, step: Callable[[Callable[[], None]], steps.Step]
) -> None:
    def fail() -> None:
        raise SetupError("it failed", "repair it")

    run_steps.do(step(lambda: None), tmp_path)
    with pytest.raises(SetupError):
        run_steps.do(step(fail), tmp_path)
    assert not run_steps.is_done(step(fail), tmp_path)


def test_a_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    with run_steps.lock_directory(tmp_path / ".venv"):
        second = subprocess.Popen(
            [sys.executable, "-u", SCRIPT, "--venv", tmp_path / ".venv"],
            env=without_ros(PATH=str(tmp_path)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stdout
        assert "waiting for another set-up" in second.stdout.readline()
        assert second.poll() is None
    _, errors = second.communicate(timeout=60)
    assert errors.startswith("error: ")
