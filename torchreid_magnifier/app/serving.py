"""The server of the page: on this machine, for this machine, unless somebody asks for more."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..inference.decide import Calibration
from ..inference.errors import RetrievalError
from ..inference.open import Network
from .looking import Album
from .page import Page, build, import_gradio, style
from .uploads import FILE, Guard, Uploads

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    network: Network,
    album: Album | None = None,
    calibration: Calibration | None = None,
    rate: float = 0.01,
    host: str = LOCAL[0],
    port: int = 7860,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page until the process is asked to end; then the uploads are deleted.

    Args:
        network: that sees the pictures.
        album: gallery of those who make none.
        calibration: of the network.
        rate: of false matches, one of the calibration's.
        host: address to listen on; others than this machine reach it only by another one.
        port: 0 takes a free one.
        ready: is called with the address of the page.

    Raises:
        RetrievalError: Gradio is not installed, the port is taken, or the gallery or the
            calibration are of another network.
    """
    import_gradio()
    import uvicorn

    try:
        listening = socket.create_server((host, port))
    except (OSError, OverflowError) as error:  # taken, or no port's number
        reason = getattr(error, "strerror", error)
        raise RetrievalError(
            f"cannot listen on {host}, port {port}: {reason}: give another --port"
        ) from error
    with listening, tempfile.TemporaryDirectory(prefix="torchreid-magnifier-") as folder:
        app = application(network, album, calibration, rate, Path(folder), host)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the folder is deleted then, too
        ready(f"http://{host}:{listening.getsockname()[1]}")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listening])


def application(
    network: Network,
    album: Album | None,
    calibration: Calibration | None,
    rate: float,
    folder: Path,
    host: str = LOCAL[0],
) -> Any:
    """Return the page as an ASGI application.

    Args:
        network, album, calibration, rate, host: see `serve`.
        folder: of uploads.

    Raises:
        RetrievalError: Gradio is not installed, or there is no threshold for the rate.
    """
    if calibration is not None:
        calibration.threshold(rate)
        if calibration.parts:
            raise RetrievalError("the page compares whole embeddings: calibrate without --parts")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read when the page is built
    gradio = import_gradio()
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    uploads = Uploads(folder)
    blocks = build(Page(network, album, calibration, rate, uploads))
    blocks.queue(max_size=20, default_concurrency_limit=1)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOCAL:  # no other name for this machine, as a page elsewhere might give it
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL))
    app.add_middleware(Guard, uploads=uploads)
    sans = ["system-ui", "sans-serif"]
    return gradio.mount_gradio_app(
        app,
        blocks,
        "/",
        server_name=host,
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        show_error=False,
        max_file_size=FILE,
        ssr_mode=False,
        theme=gradio.themes.Base(font=sans, font_mono=["monospace"]),
        css=style(),
    )
