"""Downloading one file from the first of several links that gives it, whole and unchanged."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import gdown
import requests
from tqdm import tqdm
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from .card import Weights

ATTEMPTS = 4  # at each link
FIRST_PAUSE = 1.0  # seconds before the second attempt, twice as long before each further one
LONGEST_PAUSE = 60.0  # seconds; a host that asks for more is left for the next link
TIMEOUT = 30.0  # seconds without a byte
# Seconds until the file begins to come: gdown would follow Google's confirmation pages forever.
PATIENCE = 120.0

_FILE = "file"  # below the folder of what is not verified yet


def download(weights: Weights, target: Path) -> list[str]:
    """Gets the file of ``weights`` to ``target``, which then is whole, or is not there.

    What has come of an interrupted download lies in a hidden folder beside ``target``; the next
    one goes on from there. The caller sees to it that no other process is at the same target.

    Returns:
        Nothing if the file is there; if not, every link with the reason.

    Raises:
        OSError: this machine cannot store the file.
    """
    target.unlink(missing_ok=True)
    reasons = []
    folder = target.with_name(f".{target.name}.unverified")
    for link in weights.links:
        _tell(f"Downloading {weights.name} ({weights.size / 1e6:.1f} MB) from {link}")
        try:
            _try_link(link, weights, folder)
        except _LinkFailed as failure:
            reasons.append(f"{link}: {failure}")
            _tell(f"  {failure}")
            continue
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # a full disk is not to stay full
            raise
        # gdown's file is for its owner alone; a cache may be shared, as the umask says.
        os.chmod(folder / _FILE, folder.stat().st_mode & 0o666)
        os.replace(folder / _FILE, target)
        shutil.rmtree(folder, ignore_errors=True)
        return []
    if folder.is_dir() and not _size(folder):
        shutil.rmtree(folder, ignore_errors=True)
    return reasons


class _LinkFailed(Exception):
    """A link that does not give the file, with the reason."""


class _Passing(Exception):
    """A fault that may have passed at the next attempt.

    Args:
        reason: in words.
        pause: seconds that the host asks to wait, if it does.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _WrongFile(Exception):
    """What came is not the file, with what is wrong with it."""


def _try_link(link: str, weights: Weights, folder: Path) -> None:
    """Leaves the verified file in ``folder``.

    Raises:
        _LinkFailed: after all attempts, or at once where another one is of no use.
        OSError: this machine cannot store the file.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _attempt(link, weights, folder)
        except _Passing as passing:
            fault = passing
        pause = FIRST_PAUSE * 2**attempt if fault.pause is None else fault.pause
        if attempt + 1 == ATTEMPTS:
            raise _LinkFailed(f"{fault} (tried {ATTEMPTS} times)")
        if pause > LONGEST_PAUSE:
            raise _LinkFailed(f"{fault}; the host asks to wait for {pause:.0f} seconds")
        _tell(f"  {fault}; trying again in {pause:.0f} s")
        time.sleep(pause)


def _attempt(link: str, weights: Weights, folder: Path) -> None:
    """One download, continued where an earlier one ended, and the check of what came."""
    folder.mkdir(exist_ok=True)
    before = _size(folder)
    try:
        _transfer(link, weights, folder / _FILE)
        if fault := weights.fault_of(folder / _FILE):
            raise _WrongFile(fault)
    except _WrongFile as wrong:
        reason = f"what came {wrong}{_page(folder)}"
        shutil.rmtree(folder)
        if before:
            raise _Passing(f"{reason}, an earlier download continued", pause=0) from None
        raise _LinkFailed(reason) from None
    except gdown.DownloadCancelled:
        raise _LinkFailed(f"no byte of the file came in {PATIENCE:g} seconds") from None
    except gdown.FileURLRetrievalError as error:  # Drive: not public, or asked for too often
        raise _LinkFailed(_one_line(error)) from error
    except gdown.DownloadError as error:  # cut off, or the host cannot continue
        if _size(folder) == before:
            shutil.rmtree(folder)  # from the beginning, then
        raise _Passing(_one_line(error).split(". The received")[0]) from error
    except requests.HTTPError as error:
        raise _http_fault(error) from error
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
        raise _LinkFailed(_one_line(error)) from error  # settings, which do not pass
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Passing(_one_line(error)) from error
    except requests.RequestException as error:
        raise _LinkFailed(_one_line(error)) from error
    except (AssertionError, KeyError, ValueError) as error:  # a page that gdown does not expect
        raise _LinkFailed(f"gdown cannot read the answer ({error!r})") from error


def _transfer(link: str, weights: Weights, path: Path) -> None:
    """Downloads by gdown, with a bar, and gives up where it cannot become the file."""
    giving_up = threading.Event()
    patience = threading.Timer(PATIENCE, giving_up.set)
    patience.daemon = True

    def watch(done: int, total: int | None) -> None:
        patience.cancel()
        bar.update(done - bar.n)
        size = done if total is None else total
        if size > weights.size or (total is not None and size != weights.size):
            raise _WrongFile(f"has {size:,} bytes instead of {weights.size:,}")

    with tqdm(total=weights.size, unit="B", unit_scale=True, leave=False, disable=None) as bar:
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
        finally:
            patience.cancel()


def _http_fault(error: requests.HTTPError) -> _LinkFailed | _Passing:
    response = error.response
    assert response is not None  # raise_for_status gives it
    status = response.status_code
    reason = f"HTTP {status} {response.reason}".rstrip()
    if status not in (408, 429) and status < 500:
        return _LinkFailed(reason)
    try:
        return _Passing(reason, Retry().get_retry_after(response.raw))
    except InvalidHeader:
        return _Passing(reason)


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


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
