"""The documents are true: commands shown there exist with those options, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.house import ROOT

README = ROOT / "README.md"
# The README always stands in the list: without it these tests fail rather than find nothing to check.
DOCUMENTS = [README, *sorted(ROOT.glob("docs/**/*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

OPERATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<"}


def shell_lines(text: str) -> list[str]:
    """The lines of all ```bash blocks, continued lines joined."""
    blocks = re.findall(r"^ *```(?:bash|sh|shell|console)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def clasp_commands(line: str) -> list[list[str]]:
    """What follows ``clasp-trt`` in each simple command of a shell line."""
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = []
    inside = False
    for index, word in enumerate(words := list(lexer)):
        if word in OPERATORS:
            inside = False
        elif Path(word).name == "clasp-trt" and (
            index == 0 or words[index - 1] in OPERATORS or "=" in words[index - 1]
        ):
            inside = True
            found.append([])
        elif inside:
            found[-1].append(word)
    return found


def shown_commands() -> list[tuple[str, list[str]]]:
    return [
        (document.relative_to(ROOT).as_posix(), command)
        for document in DOCUMENTS
        if document.is_file()
        for line in shell_lines(document.read_text())
        for command in clasp_commands(line)
    ]


def commands_in_prose(text: str) -> list[str]:
    """The lower-case words that follow ``clasp-trt`` in inline code, as commands do; a placeholder is in capitals."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [word for code in re.findall(r"`([^`]+)`", prose) for word in re.findall(r"^clasp-trt\s+([a-z]\S*)", code)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_promises_no_command_that_is_not_there(document: Path) -> None:
    from tests.commands import command_names

    assert set(commands_in_prose(document.read_text())) <= set(command_names())


def test_commands_are_found_in_prose() -> None:
    text = (
        "Use `clasp-trt build\nM`, `clasp-trt COMMAND --help`, `--show` or `clasp-trt\nfly`.\n```\n`clasp-trt x`\n```\n"
    )
    assert commands_in_prose(text) == ["build", "fly"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_placeholder_is_left(document: Path) -> None:
    assert re.findall(r"@[A-Z]+@", document.read_text()) == []


def test_documents_exist() -> None:
    assert [d.name for d in DOCUMENTS if not d.is_file()] == []


def test_readme_shows_the_main_job() -> None:
    shown = {command[0] for document, command in shown_commands() if document == "README.md"}
    assert {"build", "run"} <= shown


@pytest.mark.parametrize(("document", "words"), shown_commands(), ids=lambda part: str(part).replace("/", "."))
def test_shown_command_is_real(document: str, words: list[str]) -> None:
    from tests.commands import check_line

    check_line(words)


@pytest.mark.parametrize(
    "line",
    [
        "biuld MODEL -o out",
        "build MODEL -o out --no-such-option 3",
        "build MODEL extra -o out",
        "build -o out",
        "",
    ],
)
def test_unreal_command_is_caught(line: str) -> None:
    from tests.commands import check_line

    with pytest.raises(click.UsageError):
        check_line(shlex.split(line))


def test_commands_are_found_in_shell_lines() -> None:
    text = "```bash\n$ cd x && HF_HUB_OFFLINE=1 clasp-trt build M \\\n  -o out > log  # why\nls clasp-trt\n```\n"
    lines = shell_lines(text)
    assert [clasp_commands(line) for line in lines] == [[["build", "M", "-o", "out"]], []]
    assert clasp_commands(".venv/bin/clasp-trt run b --prompt 'a | b' | cat") == [["run", "b", "--prompt", "a | b"]]


def links(text: str) -> list[str]:
    """Targets of Markdown links and images, and of ``src`` and ``href`` attributes, outside code blocks."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    return re.findall(r"\]\(([^)\s]+)[^)]*\)", prose) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(document: Path) -> None:
    relative = [link.partition("#")[0] for link in links(document.read_text()) if "://" not in link]
    assert [link for link in relative if link and not (document.parent / link).exists()] == []


def anchors(text: str) -> set[str]:
    """What headings are linked by."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_anchors_exist_in_this_document_and_others(document: Path) -> None:
    lost = []
    for link in links(document.read_text()):
        place, _, anchor = link.partition("#")
        page = document.parent / place if place else document
        if anchor and "://" not in link and page.suffix == ".md" and anchor not in anchors(page.read_text()):
            lost.append(link)
    assert lost == []
