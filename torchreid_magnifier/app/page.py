"""The page: what is dropped into it goes to ``looking``, and what that says is drawn as HTML."""

import base64
import importlib
import io
import os
from collections.abc import Iterable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import MagnifierError, needing
from ..figures import RIGHT, UNKNOWN
from ..files import read_text
from ..images import IMAGE_ENDINGS, open_image
from ..inference.boxes import BoxError
from ..inference.decide import Calibration, Decision, percent
from ..inference.errors import RetrievalError
from ..inference.open import Network
from ..parts import BACKGROUND, PALETTE
from .looking import Album, Answer, Near, Seen, answer, look, make_album, notice, read_boxes
from .uploads import BOXES, PICTURES, Uploads

_WIDE = 1280  # pixels of a frame that is shown
_SHOWN = 24  # pictures of a new gallery that are shown
_STYLE = Path(__file__).with_name("page.css")


class Page:
    """What the page answers, as HTML; no line of it knows Gradio.

    Args:
        network: that sees the pictures.
        album: the gallery of those who make none; None without.
        calibration: of the network; None without.
        rate: of false matches, at first.
        uploads: whose files are deleted once they were seen.
    """

    def __init__(
        self,
        network: Network,
        album: Album | None,
        calibration: Calibration | None,
        rate: float,
        uploads: Uploads,
    ) -> None:
        self.network, self.album, self.calibration = network, album, calibration
        self.rate, self.uploads = rate, uploads

    def head(self, mine: Album | None = None) -> str:
        """Return the first lines of the page, for somebody's own gallery or the common one."""
        card, album = self.network.card, mine or self.album
        known = "none" if self.calibration is None else self.calibration.source
        facts = {
            "network": f"{Path(card.name).name} ({card.model}, {card.height} x {card.width})",
            "gallery": "none yet" if album is None else _counted(album),
            "calibration": known,
        }
        rows = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
        return f"<h1>Who is this?</h1><dl>{rows}</dl>"

    def look(self, path: str | None) -> tuple[Seen | None, str]:
        """Show an uploaded picture to the network; return what it sees, or a problem."""
        if path is None:
            return None, ""
        try:
            return look(self.network, path), ""
        except (MagnifierError, OSError) as error:
            return None, _problem(error, path)
        finally:
            self.uploads.delete(path)

    def seen(self, seen: Seen | None, problem: str, mine: Album | None, rate: float) -> str:
        """Return the answer to a picture, its parts and activations, and the nearest."""
        if seen is None:
            return problem
        pictures = [_figure(seen.picture, "the picture")]
        if seen.parts is not None:
            pictures.append(_figure(seen.parts, "body parts"))
        pictures += [_figure(heat, name) for name, heat in seen.activations.items()]
        body = f'<h3>What the network sees</h3><div class="row">{"".join(pictures)}</div>'
        if seen.shares:
            body += f'<div class="parts">{_legend(seen.shares)}</div>'
        body += '<p class="faint">Brighter: more active. Each map has its own scale.</p>'
        return self._answered(seen.vector[None], mine, rate, self._picture_answer) + body

    def frame(self, path: str | None, before: str | None) -> tuple[str | None, str]:
        """Take an uploaded frame in place of the one before; return its path, and it."""
        if before != path:
            self.uploads.delete(before)
        if path is None:
            return None, ""
        try:
            return path, _drawn(np.array(open_image(path)), [])
        except MagnifierError as error:
            self.uploads.delete(path)
            return None, _problem(error, path)

    def boxes(self, path: str | None) -> str:
        """Return the text of an uploaded file of boxes; of one that has none, the problem."""
        if path is None:
            return ""
        try:
            return read_text(path)
        except (MagnifierError, OSError) as error:
            return f"# {str(error).replace(path, os.path.basename(path))}"
        finally:
            self.uploads.delete(path)

    def people(self, path: str | None, text: str, mine: Album | None, rate: float) -> str:
        """Return a frame with its boxes, and who is in each."""
        if path is None and not text.strip():
            return ""
        try:
            if path is None:
                raise BoxError("expected a frame: drop one first")
            boxes = read_boxes(text)
            if len(boxes) > BOXES:
                raise BoxError(f"boxes: expected at most {BOXES}, found {len(boxes)}")
            pixels = np.array(open_image(path))
            found = self.network.embed(pixels, boxes, order="rgb")
        except (MagnifierError, OSError) as error:
            return _problem(error, path or "")
        rows = partial(self._frame_answers, pixels, boxes, found.empty)
        return self._answered(found.vectors, mine, rate, rows)

    def make(self, paths: Sequence[str] | None) -> tuple[Album | None, str]:
        """Make a gallery of uploaded pictures; return it, and what it has."""
        if not paths:
            return None, ""
        try:
            good = [path for path in paths if path.lower().endswith(IMAGE_ENDINGS)]
            if not 0 < len(good) <= PICTURES:
                raise RetrievalError(
                    f"expected a folder with 1 to {PICTURES} pictures "
                    f"({', '.join(IMAGE_ENDINGS)}), found {len(good)} of {len(paths)} files"
                )
            album, problems = make_album(self.network, good, "your gallery")
        except (MagnifierError, OSError) as error:
            return None, _problem(error, *paths)
        finally:
            self.uploads.delete(*paths)
        if others := len(paths) - len(good):
            problems = [f"files that are no pictures: {others}", *problems]
        notes = f'<div class="note">{"<br>".join(map(escape, problems))}</div>' if problems else ""
        shown = list(album.pictures.items())[:_SHOWN]
        cells = "".join(_figure(pixels, Path(place.path).name) for place, pixels in shown)
        rest = len(album.pictures) - len(shown)
        more = f'<p class="faint">and {rest} more</p>' if rest else ""
        return album, f'<h3>{_counted(album)}</h3>{notes}<div class="row">{cells}</div>{more}'

    def _answered(self, vectors: np.ndarray, mine: Album | None, rate: float, draw: Any) -> str:
        album = mine or self.album
        if album is None:
            text = "There is no gallery yet: make one in the tab <b>Gallery</b>."
            return f'<div class="note">{text}</div>{draw([Answer([], None)] * len(vectors), rate)}'
        try:
            answers = answer(self.network, vectors, album, self.calibration, rate)
            warned = self.calibration and notice(album, self.calibration, rate)
        except MagnifierError as error:
            return _problem(error)
        note = f'<div class="note">{escape(warned)}</div>' if warned else ""
        return f"{draw(answers, rate)}{note}"

    def _picture_answer(self, answers: Sequence[Answer], rate: float) -> str:
        (found,) = answers
        if not found.near:
            return ""
        cells = "".join(self._near(near, rank, rate) for rank, near in enumerate(found.near, 1))
        above = "" if self.calibration is None else "; green: at least as similar as the threshold"
        return (
            f"{self._decision(found, rate)}<h3>The nearest of the gallery{above}</h3>"
            f'<div class="ten">{cells}</div>'
        )

    def _decision(self, found: Answer, rate: float) -> str:
        nearest, decision = found.near[0], found.decision
        if decision is None or self.calibration is None:
            text = "Without a calibration there is no threshold: see the nearest below."
            return f'<div class="answer none"><b>No decision</b><span>{text}</span></div>'
        threshold = self.calibration.threshold(rate)
        known = decision.row >= 0
        who = nearest.who or f"The person of {_name(nearest)}" if known else "unknown"
        sign = "≥" if known else "&lt;"
        return (
            f'<div class="answer {"known" if known else "unknown"}" role="status">'
            f"<b>{escape(who)}</b><span>similarity {decision.score:.3f} {sign} {threshold:.3f}, "
            f"the threshold for {percent(rate)} of false matches; "
            f"{_likely(decision)} probable if half of all pairs were one person's</span>"
            "</div>"
        )

    def _near(self, near: Near, rank: int, rate: float) -> str:
        above = self.calibration is not None and near.score >= self.calibration.threshold(rate)
        caption = f"{rank}. {_name(near)}"
        if near.picture is None:
            picture = '<div class="gone">not readable here</div>'
        else:
            picture = f'<img src="{_uri(near.picture)}" alt="{escape(caption)}">'
        return (
            f'<figure class="{"above" if above else "below"}" title="{escape(str(near.place))}">'
            f"{picture}<figcaption>{escape(caption)}<br><b>{near.score:.3f}</b></figcaption>"
            "</figure>"
        )

    def _frame_answers(
        self,
        pixels: np.ndarray,
        boxes: np.ndarray,
        empty: np.ndarray,
        answers: Sequence[Answer],
        rate: float,
    ) -> str:
        rows, marks = [], []
        for number, (box, found) in enumerate(zip(boxes, answers), 1):
            nearest, decision = (found.near[0] if found.near else None), found.decision
            known = decision is not None and decision.row >= 0
            cells = ["", "no pixel of it is in the frame" if empty[number - 1] else "", "", ""]
            if nearest is not None:
                who = _name(nearest) if known or decision is None else "unknown"
                chance = "" if decision is None else _likely(decision)
                picture = "" if nearest.picture is None else f'<img src="{_uri(nearest.picture)}">'
                cells = [picture, escape(who), f"{nearest.score:.3f}", chance]
            line = "".join(f"<td>{cell}</td>" for cell in cells)
            at = ", ".join(f"{value:g}" for value in box)
            rows.append(f"<tr><td>{number}</td><td>{at}</td>{line}</tr>")
            marks.append((box, str(number), RIGHT if known else UNKNOWN))
        titles = ("", "box", "nearest", "who", "similarity", "probable")
        heads = "".join(f"<th>{title}</th>" for title in titles)
        return f"{_drawn(pixels, marks)}<table><tr>{heads}</tr>{''.join(rows)}</table>"


