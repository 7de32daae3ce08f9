"""Getting the files of trained weights, from a host on this machine that has every problem."""

import contextlib
import errno
import hashlib
import importlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import torch
import torchreid
from processes import started
from requests.adapters import HTTPAdapter

from torchreid_magnifier import files
from torchreid_magnifier.hub import Card, WeightsError, download, fetch, find
from torchreid_magnifier.inference.open import open_network

BODY = np.random.default_rng(0).bytes(1_500_000)
OTHER = np.random.default_rng(1).bytes(len(BODY))
PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"

Reply = Callable[[BaseHTTPRequestHandler], None]


def entry(*links: str, file: Path | None = None, body: bytes = BODY) -> Card:
    return Card(
        name="example",
        model="magnifiernet_r18",
        file=file,
        links=links,
        sha256=hashlib.sha256(body).hexdigest(),
        size=len(body),
        height=128,
        width=64,
    )


TARGET = download.cached_path(entry()).name

# ---------------------------------------------------------------------- the host


class Host:
    """A server that gives each path its replies in turn, the last one again and again."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._replies: dict[str, list[Reply]] = {}
        self.requests: list[tuple[str, str | None]] = []  # path and range
        self.early: list[Path] = []  # files that lay at the target before they were verified

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                path = handler.path.split("?")[0]
                self.requests.append((handler.path, handler.headers["Range"]))
                if target.exists():
                    self.early.append(target)
                replies = self._replies[path]
                (replies.pop(0) if len(replies) > 1 else replies[0])(handler)

            def log_message(handler, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def link(self, name: str, *replies: Reply) -> str:
        self._replies[f"/{name}"] = list(replies)
        return f"{self.address}/{name}"


def gives(
    body: bytes = BODY,
    *,
    cut_after: int | None = None,
    ranges: bool = True,
    length: bool = True,
    headers: dict[str, str] | None = None,
) -> Reply:
    """A file; ``cut_after`` bytes of what is asked for, the connection is closed."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        start = 0
        if ranges and (asked := handler.headers["Range"]):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        for name, value in (headers or {"Content-Type": "application/octet-stream"}).items():
            handler.send_header(name, value)
        if length:
            handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # the client has heard enough
            handler.wfile.write(body[start:][:cut_after])

    return reply


def says(status: int, **headers: str) -> Reply:
    """A status and no file."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return reply


@pytest.fixture
def target(tmp_path, monkeypatch) -> Path:
    """Where the file goes."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return download.cached_path(entry())


