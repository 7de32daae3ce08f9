"""Files appear complete or not at all."""

import errno
import os
from pathlib import Path

import pytest
import yaml

from torchreid_magnifier.files import load_yaml, read_lines, temporary_beside, write_atomically


def test_replaces_a_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.txt"
    for data in (b"first", b"second"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failing", ["write", "rename"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")

    def half(self, data):
        with open(self, "wb") as file:
            file.write(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_rename(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "write":
        monkeypatch.setattr(Path, "write_bytes", half)
    else:
        monkeypatch.setattr(os, "replace", no_rename)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"after, and longer")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]


def test_what_killed_processes_left_is_removed(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    for number in (2**22 + 1, os.getppid()):  # nobody has the first number on Linux
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        temporary_beside(path).write_bytes(b"half")
    monkeypatch.undo()
    (tmp_path / ".other.txt.partial").write_text("the user's")
    write_atomically(path, b"whole")
    names = [name for name in os.listdir(tmp_path) if name.startswith(".a.txt")]
    assert len(names) == 1 and f"-{os.getppid()}." in names[0]  # which may be writing
    assert (tmp_path / ".other.txt.partial").exists() and path.read_bytes() == b"whole"


def test_lines_end_where_lines_of_text_end(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("a\u2028b.jpg\r\n\r\nc\x85d.jpg\re.jpg".encode("utf-16"))
    assert read_lines(path) == [(1, "a\u2028b.jpg"), (3, "c\x85d.jpg"), (4, "e.jpg")]


def test_a_key_that_is_there_twice_in_yaml_is_an_error():
    assert load_yaml("a: {b: 1}\nc: {<<: {b: 1}, b: 2}") == {"a": {"b": 1}, "c": {"b": 2}}
    with pytest.raises(yaml.YAMLError, match="'data' is there twice"):
        load_yaml("data: {root: x}\nmodel: {}\ndata: {workers: 1}")