def build(page: Page) -> Any:
    """Return the page as Gradio's ``Blocks``.

    Raises:
        RetrievalError: Gradio is not installed.
    """
    gr = import_gradio()
    rates = [] if page.calibration is None else [one.rate for one in page.calibration.thresholds]
    with gr.Blocks(title="torchreid-magnifier", analytics_enabled=False) as blocks:
        head = gr.HTML(page.head(), elem_classes="magnifier")
        mine, seen, problem, shown = (gr.State(value) for value in (None, None, "", None))
        rate = gr.State(page.rate)
        if rates:
            label = "false matches that are allowed, of all comparisons"
            rate = gr.Radio([(percent(one), one) for one in rates], value=page.rate, label=label)
        single: Any = {"file_count": "single", "height": 140}
        output: Any = {"elem_classes": "magnifier"}
        with gr.Tab("Picture"):
            picture = gr.File(label="a picture of one person", elem_id="picture", **single)
            answered = gr.HTML(elem_id="answered", **output)
        with gr.Tab("Frame"):
            with gr.Row():
                frame = gr.File(label="a frame", elem_id="frame", **single)
                with gr.Column():
                    text = gr.Textbox(
                        "", label="boxes: x1, y1, x2, y2 in pixels, a line each", lines=4
                    )
                    boxes = gr.File(label="… or their file", elem_id="boxes", **single)
            find = gr.Button("Who is there?", variant="primary")
            there = gr.HTML(elem_id="there", **output)
        with gr.Tab("Gallery"):
            folder = gr.File(
                label=f"a folder with at most {PICTURES} pictures of people, one in each: you "
                "alone search in it, until you close this page",
                file_count="directory",
                height=200,
                elem_id="folder",
            )
            made = gr.HTML(elem_id="made", **output)
        show = (page.seen, [seen, problem, mine, rate], answered)
        people = (page.people, [shown, text, mine, rate], there)
        quiet: Any = {"api_visibility": "private"}
        for event in (picture.upload, picture.clear):
            event(page.look, picture, [seen, problem], **quiet).then(*show, **quiet)
        for event in (frame.upload, frame.clear):
            event(page.frame, [frame, shown], [shown, there], **quiet)
        boxes.upload(page.boxes, boxes, text, **quiet)
        find.click(*people, **quiet)
        for event in (folder.upload, folder.clear):
            making = event(page.make, folder, [mine, made], **quiet)
            making.then(page.head, mine, head, **quiet).then(*show, **quiet)
        if rates:
            rate.input(*show, **quiet).then(*people, **quiet)
    return blocks


