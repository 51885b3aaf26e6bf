# SPDX-License-Identifier: Apache-2.0
"""Write down the public names of a ROS distribution's rclpy, for the tests.

    python write_names.py jazzy .venv/lib/python3.11/site-packages
    python write_names.py humble rclpy/rclpy    # a checkout of github.com/ros2/rclpy, branch humble
    python write_names.py lyrical rclpy-release    # of github.com/ros2-gbp/rclpy-release, tag
                                                   # release/lyrical/rclpy/10.0.10-1

Nothing is imported. Each line of NAME.txt is a module and its names, or a class, the classes that
it extends in brackets, and its members; `name(a,b)` has the parameters a and b.
"""

import ast
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPILED = "rclpy.impl.implementation_singleton.rclpy_implementation"
EXCEPTION = re.compile(rb"register_exception<[^>]+>\(\s*m,\s*\"(\w+)\"")
WHEEL_EXCEPTION = re.compile(rb"\0(\w+Error|InvalidHandle|RCL\w+)(?=\0)")


def write_names(name, folder):
    lines = []
    for path in sorted((folder / "rclpy").rglob("*.py")):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        lines += module_lines(module.removesuffix(".__init__"), ast.parse(path.read_text()))
    lines.append(f"{COMPILED}: {' '.join(compiled_names(folder))}")
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")


def module_lines(module, tree):
    names, lines = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset == 0:
            names += [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    for node in tree.body:
        names += defined(node)
        if isinstance(node, ast.ClassDef):
            bases = ",".join(ast.unparse(base).partition("[")[0] for base in node.bases)
            members = sorted(set(class_members(node)))
            lines.append(f"{module}.{node.name}[{bases}]: {' '.join(members)}")
    return [f"{module}: {' '.join(sorted(set(filter(is_public, names))))}", *lines]


def class_members(node):
    members = [m for part in node.body for m in defined(part)]
    for part in ast.walk(node):
        stored = isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
        if stored and ast.unparse(part.value) == "self":
            members.append(part.attr)
    return [m for m in members if is_public(m) or m.startswith("__init__(")]


def defined(node):
    """What a statement defines, functions with their parameters."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        given = node.args
        parameters = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        parameters += ["**"] if given.kwarg else []
        is_property = any("property" in ast.unparse(d) for d in node.decorator_list)
        return [node.name if is_property else f"{node.name}({','.join(parameters)})"]
    if isinstance(node, ast.ClassDef):
        return [node.name]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [t.id for t in targets if isinstance(t, ast.Name)]


def is_public(name):
    return not name.startswith("_")


def compiled_names(folder):
    sources = [*(folder / "src").rglob("*.cpp")]
    pattern = EXCEPTION if sources else WHEEL_EXCEPTION
    files = sources or (folder / "rclpy").glob("_rclpy_pybind11*.so")
    found = {name.decode() for file in files for name in pattern.findall(file.read_bytes())}
    return sorted(name for name in found if not name.startswith("Py"))


if __name__ == "__main__":
    write_names(sys.argv[1], Path(sys.argv[2]))
