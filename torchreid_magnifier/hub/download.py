"""From a card to a verified file on this machine."""

import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import gdown
import requests
import torch
from huggingface_hub import constants
from tqdm import tqdm
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from ..files import locked, sha256, write_atomically
from .card import Card, WeightsError

ATTEMPTS = 4  # at each link
FIRST_PAUSE = 1.0  # seconds before the second attempt, twice as long before each further one
LONGEST_PAUSE = 60.0  # seconds; a host that asks for more is left for the next link
TIMEOUT = 30.0  # seconds without a byte
# Seconds until the file begins to come: gdown would follow Google's confirmation pages forever.
PATIENCE = 120.0

_FILE = "file"  # below the folder of what is not verified yet


def fetch(card: Card) -> Path:
    """Return the path of the card's file, whose hash and size are the card's.

    A file that came with the card is used where it is, then one that was downloaded before; only
    then is it downloaded, unless ``HF_HUB_OFFLINE`` forbids it. Processes that ask at once download
    it once. What is going on is printed to stderr.

    Of a card without a hash, that of the first download is kept beside the file, and is the card's
    from then on.

    Raises:
        WeightsError: it cannot be had: everything that was tried with the reason, and where to put
            the file by other means.
    """
    tried = []
    target = cached_path(card)
    card = remembered(card)
    for path in places(card):
        problem = card.problem_of(path)
        if problem is None:
            return path
        tried.append(f"{path}: {problem}")
    if card.links and constants.HF_HUB_OFFLINE:
        tried.append(f"{card.links[0]}: HF_HUB_OFFLINE is set")
    elif card.links:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with locked(target.with_name(f".{target.name}.lock"), wait=True):
                # Another process may have done it by now.
                failures = [] if card.problem_of(target) is None else _download(card, target)
        except OSError as error:
            raise WeightsError(
                f"The weights {card.name!r}{_megabytes(card)} cannot be stored in {target.parent} "
                f"({error}): make room there, or name another folder by the environment variable "
                "TORCH_HOME."
            ) from error
        if not failures:
            return target
        tried += failures
    size = "" if card.size is None else f"{card.size:,} bytes, "
    digest = f": {size}SHA-256 {card.sha256}" if card.sha256 else ""
    raise WeightsError(
        "\n  ".join([f"The weights {card.name!r} cannot be had:", *tried])
        + f"\nGet the file by other means and put it at {target}{digest}."
    )


def remembered(card: Card) -> Card:
    """Return a card with the hash that its first download had, if it has none of its own."""
    record = _record(cached_path(card))
    if card.sha256 or not record.is_file():
        return card
    return replace(card, sha256=record.read_text(encoding="utf-8").strip(), file=cached_path(card))


def _record(target: Path) -> Path:
    return target.with_name(f".{target.name}.sha256")


def places(card: Card) -> list[Path]:
    """Return where the file is looked for on this machine, in this order."""
    return [path for path in (card.file, cached_path(card)) if path is not None]


def cached_path(card: Card) -> Path:
    """Return where the file is put when it is downloaded: in torch's folder, see ``TORCH_HOME``.

    The name has the beginning of the hash, so that two versions do not push each other out.
    """
    name = f"{card.name}-{card.sha256[:8]}".rstrip("-")
    return Path(torch.hub.get_dir(), "checkpoints", "torchreid_magnifier", name)


class _Failed(Exception):
    """An attempt without a file, with the reason.

    Args:
        reason: in words.
        again: whether another attempt may help.
        pause: seconds that the host asks to wait before it, if it does.
    """

    def __init__(self, reason: str, again: bool = False, pause: float | None = None) -> None:
        super().__init__(reason)
        self.again = again
        self.pause = pause


def _download(card: Card, target: Path) -> list[str]:
    """Get the file from the first link that gives it, whole and unchanged, or leave ``target`` out.

    What has come of an interrupted download lies in a hidden folder beside ``target``; the next
    one goes on from there.

    Returns:
        Nothing if the file is there; if not, every link with the reason.

    Raises:
        OSError: this machine cannot store the file.
    """
    target.unlink(missing_ok=True)
    reasons = []
    folder = target.with_name(f".{target.name}.unverified")
    for link in card.links:
        _say(f"Downloading {card.name}{_megabytes(card)} from {link}")
        try:
            _try_link(link, card, folder)
        except _Failed as failure:
            reasons.append(f"{link}: {failure}")
            _say(f"  {failure}")
            continue
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # a full disk is not to stay full
            raise
        # gdown's file is for its owner alone; a cache may be shared, as the umask says.
        os.chmod(folder / _FILE, folder.stat().st_mode & 0o666)
        if not card.sha256:
            write_atomically(_record(target), f"{sha256(folder / _FILE)}\n".encode())
        os.replace(folder / _FILE, target)
        shutil.rmtree(folder, ignore_errors=True)
        return []
    if folder.is_dir() and not _size(folder):
        shutil.rmtree(folder, ignore_errors=True)
    return reasons


