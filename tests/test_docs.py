"""What README, CONTRIBUTING and the guides name is there: files, commands, options, imports."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("weights/*.md")], key=str
)
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands():
    """The arguments of every torchreid-magnifier of the bash blocks, with the page."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|(?<!&)\s#\s", line):
                    words = shlex.split(part)
                    if words[:1] == ["torchreid-magnifier"] and "…" not in words:
                        yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words[1:4])}")


@pytest.fixture(scope="module")
def parser():
    """``parser("masks")`` is what that command parses its arguments with."""
    return programs.load("docs/hooks.py").parser


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    paths = [target.split("#")[0] for target in targets if "://" not in target]
    assert [path for path in paths if path and not (page.parent / path).exists()] == []


@pytest.mark.parametrize("arguments", list(commands()))
def test_commands_have_these_options(arguments, parser, capsys):
    command, *rest = arguments
    found = parser(command)
    # These take pairs of key and value between and after their options.
    mixed = command in ("train", "ablate")
    try:
        (found.parse_intermixed_args if mixed else found.parse_args)(rest)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    for word in rest:
        if word.startswith("examples/"):
            assert (ROOT / word).is_file()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_imports_exist(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("torchreid_magnifier"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_the_tests_of_the_reliability_page_are_there():
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/guides/reliability.md").read_text("utf-8"))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)
    }
    assert named
    assert [name for name in named if name not in there] == []
