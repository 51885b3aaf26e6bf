# SPDX-License-Identifier: Apache-2.0
"""Every supported distribution has the parts of rclpy that this package uses.

`test/support/ros_names/` lists the names; those of Humble and Lyrical are from their sources.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ROOT / "test" / "support" / "ros_names"
FILES = sorted((ROOT / "mask_detector_ros" / "ros").rglob("*.py"))
PRIVATE = "rclpy.impl.implementation_singleton"
"""Only `distribution.py` may know where rclpy hides things."""

OWN = {"start", "failed", "close", "callback_errors", "describe_publishers"}
"""Members that classes of this package add to those of rclpy."""

VARIABLES = {
    "node": "rclpy.lifecycle.node.LifecycleNode",
    "_node": "rclpy.lifecycle.node.LifecycleNode",
    "publisher": "rclpy.publisher.Publisher",
    "_publisher": "rclpy.publisher.Publisher",
    "subscription": "rclpy.subscription.Subscription",
    "_subscription": "rclpy.subscription.Subscription",
    "executor": "rclpy.executors.SingleThreadedExecutor",
}
"""Variables of these names hold objects of these classes, everywhere in this package."""

MODULES = {"rclpy", "rclpy.parameter", "rclpy.impl.implementation_singleton.rclpy_implementation"}
"""Modules whose names are used with a dot."""

NODES = {"Node": "rclpy.node.Node", "LifecycleNode": "rclpy.lifecycle.node.LifecycleNode"}


class Distribution:
    """The names of one distribution's rclpy."""

    def __init__(self, name):
        self.names, self.bases, self.parameters = {}, {}, {}
        for line in (NAMES / f"{name}.txt").read_text().splitlines():
            owner, _, members = line.partition(":")
            owner, _, bases = owner.partition("[")
            self.bases[owner] = [base for base in bases.rstrip("]").split(",") if base]
            self.names[owner] = set()
            for member in members.split():
                plain, _, parameters = member.partition("(")
                self.names[owner].add(plain)
                if parameters:
                    self.parameters[owner, plain] = parameters.rstrip(")").split(",")

    def find(self, owner, name):
        """The class that has the member, or None."""
        if name in self.names.get(owner, ()):
            return owner
        bases = (self.find(self.resolve(owner, base), name) for base in self.bases.get(owner, ()))
        return next(filter(None, bases), None)

    def resolve(self, owner, base):
        """The full name of a base class."""
        short = base.rpartition(".")[2]
        return next((n for n in self.names if n.endswith(f".{short}") and n != owner), base)


@pytest.fixture(params=["humble", "jazzy", "kilted", "lyrical"], scope="module")
def distribution(request):
    return Distribution(request.param)


@cache
def tree_of(path):
    return ast.parse(path.read_text())


def imports(tree):
    """(module, name) of everything that a file uses of rclpy's modules."""
    aliases = {"rclpy": "rclpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rclpy"):
            for alias in node.names:
                yield node.module, alias.name
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node.value).partition(".")
            module = ".".join(filter(None, (aliases.get(first, ""), rest)))
            if module in MODULES:
                yield module, node.attr


def members(tree):
    """(class, member, keywords) of the uses of nodes, publishers and so on."""
    calls = {id(n.func): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for owner, node in attributes(tree):
        call = calls.get(id(node))
        keywords = [k.arg for k in call.keywords if k.arg] if call else []
        yield owner, node.attr, keywords


def attributes(tree):
    own = {}
    for part in ast.walk(tree):
        if isinstance(part, ast.ClassDef):
            bases = [NODES[ast.unparse(b)] for b in part.bases if ast.unparse(b) in NODES]
            if bases:
                own |= {id(node): (bases[0], part) for node in ast.walk(part)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        holder = ast.unparse(node.value)
        if holder.removeprefix("self.") in VARIABLES:
            yield VARIABLES[holder.removeprefix("self.")], node
        elif holder in ("self", "super()") and id(node) in own:
            base, part = own[id(node)]
            if holder == "super()" or node.attr not in defined_in(part):
                yield base, node


@cache
def defined_in(part):
    names = {n.name for n in ast.walk(part) if isinstance(n, ast.FunctionDef)}
    names |= {n.attr for n in ast.walk(part) if isinstance(n, ast.Attribute) and is_stored(n)}
    return names | {
        n.target.id
        for n in part.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }


def is_stored(node):
    return isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"


def test_everything_imported_from_rclpy_is_there(distribution):
    missing = [
        f"{path.name}: {module}.{name}"
        for path in FILES
        for module, name in imports(tree_of(path))
        if name not in distribution.names.get(module, ())
        and f"{module}.{name}" not in distribution.names
    ]
    assert missing == []


def test_every_member_and_keyword_is_there(distribution):
    missing = []
    for path in FILES:
        for owner, name, keywords in members(tree_of(path)):
            found = distribution.find(owner, name)
            if name.startswith("_") or name in OWN:
                continue
            if not found:
                missing.append(f"{path.name}: {owner}.{name}")
                continue
            known = distribution.parameters.get((found, name), ["**"])
            missing += [
                f"{path.name}: {name}({k}=)"
                for k in keywords
                if k not in known and "**" not in known
            ]
    assert missing == []


def test_private_places_of_rclpy_are_known_to_one_file():
    users = {p.name for p in FILES for module, _ in imports(tree_of(p)) if PRIVATE in module}
    assert users == {"distribution.py"}
