# SPDX-License-Identifier: Apache-2.0
"""Versions of TensorRT: the real bindings have everything that the code uses."""

import ast
import re
from pathlib import Path

import pytest
from gpu_stand_in import VERSIONS
from real_names import read_names

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import choose_backend
from mask_detector_ros.inference.tensorrt import api
from mask_detector_ros.inference.tensorrt.api import TensorRt, is_supported

INFERENCE = Path(api.__file__).parent
GUARDED = {
    *("IProgressMonitor", "ExecutionContextAllocationStrategy", "ComputeCapability"),
    *("MemoryPoolType", "TensorIOMode"),
}
"""Names that the code asks for with hasattr or getattr first."""

BY_VERSION = {"STRONGLY_TYPED", "EXPLICIT_BATCH", "FP16", "INT8"}
"""Members that it takes only where `is_strongly_typed` says so."""


def chains():
    """`trt.A` and `trt.A.B` in the source, as (A, B or None)."""
    found = set()
    for file in INFERENCE.glob("*.py"):
        for text in re.findall(r"\btrt((?:\.\w+)+)", file.read_text()):
            first, *rest = text.strip(".").split(".")
            found.add((first, rest[0] if rest else None))
    return {(first, second) for first, second in found if first != "__version__"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_of_the_module_exists_in_the_real_bindings(version):
    known = read_names(version)
    asked = chains()
    assert {"Builder", "OnnxParser", "Runtime", "TensorIOMode"} <= {first for first, _ in asked}
    missing = [
        (first, second)
        for first, second in asked
        if first not in known or (second is not None and second not in known[first])
    ]
    assert {first for first, _ in missing} <= GUARDED


@pytest.mark.parametrize("version", VERSIONS)
def test_members_that_depend_on_the_version_are_there_where_they_are_used(version, bare_gpu):
    known = read_names(version)
    bare_gpu.install(version)
    typed = TensorRt().is_strongly_typed
    flags = known["NetworkDefinitionCreationFlag"]
    assert ("STRONGLY_TYPED" if typed else "EXPLICIT_BATCH") in flags
    assert typed or {"FP16", "INT8"} <= known["BuilderFlag"]
    assert "TF32" in known["BuilderFlag"]


def test_the_stand_in_lets_nothing_through_that_the_real_bindings_lack(any_gpu):
    # The tests of sessions, cache and builder then prove it for every name they come by.
    api = TensorRt()
    known = read_names(any_gpu.version)
    public = {name for name in vars(api.trt) if not name.startswith("_")} - {"fake_tensorrt"}
    assert public <= set(known)
    builder = api.trt.Builder(None)
    with pytest.raises(AttributeError, match=r"Builder of .* has no 'build_cuda_engine'"):
        builder.build_cuda_engine()


def test_only_one_file_knows_bindings_by_index():
    old = {"execute_v2", "execute_async_v2", "get_binding_index", "num_bindings", "max_batch_size"}
    users = {
        file.name
        for file in INFERENCE.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in old
    }
    assert users == {"contexts.py"}


def test_a_tensorrt_that_is_too_old_is_named_with_what_to_do(bare_gpu, tmp_path):
    bare_gpu.install("8.6.1")
    for file in tmp_path.rglob("tensorrt.py"):
        file.write_text("__version__ = '7.1.3'")
    with pytest.raises(BackendError, match=r"TensorRT 7.1.3 is too old; .* 8.0 .*JetPack"):
        TensorRt()


@pytest.mark.parametrize(
    ("machine", "missing", "hint"),
    [
        ("x86_64", ("tensorrt", "pycuda"), "pip install tensorrt pycuda"),
        ("x86_64", ("pycuda",), "pip install pycuda"),
        ("aarch64", ("tensorrt", "pycuda"), "of the board's maker"),
        ("jetson", ("tensorrt",), "sudo apt-get install python3-libnvinfer"),
        ("jetson", ("tensorrt", "pycuda"), "&& CUDA_ROOT=/usr/local/cuda pip3 install pycuda"),
    ],
)
def test_what_is_missing_comes_with_the_line_that_installs_it(monkeypatch, machine, missing, hint):
    monkeypatch.setattr(api, "missing_packages", lambda: missing)
    monkeypatch.setattr(api.platform, "machine", lambda: machine)
    monkeypatch.setattr(api.Path, "exists", lambda path: machine == "jetson")
    assert hint in api.install_hint()


def test_backend_tensorrt_without_it_fails_with_the_install_line(monkeypatch):
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"tensorrt is not installed; do: .*install"):
        choose_backend("tensorrt")


PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "gpus.md"
VERSION = r"(\d+)\.(\d+)"
RELEASES = [(8, 0), (8, 2), (8, 4), (8, 5), (8, 6), (10, 0), (10, 4), (10, 5), (10, 7), (10, 8)]


def rows():
    """Capability, first and last TensorRT, and whether RTX supports it, in the docs."""
    lines = re.findall(r"^\| \w+: .*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    for line in lines:
        _, _, capabilities, versions, rtx, *_ = (cell.strip() for cell in line.split("|"))
        first, *rest = (tuple(map(int, found)) for found in re.findall(VERSION, versions))
        last = rest[0] if " to " in versions else (99, 0)
        for capability in re.findall(VERSION, capabilities):
            yield tuple(map(int, capability)), first, last, rtx == "yes"


def test_the_table_of_gpus_in_the_docs_is_what_auto_goes_by():
    known = read_names("rtx-1.7.1")["ComputeCapability"]
    found = list(rows())
    assert len(found) == 14
    for capability, first, last, rtx in found:
        for release in (*RELEASES, (11, 4)):
            expected = first <= release <= last
            assert is_supported(release, capability) == expected, (release, capability)
        assert ("SM{}{}".format(*capability) in known) == rtx, capability
