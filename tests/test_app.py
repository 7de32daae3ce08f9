"""The page of ``app``: what it answers, without a browser; and in a browser, where there is one."""

import asyncio
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from networks import small
from PIL import Image

from torchreid_magnifier.app import looking, page, serving, uploads
from torchreid_magnifier.app.looking import Album, answer, look, make_album, open_album, read_boxes
from torchreid_magnifier.app.page import Page
from torchreid_magnifier.app.uploads import Guard, Uploads
from torchreid_magnifier.cli import app as command
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference.boxes import BoxError
from torchreid_magnifier.inference.decide import Calibration, Threshold
from torchreid_magnifier.inference.embeddings import card_of
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.extract import embed
from torchreid_magnifier.inference.gallery import with_facts
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.parts import PARTS

SIZE = 64, 32


@pytest.fixture(scope="module")
def network():
    model = small("magnifiernet_r18").eval()
    card = Card("tiny", "magnifiernet_r18", *SIZE, parts=PARTS, sha256="0" * 64)
    return Network(model, card)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Pictures of six people, by their names, one of which is markup."""
    folder = tmp_path_factory.mktemp("people")
    chance = np.random.default_rng(0)
    for name in ("anna", "ben", "cy", "dora", "emil", "<b>${7*6}&"):
        clothes = chance.integers(0, 256, (4, 2, 3)).astype(np.uint8)
        Image.fromarray(clothes).resize((40, 80)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def album(network, people):
    found, problems = open_album(network, people)
    assert not problems
    return found


def calibration(network, threshold, parts=0.0):
    at = (threshold,) * 3 + (1.0,) * 3
    return Calibration(
        made=card_of(network),
        source="made people",
        **dict.fromkeys(("people", "images", "cameras", "same", "other"), 9),
        thresholds=(Threshold(0.1, *at), Threshold(0.01, *at)),
        too_few=(),
        **dict.fromkeys(("equal_error", "equal_error_low", "equal_error_high"), 0.1),
        equal_error_at=0.5,
        slope=10.0,
        intercept=-5.0,
        parts=parts,
        repeated=(),
        sample=tuple(np.linspace(-1, 1, 9)),
    )


def at(network, album, tmp_path, threshold=None):
    known = None if threshold is None else calibration(network, threshold)
    return Page(network, album, known, 0.01, Uploads(tmp_path))


def upload(tmp_path, source, name=None):
    """A copy of a file, as Gradio lays an upload down."""
    folder = Path(tmp_path, os.urandom(4).hex())
    folder.mkdir()
    return str(shutil.copy(source, folder / (name or source.name)))


# ------------------------------------------------------------------ library


def test_a_picture_is_seen_as_extract_sees_it(network, people):
    seen = look(network, people / "anna.png")
    embedded, _ = embed(network, [str(people / "anna.png")])
    np.testing.assert_allclose(seen.vector, embedded.vectors[0], rtol=1e-4, atol=1e-5)
    assert seen.picture.shape == (80, 40, 3) == seen.parts.shape
    assert list(seen.activations) == [*network.model.branches, "joint"]
    assert all(heat.shape == (80, 40, 3) for heat in seen.activations.values())
    np.testing.assert_allclose(list(seen.shares.values()), embedded.visibility[0], atol=1e-5)
    assert tuple(seen.shares) == PARTS


def test_answers_are_those_of_search_and_decide(network, people, album):
    vectors = album.embeddings.vectors[[2, 0]]
    vectors = np.insert(vectors, 1, np.nan, axis=0)
    first, nobody, last = answer(network, vectors, album, calibration(network, 0.5), 0.1, top=3)
    assert nobody == ([], None) and len(first.near) == 3
    row = first.decision.row
    assert first.near[0].place == album.embeddings.place(2) and row == 2
    assert first.near[0].picture.shape == (80, 40, 3)
    assert last.decision.score == pytest.approx(1, abs=1e-5)
    named = Album("", with_facts(album.embeddings, list("abcdef")))
    (found,) = answer(network, vectors[:1], named, top=2)
    assert [near.who for near in found.near][0] == "c"
    (unknown,) = answer(network, vectors[:1], album, calibration(network, 1.1))
    assert unknown.decision.row == -1 and unknown.near[0].place == first.near[0].place
    (undecided,) = answer(network, vectors[:1], album)
    assert undecided.decision is None
    other = Network(network.model, Card("x", "magnifiernet_r18", *SIZE, sha256="1" * 64))
    with pytest.raises(RetrievalError, match="embeddings of two networks"):
        answer(other, vectors[:1], album)


def test_a_gallery_outlives_its_files(network, people, tmp_path):
    paths = [upload(tmp_path, people / f"{name}.png") for name in ("ben", "anna")]
    paths += [upload(tmp_path, people / "cy.png", "anna.png")]
    (tmp_path / "bad.png").write_bytes(b"no image")
    made, problems = make_album(network, [*paths, str(tmp_path / "bad.png")], "mine")
    assert len(problems) == 1 and problems[0].startswith("bad.png: cannot be read as an image")
    assert made.embeddings.paths.tolist() == ["1 anna.png", "2 anna.png", "3 ben.png"]
    shutil.rmtree(tmp_path)
    (found,) = answer(network, made.embeddings.vectors[2:], made)
    assert found.near[0].place.path == "3 ben.png" and found.near[0].picture.shape == (80, 40, 3)


def test_boxes_are_lines_of_four_numbers():
    assert read_boxes("# x\n1, 2,3 4\n\n5\t6 7 8.5\n").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5]]
    for text, message in (("", "found none"), ("1 2 3 4\n1,2,3", "line 2: expected .* '1,2,3'")):
        with pytest.raises(BoxError, match=message):
            read_boxes(text)


# ------------------------------------------------------------------ page


def test_a_picture_is_answered_and_its_file_gone(network, album, people, tmp_path):
    desk = at(network, album, tmp_path, 0.5)
    path = upload(tmp_path, people / "<b>${7*6}&.png", "asked.png")
    seen, problem = desk.look(path)
    assert problem == "" and not any(tmp_path.iterdir())
    html = desk.seen(seen, problem, None, 0.01)
    assert "The person of &lt;b&gt;${7*6}&amp;.png" in html and "<b>${" not in html
    assert html.count('<figure class="') == 6 and "head " in html and "joint" in html
    html = at(network, album, tmp_path, 1.1).seen(seen, problem, None, 0.01)
    assert "<b>unknown</b>" in html and 'class="above"' not in html
    assert "No decision" in at(network, album, tmp_path).seen(seen, problem, None, 0.01)
    assert "There is no gallery yet" in at(network, None, tmp_path).seen(seen, "", None, 0.01)
    assert "6 pictures" in desk.head() and "made people" in desk.head()


@pytest.mark.parametrize(
    "content, message", [(b"no image", "its content is none"), (b"", "the file is empty")]
)
def test_bad_pictures_are_problems_in_the_page(network, album, tmp_path, content, message):
    desk = at(network, album, tmp_path)
    (source := tmp_path / "up" / "bad.jpg").parent.mkdir()
    source.write_bytes(content)
    seen, problem = desk.look(str(source))
    assert seen is None and not source.exists()
    assert 'role="alert">bad.jpg: cannot be read' in problem and message in problem
    assert str(tmp_path) not in problem and desk.seen(seen, problem, None, 0.01) == problem


def test_people_in_a_frame(network, album, people, tmp_path):
    desk = at(network, album, tmp_path, 0.9)
    frame = Image.new("RGB", (200, 100))
    frame.paste(Image.open(people / "cy.png"), (50, 10))
    (tmp_path / "f").mkdir()
    frame.save(tmp_path / "f" / "frame.png")
    path, preview = desk.frame(str(tmp_path / "f" / "frame.png"), None)
    assert '<svg class="frame" viewBox="0 0 200 100">' in preview
    html = desk.people(path, "50 10 90 90\n300 0 310 50", None, 0.01)
    assert "<td>cy.png</td>" in html and "no pixel of it is in the frame" in html
    assert html.count("<rect") == 4
    for text, message in (
        ("1 2", "boxes, line 1"),
        ("9 9 3 3", "Are they x, y, width, height?"),
        ("1 1 9 9\n" * (uploads.BOXES + 1), "at most 200, found 201"),
    ):
        assert message in desk.people(path, text, None, 0.01)
    assert desk.people(None, "", None, 0.01) == ""
    assert "expected a frame" in desk.people(None, "1 1 9 9", None, 0.01)
    (boxes := tmp_path / "f" / "boxes.txt").write_text("1 2 3 4")
    assert desk.boxes(str(boxes)) == "1 2 3 4" and not boxes.exists()
    assert desk.frame(None, path) == (None, "") and not (tmp_path / "f").exists()


def test_a_gallery_of_a_folder_in_the_page(network, album, people, tmp_path):
    desk = at(network, album, tmp_path)
    paths = [upload(tmp_path, people / f"{name}.png") for name in ("anna", "ben")]
    paths.append(upload(tmp_path, people / "cy.png", "notes.txt"))
    mine, html = desk.make(paths)
    assert "your gallery: 2 pictures" in html and "files that are no pictures: 1" in html
    assert not any(tmp_path.iterdir()) and "your gallery: 2 pictures" in desk.head(mine)
    seen = look(network, people / "cy.png")
    assert desk.seen(seen, "", mine, 0.01).count('<figure class="') == 2
    many = [str(tmp_path / f"{number}.png") for number in range(uploads.PICTURES + 1)]
    for wrong, found in ((many, "found 501 of 501 files"), (["a.txt"], "found 0 of 1 files")):
        mine, html = desk.make(wrong)
        assert mine is None and found in html and 'role="alert"' in html


def test_a_gallery_of_other_scores_is_warned_of(network, album, monkeypatch, tmp_path):
    monkeypatch.setattr(looking, "_FEWEST", 2)
    monkeypatch.setattr(looking, "departure_notice", lambda *_: "scores <otherwise>")
    seen = page.Seen(np.zeros((4, 4, 3), np.uint8), album.embeddings.vectors[0], None, {}, {})
    html = at(network, album, tmp_path, 0.5).seen(seen, "", None, 0.01)
    assert "scores &lt;otherwise&gt;" in html


# ------------------------------------------------------------------ uploads


def test_uploads_are_bounded_and_deleted(tmp_path):
    kept = Uploads(tmp_path / "up", total=100)
    for name, size, age in (("new", 60, 0), ("old", 50, 700), ("empty", 0, 70)):
        (path := kept.folder / name / "file").parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - age,) * 2)
    (outside := tmp_path / "outside").write_text("the user's")
    assert kept.room() == 40
    assert [path.name for path in kept.folder.iterdir()] == ["new"]
    kept.delete(outside, kept.folder / "new" / ".." / ".." / "outside", None)
    assert outside.exists() and kept.room() == 40

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def status(path, length):
        said = []

        async def send(message):
            said.append(message)

        headers = [(b"content-length", length)] if length else []
        scope = {"type": "http", "path": path, "headers": headers}
        await Guard(app, kept)(scope, None, send)
        headers = dict(said[0]["headers"])
        assert b"default-src 'self'" in headers[b"content-security-policy"]
        return said[0]["status"]

    upload = "/gradio_api/upload"
    asked = [(upload, b"40"), (upload, b"41"), (upload, b""), ("/", b"")]
    assert [asyncio.run(status(*one)) for one in asked] == [200, 413, 413, 200]


def test_what_the_command_needs(network, album, people, monkeypatch, tmp_path, capsys):
    served = []
    monkeypatch.setattr(command, "chosen_network", lambda _: network)
    monkeypatch.setattr(command, "serve", lambda *args: served.append(args))
    assert command.main(["--gallery", str(people), "--host", "0.0.0.0"]) == 0
    _, found, known, rate, host, port, say = served[0]
    assert len(found.embeddings) == 6 and (known, rate, host, port) == (None, 0.01, "0.0.0.0", 7860)
    assert "whoever can reach 0.0.0.0 can use this page" in capsys.readouterr().err
    say("http://127.0.0.1:1")
    assert capsys.readouterr().out.startswith("http://127.0.0.1:1")
    (tmp_path / "c.json").write_text(calibration(network, 0.5).to_json())
    command.main(["--calibration", str(tmp_path / "c.json")])
    assert served[1][1] is None and served[1][2] == calibration(network, 0.5)
    with pytest.raises(RetrievalError, match="there is no file or folder gone"):
        command.main(["--gallery", "gone"])
    with pytest.raises(RetrievalError, match="calibrate without --parts"):
        serving.application(network, None, calibration(network, 0.5, 0.3), 0.01, tmp_path)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(RetrievalError, match=r"torchreid-magnifier\[app\]"):
        serving.serve(network)


# ------------------------------------------------------------------ a browser


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("gradio")
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


def test_drop_click_read_the_answer(browser, network, album, people, tmp_path, monkeypatch):
    """And neither the server nor the browser asks for anything beyond this machine."""
    import uvicorn

    asked, resolve = [], socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: asked.append(host) or resolve(host, *a, **k)
    )
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    folder = tmp_path / "uploads"
    folder.mkdir()
    app = serving.application(network, album, calibration(network, 0.999), 0.01, folder)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        view = browser.new_page()
        view.set_default_timeout(60_000)
        requests, problems = [], []
        view.on("request", lambda request: requests.append(request.url))
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.goto(address)
        view.locator("#picture input[type=file]").set_input_files(people / "<b>${7*6}&.png")
        view.locator("#answered .answer").wait_for()
        answered = view.locator("#answered").inner_text()
        assert "The person of <b>${7*6}&.png" in answered and "similarity 1.000 ≥ 0.999" in answered
        assert "What the network sees" in answered and "10. " not in answered
        assert view.locator("#answered .ten figure").count() == 6

        (bad := tmp_path / "bad.jpg").write_bytes(b"no image")
        view.locator("#picture button[aria-label=Clear]").click()
        view.locator("#answered .answer").wait_for(state="detached")
        view.locator("#picture input[type=file]").set_input_files(bad)
        view.locator("#answered .problem").wait_for()
        assert "bad.jpg: cannot be read" in view.locator("#answered").inner_text()

        (mine := tmp_path / "mine").mkdir()
        shutil.copy(people / "anna.png", mine)
        view.get_by_role("tab", name="Gallery").click()
        view.locator("#folder input[type=file]").set_input_files(mine)
        view.get_by_text("your gallery: 1 pictures").first.wait_for()

        frame = Image.new("RGB", (200, 100))
        for name, left in (("anna", 20), ("ben", 100)):
            frame.paste(Image.open(people / f"{name}.png"), (left, 10))
        frame.save(tmp_path / "frame.png")
        view.get_by_role("tab", name="Frame").click()
        view.locator("#frame input[type=file]").set_input_files(tmp_path / "frame.png")
        view.locator("#there svg").wait_for()
        view.get_by_role("textbox").fill("20, 10, 60, 90\n100, 10, 140, 90")
        view.get_by_role("button", name="Who is there?").click()
        view.locator("#there table").wait_for()
        rows = view.locator("#there tr").all_inner_texts()
        assert "anna.png" in rows[1] and "unknown" in rows[2]

        other = view.request.get(address, headers={"Host": "elsewhere.example"})
        assert other.status == 400
        view.close()
        assert not problems
        elsewhere = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
        assert elsewhere == []
        assert {host for host in asked if host not in (*serving.LOCAL, b"127.0.0.1", None)} == set()
        left = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        assert [path.name for path in left] == ["frame.png"]  # until it is cleared
    finally:
        server.should_exit = True
        thread.join()
