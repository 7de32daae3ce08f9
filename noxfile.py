"""Run what CI runs, cell by cell: ``nox --list`` names the sessions.

    nox -s "tests-3.11(oldest, pypi)"     # one cell of the matrix; pytest's options follow after --
    nox -s lint docs

A cell needs its version of Python on the machine. ``DEEP_PERSON_REID`` names a clone of
torchreid's repository to use; without it the cells with torchreid from GitHub make one.
"""

import os
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
OLDEST = ["torch==2.2.*", "torchvision==0.17.*", "numpy<2"]
OLDEST_FOR_3_13 = ["torch==2.6.*", "torchvision==0.21.*"]  # the first that have wheels for it
TORCHREID = "https://github.com/KaiyangZhou/deep-person-reid"
TORCHREID_COMMIT = "566a56a"  # the last one that changed code; its version is 1.4.0

nox.needs_version = ">=2024.4"
nox.options.sessions = ["lint", "docs"]


@nox.session(python=PYTHONS)
@nox.parametrize("torchreid", ["pypi", "github"], ids=["pypi", "github"])
@nox.parametrize("torch", ["oldest", "newest"], ids=["oldest", "newest"])
def tests(session: nox.Session, torch: str, torchreid: str) -> None:
    """Run the suite with one pair of torch and torchreid."""
    pins = []
    if torch == "oldest":
        pins = OLDEST_FOR_3_13 if session.python == "3.13" else OLDEST
    session.install(*pins, ".[test]")
    if torchreid == "github":  # its setup.py needs what is not declared: it is used from a clone
        session.env["PYTHONPATH"] = str(clone(session).resolve())
    session.run("python", "-c", "import torch, torchreid; print(torch.__version__, torchreid)")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the layers of the package."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def app(session: nox.Session) -> None:
    """Drop, click and read in the page of the command ``app``; needs chromium on the machine."""
    session.install(".[test,app]", "playwright")
    session.run("pytest", "-n", "0", "tests/test_app.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/; any warning is an error."""
    session.install(".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)


def clone(session: nox.Session) -> Path:
    """Return the folder of torchreid's repository, cloned where none is named."""
    if named := os.environ.get("DEEP_PERSON_REID"):
        return Path(named)
    folder = Path(session.cache_dir, "deep-person-reid")
    if not folder.exists():
        session.run("git", "clone", "--quiet", TORCHREID, str(folder), external=True)
    session.run("git", "-C", str(folder), "checkout", "-q", TORCHREID_COMMIT, external=True)
    return folder
