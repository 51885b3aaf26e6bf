"""A GPU that is not there."""

import pytest
from gpu_stand_in import VERSIONS, FakeGpu


@pytest.fixture
def bare_gpu(tmp_path, monkeypatch):
    """The stand-in, not yet installed."""
    folder = tmp_path / "gpu"
    folder.mkdir()
    gpu = FakeGpu(folder, monkeypatch)
    yield gpu
    gpu.remove_modules()


@pytest.fixture
def gpu(bare_gpu):
    """An Orin with TensorRT 10.3."""
    bare_gpu.install()
    return bare_gpu


@pytest.fixture(params=[version for version in VERSIONS if version != "10.13.3"])
def any_gpu(request, bare_gpu):
    """The same with each TensorRT that the code tells from the others."""
    bare_gpu.install(request.param)
    bare_gpu.version = request.param
    return bare_gpu
