# SPDX-License-Identifier: Apache-2.0
"""The code blocks of the documentation, and which of their lines run here.

A block runs unless an HTML comment above it says why not:

    <!-- not run: it needs a camera -->
    <!-- not run: `pip install`, `make`: they download packages -->

The first form leaves out the block, the second only lines that begin like one of the quoted words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<note>.*?) -->\s*)?^```(?P<language>\w*)\n(?P<code>.*?)^```", re.S | re.M
)
_PREFIXES = re.compile(r"((?:`[^`]+`(?:, )?)+): (?P<reason>.*)", re.S)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: the word after the fence; empty for output and plain text.
        code: its lines.
        reason: why it, or the lines that begin with one of `left_out`, are not run; empty if all
            run.
        left_out: beginnings of lines; empty if `reason` is about the whole block.
    """

    language: str
    code: str
    reason: str
    left_out: tuple[str, ...]

    def runnable_code(self) -> str:
        """The code that runs here; may be empty."""
        if self.reason and not self.left_out:
            return ""
        lines = self.code.splitlines()
        return "\n".join(line for line in lines if not line.startswith(self.left_out or ("\0",)))


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown page."""
    blocks = []
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        note = " ".join((match["note"] or "").split())
        some = _PREFIXES.fullmatch(note)
        left_out = tuple(re.findall(r"`([^`]+)`", some[1])) if some else ()
        reason = some["reason"] if some else note
        blocks.append(Block(match["language"], match["code"], reason, left_out))
    return blocks


def command_lines(page: Path) -> list[str]:
    """The shell commands in all code of a page, fenced or indented, without comments."""
    text = page.read_text(encoding="utf-8")
    fenced = [b.code for b in blocks_of(page) if b.language in ("", "sh")]
    indented = re.findall(
        r"^ {4,8}(\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M
    )
    lines = "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r" && | \|\| ", line)]
    return [re.sub(r"\s+#.*| > .*", "", part).strip().removeprefix(".venv/bin/") for part in parts]
