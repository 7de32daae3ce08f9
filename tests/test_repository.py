"""Networks as folders and on the Hub, which is on this machine: written, opened, refused."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants

from torchreid_magnifier import open_network
from torchreid_magnifier.hub import DEFAULT, Card, Result, WeightsError
from torchreid_magnifier.hub.repository import CARD_FILE, README, WEIGHTS_FILE, locate
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.models import build

MODEL = "magnifiernet_r18_g"
COMMIT = "1" * 40
FACTS = {
    "licence": "MIT",
    "dataset": "noise",
    "num_classes": 3,
    "start": "random weights",
    "results": (Result("noise", 52.5, 46.75, "cosine distance"),),
    "command": "torchreid-magnifier train",
    "limits": "It has seen noise only.",
}


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    model = build(MODEL, 3, loss="triplet").eval()
    return Network(model, Card("log/model.pth.tar-60", MODEL, 64, 32, (0.5,) * 3, (0.25,) * 3))


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("networks") / "noise-net"
    network.save_pretrained(folder, **FACTS)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def same(opened: Network, network: Network) -> bool:
    images = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.equal(opened.model(images), network.model(images))


# ---------------------------------------------------------------------- folders


def test_a_folder_opens_as_the_network_that_it_was(network, folder):
    assert {path.name for path in folder.iterdir()} == {WEIGHTS_FILE, CARD_FILE, README}
    opened = open_network(folder)
    assert same(opened, network) and opened.preprocessing == network.preprocessing
    card = json.loads((folder / CARD_FILE).read_text())
    assert card["name"] == "noise-net" and card["results"][0]["rank-1"] == 52.5
    assert card["sha256"] == hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    assert opened.card.results == FACTS["results"] and opened.card.limits == FACTS["limits"]
    assert same(open_network(folder / WEIGHTS_FILE), network)  # the file alone has its card too


def test_the_readme_has_what_the_hub_and_readers_need(folder):
    _, head, text = (folder / README).read_text().split("---\n", 2)
    data = yaml.safe_load(head)
    assert data["license"] == "mit" and "person-re-identification" in data["tags"]
    (model,) = data["model-index"]
    metrics = [m for result in model["results"] for m in result["metrics"]]
    assert {(m["type"], m["value"]) for m in metrics} == {("rank-1", 52.5), ("mAP", 46.75)}
    for words in (
        "| noise | 52.5 | 46.8 | cosine distance |",
        "| input | 64x32 pixels, RGB",
        "| trained on | noise, 3 identities |",
        "| training started from | random weights |",
        "## Intended use",
        "It has seen noise only.",
    ):
        assert words in text


def test_a_folder_is_written_whole_or_not_at_all(network, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(WeightsError, match="full is not empty: give another folder"):
        network.save_pretrained(tmp_path / "full")

    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "new").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("torchreid_magnifier.hub.repository.readme", full)
        with pytest.raises(OSError, match="No space left"):
            network.save_pretrained(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "new"]
    assert not list((tmp_path / "new").iterdir())
    network.save_pretrained(tmp_path / "new")
    assert (tmp_path / "new" / CARD_FILE).is_file()


def copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("fault", ["cut", "other", "no weights", "no card", "no JSON", "no model"])
def test_a_folder_with_a_problem(folder, tmp_path, fault):
    damaged = copy(folder, tmp_path / "damaged")
    weights, card = damaged / WEIGHTS_FILE, damaged / CARD_FILE
    if fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
        message = "bytes instead of .* by config.json: get the folder anew"
    elif fault == "other":
        weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
        message = "has the SHA-256 .* instead of"
    elif fault == "no weights":
        weights.unlink()
        message = "there is no such file"
    elif fault == "no card":
        card.unlink()
        message = "is no network's folder: it has no config.json"
    elif fault == "no JSON":
        card.write_text("{")
        message = "is no card of a network: it is no JSON"
    else:
        entry = json.loads(card.read_text())
        entry["model"] = 3
        card.write_text(json.dumps(entry))
        message = "is no card of a network: model: expected a text, found 3"
    with pytest.raises(WeightsError, match=message):
        open_network(damaged)


def test_a_card_of_a_later_version_is_read(folder, tmp_path, network):
    later = copy(folder, tmp_path / "later")
    entry = json.loads((later / CARD_FILE).read_text())
    (later / CARD_FILE).write_text(json.dumps({**entry, "version": "99.0", "carbon": 3}))
    assert same(open_network(later), network)


# ---------------------------------------------------------------------- a hub


class Hub:
    """The endpoints that huggingface_hub asks for a download and for a commit."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []
        self.cut: dict[str, int] = {}  # bytes after which a file's connection is closed, once
        self.refuses = 0  # a status for everything
        self.committed: dict[str, bytes] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(handler) -> None:
                self.file(handler, with_body=False)

            def do_GET(handler) -> None:
                if "/resolve/" in handler.path:  # huggingface_hub asks for things of its own too
                    self.asked.append(handler.path)
                self.file(handler, with_body=True)

            def do_POST(handler) -> None:
                self.post(handler)

            def log_message(handler, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def file(self, handler: BaseHTTPRequestHandler, with_body: bool) -> None:
        name = handler.path.rpartition("/")[2]
        gone = "/resolve/gone/" in handler.path
        if "/resolve/" not in handler.path or name not in self.files or gone or self.refuses:
            status = self.refuses or 404
            handler.send_response(status)
            code = "RevisionNotFound" if gone else "EntryNotFound"
            if status == 404:
                handler.send_header("X-Error-Code", code)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = self.files[name]
        start = 0
        if asked := handler.headers["Range"]:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError):
                handler.wfile.write(body[start:][: self.cut.pop(name, None)])

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0))
        path = handler.path.partition("?")[0]
        answer: dict = {}
        if path == "/api/repos/create":
            answer = {"url": f"{self.address}/group/noise", "name": "group/noise"}
        elif path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            answer = {
                "files": [
                    {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names
                ]
            }
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.committed[value["path"]] = base64.b64decode(value["content"])
            answer = {
                "commitUrl": f"{self.address}/group/noise/commit/{COMMIT}",
                "commitOid": COMMIT,
            }
        reply = json.dumps(answer).encode()
        handler.send_response(self.refuses or 200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(reply)))
        handler.end_headers()
        handler.wfile.write(reply)


