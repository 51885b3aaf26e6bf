"""The public names of NVIDIA's real bindings, as tensorrt_names/write_names.py noted them."""

from pathlib import Path

FOLDER = Path(__file__).parent / "tensorrt_names"


def read_names(version):
    """The members of every class and, with no members, the module's other names."""
    names = {}
    for line in (FOLDER / f"{version}.txt").read_text().splitlines():
        name, _, members = line.partition(":")
        names[name] = set(members.split())
    return names


def make_listed(version, classes):
    """A base class that lets through what the real class of its name has, to read and to set."""

    class Listed:
        def _check(self, name):
            known = classes[type(self)._real_name]
            if not name.startswith("_") and name not in known:
                raise AttributeError(f"{type(self)._real_name} of {version} has no {name!r}")

        def __getattribute__(self, name):
            object.__getattribute__(self, "_check")(name)
            return object.__getattribute__(self, name)

        def __setattr__(self, name, value):
            self._check(name)
            object.__setattr__(self, name, value)

    return Listed
