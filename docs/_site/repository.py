"""The rest of the repository in the site: README.md is its front page, and whatever else a page links to comes along.

A file of ``docs/`` has the address it has there; any other lies below ``repository/``. Links between files stay as they
are in the repository and are turned here, so that both the repository and the site can be followed.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
FRONT = "README.md"
PAGES = (FRONT, "CONTRIBUTING.md", "CHANGELOG.md")
"""Where the walk over links begins, beside the pages of ``docs/``."""

CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()[^)\s#]+")
DRAWN = re.compile(r"^```mermaid\n.*?^```\n\n", re.MULTILINE | re.DOTALL)


def address(path: str) -> str:
    """Where a file of the repository lies in the site."""
    if path == FRONT:
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"


def place(uri: str) -> str:
    """The file of the repository at an address of the site: the reverse of :func:`address`."""
    if uri == "index.md":
        return FRONT
    return uri.removeprefix("repository/") if uri.startswith("repository/") else f"docs/{uri}"


def target(link: str, page: str) -> str | None:
    """The file of the repository that a link of ``page`` means; None for an address elsewhere."""
    return None if ":" in link else posixpath.normpath(PurePosixPath(page).parent / link)


def turned(text: str, page: str) -> str:
    """The text of ``page`` for the site: its links turned, outside code. A diagram that only a script from elsewhere
    could draw is left out."""

    def turn(match: re.Match[str]) -> str:
        found = target(match[0], page)
        return match[0] if found is None else posixpath.relpath(address(found), posixpath.dirname(address(page)) or ".")

    text, done, pieces = DRAWN.sub("", text), 0, []
    for code in CODE.finditer(text):
        pieces += [LINK.sub(turn, text[done : code.start()]), code[0]]
        done = code.end()
    return "".join(pieces) + LINK.sub(turn, text[done:])


def linked(page: str) -> set[str]:
    """Files of the repository that a page links to."""
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    found = {target(link, page) for link in LINK.findall(text)}
    return {each for each in found if each is not None and (ROOT / each).is_file()}


def brought() -> set[str]:
    """All files outside ``docs/`` that the site needs: the pages, and whatever is linked from any page, in turn."""
    pending = [*PAGES, *(each.relative_to(ROOT).as_posix() for each in (ROOT / "docs").glob("*.md"))]
    seen = set[str]()
    while pending:
        path = pending.pop()
        if path not in seen:
            seen.add(path)
            pending += linked(path) if path.endswith(".md") else ()
    return {each for each in seen if not each.startswith("docs/")}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path in sorted(brought()):
        files.append(File.generated(config, address(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return turned(markdown, place(page.file.src_uri))