@pytest.fixture
def hub(folder, tmp_path, monkeypatch) -> Iterator[Hub]:
    hub = Hub({path.name: path.read_bytes() for path in folder.iterdir()})
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


NAME = "hf://group/noise"


def test_a_network_of_the_hub_is_downloaded_once_and_used_offline_then(hub, network, monkeypatch):
    opened = open_network(NAME)
    assert same(opened, network) and opened.card.name == NAME
    assert [path.rpartition("/")[2] for path in hub.asked] == [WEIGHTS_FILE, CARD_FILE]
    assert all("/group/noise/resolve/main/" in path for path in hub.asked)
    assert same(open_network(NAME), network)
    assert len(hub.asked) == 2
    hub.server.shutdown()
    hub.server.server_close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(open_network(NAME), network)


def test_a_revision(hub, network):
    assert same(open_network(f"{NAME}@v1.0"), network)
    assert all("/resolve/v1.0/" in path for path in hub.asked)
    with pytest.raises(WeightsError, match=f"{NAME}@gone: "):
        open_network(f"{NAME}@gone")


@pytest.mark.parametrize(
    ("end", "message"),
    [(b"", "bytes instead of"), (b"\0\0\0\1", "has the SHA-256 .* instead of")],
)
def test_a_file_that_is_not_what_the_card_says_is_refused(hub, end, message):
    hub.files[WEIGHTS_FILE] = hub.files[WEIGHTS_FILE][:-4] + end
    with pytest.raises(WeightsError, match=message):
        open_network(NAME)


def test_a_damaged_cache_is_mended(hub, network):
    _, path = locate(NAME)
    blob = path.resolve()
    blob.write_bytes(blob.read_bytes()[:-4] + b"\0\0\0\1")
    assert same(open_network(NAME), network)
    assert [path.rpartition("/")[2] for path in hub.asked].count(WEIGHTS_FILE) == 2


def test_a_cut_connection_is_no_half_network(hub, network):
    hub.cut[WEIGHTS_FILE] = 1_000_000
    try:
        opened = open_network(NAME)
    except WeightsError:  # huggingface_hub may give up, and the next call goes on
        opened = open_network(NAME)
    assert same(opened, network)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://group", "expected hf://owner/name or hf://owner/name@revision"),
        ("hf://a/b/c", "expected hf://owner/name or hf://owner/name@revision"),
        ("nowhere", "there are no weights 'nowhere': expected a name that"),
        (f"{DEFAULT}s", f"did you mean '{DEFAULT}'"),
        ("https://example.org/a.safetensors", "expected a link that ends in #sha256="),
        ("https://example.org/a#sha256=abc", "expected a link that ends in #sha256="),
    ],
)
def test_sources_that_cannot_be_meant(source, message):
    with pytest.raises(WeightsError, match=message):
        open_network(source)


def test_a_repository_that_is_no_network(hub):
    del hub.files[CARD_FILE]
    with pytest.raises(WeightsError, match=f"{NAME}: .*config.json"):
        open_network(NAME)


def test_offline_and_nothing_in_the_cache(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=f"{NAME}: .*(offline|HF_HUB_OFFLINE|cannot find)"):
        open_network(NAME)
    assert not hub.asked


# ---------------------------------------------------------------------- links


def test_a_link_with_a_hash(hub, folder, network):
    digest = hashlib.sha256(hub.files[WEIGHTS_FILE]).hexdigest()
    link = f"{hub.address}/group/noise/resolve/main/{WEIGHTS_FILE}#sha256="
    opened = open_network(link + digest)
    assert same(opened, network) and opened.card.licence == "MIT"
    with pytest.raises(WeightsError, match=f"has the SHA-256 {digest} instead of {'0' * 64}"):
        open_network(link + "0" * 64)


# ---------------------------------------------------------------------- uploading


def test_what_is_pushed_is_what_was_saved(hub, network):
    address = network.push_to_hub("group/noise", token="hf_token", **FACTS)
    assert address == f"{hub.address}/group/noise/commit/{COMMIT}"
    assert hub.committed.keys() == {WEIGHTS_FILE, CARD_FILE, README}
    hub.files = hub.committed
    assert same(open_network(NAME), network)
    assert b'open_network("hf://group/noise")' in hub.committed[README]


def test_a_hub_that_refuses(hub, network):
    hub.refuses = 403
    with pytest.raises(WeightsError, match=f"{NAME}: .*403"):
        network.push_to_hub("group/noise", token="hf_token")