def _try_link(link: str, card: Card, folder: Path) -> None:
    """Leave the verified file in ``folder``, after as many attempts as it takes.

    Raises:
        _Failed: after all attempts, or at once where another one is of no use.
        OSError: this machine cannot store the file.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _attempt(link, card, folder)
        except _Failed as failed:
            if not failed.again:
                raise
            problem, pause = failed, failed.pause
        if pause is None:
            pause = FIRST_PAUSE * 2**attempt
        if attempt + 1 == ATTEMPTS:
            raise _Failed(f"{problem} (tried {ATTEMPTS} times)")
        if pause > LONGEST_PAUSE:
            raise _Failed(f"{problem}; the host asks to wait for {pause:.0f} seconds")
        _say(f"  {problem}; trying again in {pause:.0f} s")
        time.sleep(pause)


def _attempt(link: str, card: Card, folder: Path) -> None:
    """Download once, from where an earlier attempt ended, and check what came."""
    folder.mkdir(exist_ok=True)
    before = _size(folder)
    try:
        wrong = _transfer(link, card, folder / _FILE) or card.problem_of(folder / _FILE)
        if not wrong and not card.sha256 and _page(folder):
            wrong = "cannot be weights"
    except gdown.DownloadCancelled:
        raise _Failed(f"no byte of the file came in {PATIENCE:g} seconds") from None
    except gdown.FileURLRetrievalError as error:  # Drive: not public, or asked for too often
        raise _Failed(_one_line(error)) from error
    except gdown.DownloadError as error:  # cut off, or the host cannot continue
        if _size(folder) == before:
            shutil.rmtree(folder)  # from the beginning, then
        raise _Failed(_one_line(error).split(". The received")[0], again=True) from error
    except requests.HTTPError as error:
        raise _http_problem(error) from error
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
        raise _Failed(_one_line(error)) from error  # settings, which do not pass
    except requests.RequestException as error:
        passing = isinstance(error, (requests.ConnectionError, requests.Timeout))
        raise _Failed(_one_line(error), again=passing) from error
    except (AssertionError, KeyError, ValueError) as error:  # a page that gdown does not expect
        raise _Failed(f"gdown cannot read the answer ({error!r})") from error
    if wrong:
        reason = f"what came {wrong}{_page(folder)}"
        shutil.rmtree(folder)
        if before:
            raise _Failed(f"{reason}, an earlier download continued", again=True, pause=0)
        raise _Failed(reason)


class _WrongSize(Exception):
    """Raised where what comes cannot be the file."""


def _transfer(link: str, card: Card, path: Path) -> str | None:
    """Download by gdown, with a bar; return why it was given up where it cannot be the file."""
    giving_up = threading.Event()
    patience = threading.Timer(PATIENCE, giving_up.set)
    patience.daemon = True

    def watch(done: int, total: int | None) -> None:
        patience.cancel()
        bar.update(done - bar.n)
        size = done if total is None else total
        if card.size and (size > card.size or (total is not None and size != card.size)):
            raise _WrongSize(f"has {size:,} bytes instead of {card.size:,}")

    with tqdm(total=card.size, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        patience.start()
        try:
            gdown.download(
                link,
                str(path),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=watch,
                timeout=TIMEOUT,
                cancel=giving_up,
            )
        except _WrongSize as wrong:
            return str(wrong)
        finally:
            patience.cancel()
    return None


def _http_problem(error: requests.HTTPError) -> _Failed:
    response = error.response
    assert response is not None  # raise_for_status gives it
    status = response.status_code
    reason = f"HTTP {status} {response.reason}".rstrip()
    if status not in (408, 429) and status < 500:
        return _Failed(reason)
    try:
        return _Failed(reason, again=True, pause=Retry().get_retry_after(response.raw))
    except InvalidHeader:
        return _Failed(reason, again=True)


def _size(folder: Path) -> int:
    """Bytes that an earlier attempt left."""
    return sum(path.stat().st_size for path in folder.iterdir())


def _page(folder: Path) -> str:
    """``": a web page in place of the file"`` where that is what came."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            start = file.read(200).lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            return ": a web page in place of the file"
    return ""


def _one_line(error: Exception) -> str:
    if error.args:  # urllib3's own words, without the link and the number of its attempts
        error = getattr(error.args[0], "reason", None) or error
    return " ".join(str(error).split())


def _megabytes(card: Card) -> str:
    return "" if card.size is None else f" ({card.size / 1e6:.1f} MB)"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
