"""Files appear complete or not at all."""

import errno
import os
from pathlib import Path

import pytest

from torchreid_magnifier.files import write_atomically


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