@pytest.fixture
def host(target, monkeypatch) -> Iterator[Host]:
    """The host; afterwards, nothing but the verified file may have been at its place."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    host = Host(target)
    thread = threading.Thread(target=host.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield host
    host.server.shutdown()
    host.server.server_close()
    assert not host.early
    assert not target.exists() or target.read_bytes() == BODY
    if target.parent.is_dir():
        assert {path.name for path in target.parent.glob("*")} - hidden(target) <= {target.name}


def hidden(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir() if path.name.startswith(".")}


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """The pauses between attempts, which are not made."""
    pauses: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def failure(weights: Card) -> str:
    with pytest.raises(WeightsError) as error:
        fetch(weights)
    return str(error.value)


def reasons(host: Host, weights: Card) -> dict[str, str]:
    """Why every link failed."""
    lines = [line.strip() for line in failure(weights).splitlines()]
    return {
        link.removeprefix(f"{host.address}/"): next(
            line.removeprefix(f"{link}: ") for line in lines if line.startswith(f"{link}: ")
        )
        for link in weights.links
    }


# ---------------------------------------------------------------------- what goes well


def test_a_file_is_downloaded_once_and_used_offline_then(host, target, capsys):
    weights = entry(host.link("a", gives()))
    assert fetch(weights) == target
    assert target.read_bytes() == BODY
    assert host.requests == [("/a", None)]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Downloading example (1.5 MB) from {host.address}/a\n")
    host.server.shutdown()
    assert fetch(weights) == target
    assert fetch(entry("http://127.0.0.1:9/nobody")) == target
    assert len(host.requests) == 1


def test_nothing_else_is_left_and_others_may_read_the_file(host, target):
    before = os.umask(0o027)
    try:
        fetch(entry(host.link("a", gives())))
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert hidden(target) <= {f".{TARGET}.lock"}


def test_a_file_that_came_with_its_manifest_is_used_where_it_is(tmp_path, target):
    file = tmp_path / "example.pth"
    file.write_bytes(BODY)
    assert fetch(entry(file=file)) == file
    assert not target.parent.exists()


def test_two_versions_of_the_same_weights_lie_side_by_side(host, target):
    new = entry(host.link("new", gives(OTHER)), body=OTHER)
    path = fetch(new)
    assert path != target and path.read_bytes() == OTHER
    path.unlink()  # what the fixture would not expect


# ---------------------------------------------------------------------- what fails at a host


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (gives(OTHER), f"what came has the SHA-256 {hashlib.sha256(OTHER).hexdigest()} instead of"),
        (gives(BODY + b"x"), "what came has 1,500,001 bytes instead of 1,500,000"),
        (gives(BODY[:-1]), "what came has 1,499,999 bytes instead of 1,500,000"),
        (gives(BODY[:-1], length=False), "what came has 1,499,999 bytes instead of 1,500,000"),
        (gives(BODY * 3, length=False), "instead of 1,500,000"),
        (
            gives(PAGE, headers={"Content-Type": "text/html"}),
            f"has {len(PAGE)} bytes instead of 1,500,000: a web page in place of the file",
        ),
        (
            gives(PAGE, length=False),
            f"has {len(PAGE)} bytes instead of 1,500,000: a web page in place of the file",
        ),
        (says(404), "HTTP 404 Not Found"),
        (says(403), "HTTP 403 Forbidden"),
    ],
)
def test_what_no_second_attempt_helps_goes_to_the_next_mirror(reply, reason, host, target, pauses):
    weights = entry(host.link("a", reply), host.link("b", gives()))
    assert fetch(weights) == target
    assert host.requests == [("/a", None), ("/b", None)]
    assert not pauses
    target.unlink()
    assert reason in reasons(host, entry(weights.links[0]))["a"]
    assert not target.exists()
    assert hidden(target) <= {f".{TARGET}.lock"}


def test_mirrors_are_tried_in_order(host):
    weights = entry(*(host.link(name, says(404)) for name in "cab"))
    assert list(reasons(host, weights)) == ["c", "a", "b"]
    assert [path for path, _ in host.requests] == ["/c", "/a", "/b"]


@pytest.mark.parametrize(
    ("reply", "waited"),
    [
        (says(429), [1, 2]),
        (says(500), [1, 2]),
        (says(503, Retry_After="7"), [7, 7]),
        (says(429, Retry_After="0"), [0, 0]),
        (says(429, Retry_After=formatdate(0, usegmt=True)), [0, 0]),
        (says(429, Retry_After="soon"), [1, 2]),
    ],
)
def test_a_busy_host_is_asked_again_when_it_likes(reply, waited, host, pauses):
    fetch(entry(host.link("a", reply, reply, gives())))
    assert pauses == waited


def test_a_host_that_stays_busy(host, pauses):
    weights = entry(host.link("a", says(503)), host.link("b", says(429, Retry_After="3600")))
    assert reasons(host, weights) == {
        "a": "HTTP 503 Service Unavailable (tried 4 times)",
        "b": "HTTP 429 Too Many Requests; the host asks to wait for 3600 seconds",
    }
    assert pauses == [1, 2, 4]


def test_a_cut_connection_is_continued(host, pauses):
    fetch(entry(host.link("a", gives(cut_after=800_000), gives())))
    assert [asked for _, asked in host.requests] == [None, None, "bytes=524288-"]
    assert pauses == [1]


def test_a_busy_host_in_between_does_not_begin_again(host):
    fetch(entry(host.link("a", gives(cut_after=800_000), says(429), gives())))
    assert [asked for _, asked in host.requests] == [None, None, None, "bytes=524288-"]


def test_a_host_that_cannot_continue_begins_again(host):
    whole = gives(ranges=False)
    fetch(entry(host.link("a", gives(cut_after=800_000), whole)))
    assert [asked for _, asked in host.requests] == [None, None, "bytes=524288-", None]


def test_a_connection_that_is_always_cut(host, target):
    weights = entry(host.link("a", gives(cut_after=800_000, ranges=False)))
    reason = reasons(host, weights)["a"]
    assert "Download is incomplete: received 524288 bytes" in reason or "did not honor" in reason
    assert reason.endswith("(tried 4 times)")


def test_what_the_next_mirror_continues_may_be_garbage(host):
    weights = entry(host.link("a", gives(OTHER, cut_after=800_000), says(404)))
    assert "404" in reasons(host, weights)["a"]
    fetch(entry(host.link("b", gives())))
    assert [asked for _, asked in host.requests[2:]] == [None, "bytes=524288-", None]


def test_nobody_there(target, pauses):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        link = f"http://127.0.0.1:{gone.server_port}/a"
    message = failure(entry(link))
    assert "refused" in message and "(tried 4 times)" in message
    assert not target.exists()


def test_when_nothing_works_everything_is_reported(host, target, tmp_path):
    file = tmp_path / "example.pth"
    file.write_bytes(b"damaged")
    weights = entry(host.link("a", says(404)), host.link("b", gives(OTHER)), file=file)
    assert failure(weights) == (
        "The weights 'example' cannot be had:\n"
        f"  {file}: has 7 bytes instead of 1,500,000\n"
        f"  {target}: there is no such file\n"
        f"  {host.address}/a: HTTP 404 Not Found\n"
        f"  {host.address}/b: what came has the SHA-256 {hashlib.sha256(OTHER).hexdigest()} "
        f"instead of {weights.sha256}\n"
        f"Get the file by other means and put it at {target}: 1,500,000 bytes, "
        f"SHA-256 {weights.sha256}."
    )
    target.write_bytes(BODY)
    assert fetch(weights) == target


def test_offline_nothing_is_asked(host, target, monkeypatch):
    monkeypatch.setattr(download.constants, "HF_HUB_OFFLINE", True)
    weights = entry(host.link("a", gives()))
    assert f"{host.address}/a: HF_HUB_OFFLINE is set\n" in failure(weights)
    assert not host.requests
    target.parent.mkdir(parents=True)
    target.write_bytes(BODY)
    assert fetch(weights) == target


# ---------------------------------------------------------------------- Google Drive


@pytest.fixture
def drive(host, monkeypatch) -> Host:
    """Google's hosts are this one, for gdown as it is: only connections go elsewhere."""

    class ToHost(HTTPAdapter):
        def send(self, request, **options):
            request.url = host.address + request.path_url
            return super().send(request, **options)

    initialise = requests.Session.__init__

    def with_host(session):
        initialise(session)
        for name in ("drive.google.com", "drive.usercontent.google.com"):
            session.mount(f"https://{name}/", ToHost())

    monkeypatch.setattr(requests.Session, "__init__", with_host)
    return host


