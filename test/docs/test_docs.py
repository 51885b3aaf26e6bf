# SPDX-License-Identifier: Apache-2.0
"""The docs: generated pages match the code, and links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from mask_detector_ros.cli import build_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GENERATED = {"reference/launch.md", "reference/commands.md"}

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return runpy.run_path(str(DOCS / "generate.py"))["render_pages"]()


def test_every_command_has_a_section_with_its_options(generated: dict[str, str]) -> None:
    text = generated["commands.md"]
    (commands,) = (a for a in build_parser()._actions if hasattr(a, "choices") and a.choices)
    for command, parser in commands.choices.items():
        section = text.partition(f"## mask-detector {command}\n")[2].partition("\n## ")[0]
        options = {o for action in parser._actions for o in action.option_strings} - {
            "-h",
            "--help",
        }
        assert options <= set(re.findall(r"`(--?[\w-]+)`", section)), command


def test_every_launch_argument_has_a_row(generated: dict[str, str]) -> None:
    source = (ROOT / "launch" / "mask.launch.py").read_text(encoding="utf-8")
    names = re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', source)
    assert "camera" in names
    assert re.findall(r"^\| `(\w+)`", generated["launch.md"], re.MULTILINE) == names


def targets(page: Path) -> list[str]:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [link for link in links if not re.match(r"https?:|mailto:", link)]


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "models").glob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in targets(page):
        target = (page.parent / link).resolve()
        is_generated = target.is_relative_to(DOCS) and str(target.relative_to(DOCS)) in GENERATED
        assert target.exists() or is_generated, link


def test_the_navigation_names_every_page_once() -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:", lambda *_: None)
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)

    def files(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        children = entry if isinstance(entry, list) else list(entry.values())  # type: ignore[attr-defined]
        return [file for child in children for file in files(child)]

    named = files(site["nav"])
    assert len(named) == len(set(named))
    written = {str(page.relative_to(DOCS)) for page in PAGES}
    apart = {name for name in written if name.startswith(("measured/accuracy/", "measured/speed/"))}
    assert set(named) == (written | GENERATED) - apart


def sources() -> str:
    """All source text, with the pieces of split strings joined."""
    folders = ("mask_detector_ros", "convert_to_trt")
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_every_message_of_the_errors_page_is_in_the_code() -> None:
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    code = sources()
    rows = re.findall(r"^\| (`.*?`) \| ", page, re.MULTILINE)
    messages = [m for row in rows for m in re.findall(r"`([^`]+)`", row) if len(m) > 15]
    assert len(messages) > 20
    for message in messages:
        # Capitals and dots stand for values; the longest piece between them is literal.
        pieces = re.split(r"\.\.\.|/[a-z]+/|\b[A-Z]+\b|\d+", message)
        assert max(pieces, key=len).strip(" :();") in code, message


def test_the_readme_is_short_enough_to_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