def import_gradio() -> Any:
    """Return Gradio, which then sends nothing about its use.

    Raises:
        RetrievalError: it is not installed.
    """
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    with needing("the page needs gradio", "app", RetrievalError):
        return importlib.import_module("gradio")


def style() -> str:
    """Return the page's style sheet."""
    return _STYLE.read_text(encoding="utf-8")


def _counted(album: Album) -> str:
    return f"{album.name}: {len(album.embeddings)} pictures"


def _likely(decision: Decision) -> str:
    return "&gt;99.9%" if decision.probability > 0.999 else f"{decision.probability:.1%}"


def _name(near: Near) -> str:
    return near.who or Path(near.place.path).name + str(near.place).removeprefix(near.place.path)


def _problem(error: Exception, *paths: str) -> str:
    """An error as HTML, without the folders that uploads lie in."""
    text = str(error)
    for path in paths:
        text = text.replace(path, os.path.basename(path)) if path else text
    return f'<div class="problem" role="alert">{escape(text)}</div>'


def _figure(pixels: np.ndarray, caption: str) -> str:
    name = escape(caption)
    return (
        f'<figure><img src="{_uri(pixels)}" alt="{name}"><figcaption>{name}</figcaption></figure>'
    )


def _legend(shares: dict[str, float]) -> str:
    parts = [
        '<span><i style="background:#{:02x}{:02x}{:02x}"></i>'.format(*PALETTE[part])
        + f"{escape(name.replace('_', ' '))} {share:.0%}</span>"
        for part, (name, share) in enumerate(shares.items())
        if part != BACKGROUND
    ]
    return "".join(parts)


def _drawn(pixels: np.ndarray, marks: Iterable[tuple[np.ndarray, str, str]]) -> str:
    """A frame and boxes on it, each with a number in a colour."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    image.thumbnail((_WIDE, _WIDE))
    line, size = max(2, width // 300), max(12, width // 45)
    drawn = []
    for (x1, y1, x2, y2), text, colour in marks:
        drawn.append(
            f'<rect x="{x1}" y="{y1}" width="{x2 - x1}" height="{y2 - y1}" fill="none" '
            f'stroke="{colour}" stroke-width="{line}"/><rect x="{x1}" y="{y1}" fill="{colour}" '
            f'width="{size * (0.5 + 0.6 * len(text))}" height="{1.2 * size}"/><text '
            f'x="{x1 + 0.25 * size}" y="{y1 + size}" font-size="{size}" fill="white">{text}</text>'
        )
    return (
        f'<svg class="frame" viewBox="0 0 {width} {height}"><image href="{_uri(np.array(image))}" '
        f'width="{width}" height="{height}"/>{"".join(drawn)}</svg>'
    )


def _uri(pixels: np.ndarray) -> str:
    """A picture in the page itself: it is nowhere on the disk."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