LINK = "https://drive.google.com/uc?id=1AbCdEfGhIjKlMnOpQrStUvWxYz"
CONFIRM = (
    b'<!DOCTYPE html><html><form id="download-form" action='
    b'"https://drive.usercontent.google.com/download" method="get"><input type="hidden" '
    b'name="id" value="1AbC"><input type="hidden" name="confirm" value="t"></form></html>'
)
QUOTA = (
    b"<!DOCTYPE html><html>\n"
    b'<p class="uc-error-subcaption">Too many users have viewed or downloaded this file.</p></html>'
)


def page(body: bytes) -> Reply:
    return gives(body, headers={"Content-Type": "text/html; charset=utf-8"})


def drive_file() -> Reply:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="weights.pth"',
    }
    return gives(headers=headers)


def test_drive_asks_for_a_confirmation_first(drive, target):
    drive.link("uc", page(CONFIRM))
    drive.link("download", drive_file())
    assert fetch(entry(LINK)) == target
    assert [path.split("?")[0] for path, _ in drive.requests] == ["/uc", "/download"]
    assert "confirm=t" in drive.requests[1][0]


def test_drive_asks_for_confirmations_for_ever(drive, target, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    drive.link("uc", page(CONFIRM))
    drive.link("download", page(CONFIRM))
    message = failure(entry(LINK, drive.link("b", says(404))))
    assert f"{LINK}: no byte of the file came in 0.5 seconds" in message
    assert "/b: HTTP 404" in message
    assert not target.exists()


def test_drive_refuses_and_the_mirror_gives_it(drive, target, capsys):
    drive.link("uc", page(QUOTA))
    assert fetch(entry(LINK, drive.link("mirror", gives()))) == target
    assert "Too many users have viewed or downloaded this file." in capsys.readouterr().err


def test_drive_answers_what_gdown_does_not_expect(drive, target):
    drive.link("uc", says(503))  # not even a kind of content
    reason = failure(entry(LINK)).splitlines()[-2]
    assert reason == f"  {LINK}: gdown cannot read the answer (KeyError('content-type'))"


def test_a_network_of_torchreids_zoo_comes_from_drive(drive, tmp_path, monkeypatch):
    """Nobody publishes its hash: what came first must come again."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "zoo"))
    bodies = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = torchreid.models.build_model("osnet_x0_25", 751, pretrained=False)
        torch.save({"state_dict": model.state_dict(), "rank1": np.float64(1)}, data := io.BytesIO())
        bodies.append(data.getvalue())
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="osnet.pth"',
    }
    drive.link("uc", page(QUOTA), gives(bodies[0], headers=headers))
    with pytest.raises(WeightsError, match="Too many users"):
        open_network("osnet_x0_25_market1501")
    network = open_network("osnet_x0_25_market1501")
    assert (network.card.model, network.model.embedding_size) == ("osnet_x0_25", 512)
    assert network.card.sha256 == hashlib.sha256(bodies[0]).hexdigest()
    path = download.cached_path(find("osnet_x0_25_market1501"))
    asked = len(drive.requests)
    assert open_network("osnet_x0_25_market1501").card == network.card
    assert len(drive.requests) == asked  # it is here
    drive.link("uc", gives(bodies[1], headers=headers))
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=f"instead of {network.card.sha256}"):
        open_network("osnet_x0_25_market1501")


# ---------------------------------------------------------------------- this machine


def test_two_processes_download_once(host, target):
    both_there = threading.Event()

    def slow(handler):
        both_there.wait(5)
        gives()(handler)

    weights = entry(host.link("a", slow))
    processes = [started(lambda: fetch(weights) != target) for _ in range(2)]
    threading.Timer(0.5, both_there.set).start()  # time for the second one to ask too
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert host.requests == [("/a", None)]


def test_ctrl_c_and_the_next_download_goes_on(host, target, monkeypatch):
    weights = entry(host.link("a", gives()))

    class Impatient(download.tqdm):
        def update(self, n):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "tqdm", Impatient)
        with pytest.raises(KeyboardInterrupt):
            fetch(weights)
    assert not target.exists()
    assert fetch(weights) == target
    assert [asked for _, asked in host.requests] == [None, None, "bytes=524288-"]


def test_a_full_disk(host, target, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            super().write(data[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    module = importlib.import_module("gdown.download")
    monkeypatch.setattr(module, "open", Full, raising=False)
    assert failure(entry(host.link("a", gives()), host.link("b", gives()))) == (
        f"The weights 'example' (1.5 MB) cannot be stored in {target.parent} ([Errno 28] No space "
        "left on device): make room there, or name another folder by the environment variable "
        "TORCH_HOME."
    )
    assert [path for path, _ in host.requests] == ["/a"]  # no mirror would help
    assert hidden(target) <= {f".{TARGET}.lock"}


def test_a_folder_that_cannot_be_made(host, tmp_path):
    (tmp_path / "torch").write_text("a file in the way")
    message = failure(entry(host.link("a", gives())))
    assert f"cannot be stored in {tmp_path}/torch/hub/" in message
    assert "TORCH_HOME" in message
    assert not host.requests


def test_a_folder_that_cannot_be_written(host, target):
    target.parent.mkdir(parents=True)
    target.parent.chmod(0o555)
    if os.access(target.parent, os.W_OK):
        pytest.skip("root may write everywhere")
    assert "Permission denied" in failure(entry(host.link("a", gives())))
    target.parent.chmod(0o755)


def test_a_cache_on_a_read_only_disk_is_used_and_not_written(host, target, monkeypatch):
    target.parent.mkdir(parents=True)
    target.write_bytes(BODY)

    def read_only(self, *arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.FileLock, "acquire", read_only)
    weights = entry(host.link("a", gives()))
    assert fetch(weights) == target
    target.unlink()
    assert "Read-only file system): make room there" in failure(weights)
    assert not host.requests


def test_a_damaged_file_in_the_cache_is_downloaded_again(host, target):
    weights = entry(host.link("a", gives()))
    target.parent.mkdir(parents=True)
    for damaged in (BODY[:1000], OTHER, b""):
        target.write_bytes(damaged)
        assert fetch(weights) == target
        assert target.read_bytes() == BODY
    assert len(host.requests) == 3


def test_a_damaged_file_in_the_cache_and_no_link_that_works(host, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"damaged")
    message = failure(entry(host.link("a", says(404))))
    assert f"{target}: has 7 bytes instead of 1,500,000\n" in message
    assert not target.exists()


def test_a_damaged_shipped_file_is_replaced_from_a_mirror(host, target, tmp_path):
    file = tmp_path / "example.pth"
    file.write_bytes(OTHER)
    assert fetch(entry(host.link("a", gives()), file=file)) == target
    assert file.read_bytes() == OTHER


@pytest.mark.parametrize("content", [None, OTHER])
def test_a_shipped_file_and_no_link(content, target, tmp_path):
    file = tmp_path / "example.pth"
    if content is not None:
        file.write_bytes(content)
    message = failure(entry(file=file))
    problem = "has the SHA-256" if content else "there is no such file"
    assert f"{file}: {problem}" in message
    assert f"put it at {target}: 1,500,000 bytes" in message
    assert not target.parent.exists()
