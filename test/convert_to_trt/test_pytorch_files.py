# SPDX-License-Identifier: Apache-2.0
"""A PyTorch file is rejected with the lines that export what it holds."""

import collections
import pickle
import re
import zipfile

import pytest

from convert_to_trt.pytorch_files import describe_pytorch
from mask_detector_ros.foreign_files import PYTORCH

OLD_MAGIC = 0x1950A86A20F9469CFC6C


class Named:
    """Pickled as an object of any class, which need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Pickler(pickle._Pickler):
    """A pickler that writes a reference to `Named` objects."""

    def save(self, thing, save_persistent_id=True):
        if not isinstance(thing, Named):
            super().save(thing, save_persistent_id)
        elif self.proto < 4:
            self.write(f"c{thing.module}\n{thing.name}\n".encode())
        else:
            super().save(thing.module)
            super().save(thing.name)
            self.write(pickle.STACK_GLOBAL)


def write(path, thing, protocol=2, old=False, **others):
    with path.with_suffix(".raw").open("wb") as file:
        if old:
            for part in (OLD_MAGIC, 1001, {"little_endian": True}):
                pickle.dump(part, file, 2)
        Pickler(file, protocol).dump(thing)
    content = path.with_suffix(".raw").read_bytes()
    if old:
        path.write_bytes(content)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mask/data.pkl", content)
        for name, text in others.items():
            archive.writestr(f"mask/{name}.pkl", text)
    return path


WEIGHTS = collections.OrderedDict(weight=Named("torch._utils", "_rebuild_tensor_v2"))
CASES = {
    "weights": (
        WEIGHTS,
        {},
        r"weights without their network.*load_state_dict\(torch\.load\('m\.pt'\)",
    ),
    "old weights": (WEIGHTS, {"old": True}, "weights without their network"),
    "checkpoint": ({"epoch": 1, "state_dict": WEIGHTS}, {}, r"load\('m\.pt'\)\['state_dict'\]\)"),
    "whole": ([Named("masks.net", "Net")], {}, r"whole PyTorch model \(masks\.net\.Net\)"),
    "old whole": ([Named("masks.net", "Net")], {"old": True}, r"whole.*masks\.net\.Net"),
    "protocol 4": ([Named("masks.net", "Net")], {"protocol": 4}, r"whole.*masks\.net\.Net"),
    "of torch": ([Named("torch.nn.modules.container", "Sequential")], {}, r"whole.*Sequential"),
    "TorchScript": (
        [Named("__torch__", "Net")],
        {"constants": ""},
        r"TorchScript.*torch\.jit\.load",
    ),
    "Ultralytics": ([Named("ultralytics.nn.tasks", "Model")], {}, "yolo export model=m.pt"),
    "fastai": ([Named("fastai.learner", "Learner")], {}, r"load_learner\('m\.pt'\).*--logits"),
}


@pytest.mark.parametrize(("thing", "options", "expected"), CASES.values(), ids=CASES)
def test_the_remedy_fits_what_the_file_holds(tmp_path, thing, options, expected):
    told = describe_pytorch(write(tmp_path / "m.pt", thing, **options))
    assert re.search(expected, told)
    assert "yolo export" in told or "torch.onnx.export(model" in told


def test_a_damaged_file_has_the_remedy_of_any(tmp_path):
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mask/data.pkl", b"\x80\x02c")
    assert describe_pytorch(path) == PYTORCH
