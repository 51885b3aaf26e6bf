# SPDX-License-Identifier: Apache-2.0
"""Convert ONNX files that a test makes."""

import pytest


@pytest.fixture
def convert(tmp_path, capsys):
    """Save a network and convert it; return the exit code, the messages and the result."""

    onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
    from convert_to_trt.keras_to_onnx import main

    def run(model, *options):
        source, target = tmp_path / "mine.onnx", tmp_path / "out.onnx"
        onnx.save(model, source)
        code = main([str(source), "-o", str(target), *options])
        said = capsys.readouterr()
        assert {p.name for p in tmp_path.glob("*")} <= {"mine.onnx", "out.onnx", "crops"}
        return code, said.out, said.err, target

    return run
