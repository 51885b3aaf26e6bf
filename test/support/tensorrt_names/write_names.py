# SPDX-License-Identifier: Apache-2.0
"""Write down every public name of NVIDIA's real Python bindings: `make tensorrt-names`.

The bindings are small wheels without the libraries behind them (and without a GPU): empty
libraries of the right names let them be imported. Nothing of them is kept but the names.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent

BINDINGS = {
    "8.6.1": ("tensorrt-bindings==8.6.1", "tensorrt_bindings"),
    "10.3.0": ("tensorrt-cu12-bindings==10.3.0", "tensorrt_bindings"),
    "10.13.3": ("tensorrt-cu12-bindings==10.13.3.9", "tensorrt_bindings"),
    "11.4.0": ("tensorrt-cu13-bindings==11.4.0.106", "tensorrt_bindings"),
    "rtx-1.7.1": ("tensorrt-rtx-cu13-bindings==1.7.1.116", "tensorrt_rtx_bindings"),
}
"""JetPack 6 has 10.3, JetPack 7 has 10.13; of 8.5, JetPack 5's, there is no wheel."""

FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL"),
    *("createInferRuntime_INTERNAL", "createNvOnnxParserRefitter_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry", "getNvOnnxParserVersion"),
    *("getPluginRegistry", "initLibNvInferPlugins", "_ZN11nvuffparser15createUffParserEv"),
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)
"""What the bindings want from the libraries; none of it is called on import."""

LIST = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
for name, value in sorted(vars(module).items()):
    if not name.startswith("_"):
        members = [m for m in dir(value) if not m.startswith("_")]
        print(f"{name}: {' '.join(members)}" if isinstance(value, type) else name)
"""


def make_libraries(folder, module):
    source = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS)
    needed = subprocess.run(
        ["readelf", "-d", next((folder / module).glob("*.so"))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in needed.splitlines():
        library = line.partition("[")[2].rstrip("]")
        if "(NEEDED)" in line and library.startswith(("libnv", "libtensorrt")):
            command = ["cc", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{library}"]
            subprocess.run([*command, "-o", folder / library], input=source, text=True, check=True)


def write(version, package, module):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", name]
        subprocess.run([*pip, package], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
        make_libraries(folder, module)
        environment = {"PYTHONPATH": name, "LD_LIBRARY_PATH": name}
        names = subprocess.run(
            [sys.executable, "-c", LIST, module],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    (HERE / f"{version}.txt").write_text(names)
    print(f"{version}.txt: {len(names.splitlines())} names of {package}")


if __name__ == "__main__":
    for version, (package, module) in BINDINGS.items():
        write(version, package, module)
