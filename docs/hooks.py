"""Fill the page of the command with what ``--help`` prints, so that no option stands twice."""

import argparse
import importlib
import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

MARK = "<!-- help -->"


class Built(Exception):
    """A command has built its parser, which is the argument, and was stopped there."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the mark of ``reference/command.md`` by a section for each command."""
    if MARK not in markdown:
        return markdown
    from torchreid_magnifier.cli import COMMANDS

    with patch.dict(os.environ, COLUMNS="78"):
        sections = [
            f"## {leaf.prog.removeprefix('torchreid-magnifier ')}\n\n```\n{leaf.format_help()}```\n"
            for command in COMMANDS
            for leaf in leaves(parser(command))
        ]
    return markdown.replace(MARK, "\n".join(sections))


def parser(command: str) -> argparse.ArgumentParser:
    """Return the parser that a command's ``main`` builds."""

    def stop(self: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise Built(self)

    module = importlib.import_module(f"torchreid_magnifier.cli.{command}")
    with (
        patch.object(argparse.ArgumentParser, "parse_args", stop),
        patch.object(argparse.ArgumentParser, "parse_known_args", stop),
    ):
        try:
            module.main([])
        except Built as built:
            return built.args[0]
    raise RuntimeError(f"torchreid-magnifier {command} has no parser of argparse")


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of the commands that have no commands of their own."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for child in group.choices.values():
            yield from leaves(child)
