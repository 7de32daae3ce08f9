"""The folder of uploads: bounded, emptied as soon as may be, and gone in the end."""

import contextlib
import time
from pathlib import Path
from typing import Any

MEBIBYTE = 1 << 20
FILE, TOTAL = 20 * MEBIBYTE, 600 * MEBIBYTE  # bytes of one upload, and of all that are kept
PICTURES, BOXES = 500, 200  # of a gallery, of a frame
_AGE, _EMPTY = 600, 60  # seconds that an upload, and an empty file of Gradio's own, is kept

# What a browser lets the page do: load from here, send to here, be in no other page.
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Uploads:
    """What visitors of the page have sent.

    Args:
        folder: for it alone.
        total: bytes that are kept at once.
    """

    def __init__(self, folder: Path, total: int = TOTAL) -> None:
        self.folder, self.total = folder.resolve(), total

    def delete(self, *paths: str | Path | None) -> None:
        """Delete uploads, and all that nobody has used for ten minutes."""
        found = [(path, path.stat()) for path in self._files()]
        ages = [
            (path, time.time() - s.st_mtime, _AGE if s.st_size else _EMPTY) for path, s in found
        ]
        old = [path for path, age, most in ages if age > most]
        for path in [*old, *(Path(path).resolve() for path in paths if path)]:
            if self.folder in path.parents:
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()  # unless it has others

    def room(self) -> int:
        """Return how many bytes may still come."""
        self.delete()
        return self.total - sum(path.stat().st_size for path in self._files())

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


class Guard:
    """Between the server and the page: uploads that have no room, and headers for browsers.

    Args:
        app: an ASGI application.
        uploads: of it.
    """

    def __init__(self, app: Any, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        if scope["type"] == "http" and scope["path"].endswith("/upload"):
            length = dict(scope["headers"]).get(b"content-length", b"")
            if not length.isdigit() or int(length) > self._uploads.room():
                text = f"Too much at once: at most {self._uploads.total // MEBIBYTE} MiB".encode()
                await guarded(
                    {
                        "type": "http.response.start",
                        "status": 413,
                        "headers": [(b"content-type", b"text/plain")],
                    }
                )
                await guarded({"type": "http.response.body", "body": text})
                return
        await self._app(scope, receive, guarded)
