"""The parser ``rtmpose``: poses by RTMPose (Jiang et al., 2023) in ONNX files, run by onnxruntime.

The files are those of OpenMMLab's ``onnx_sdk``, as rtmlib takes them, and any other with their
interface: an image (N, 3, H, W) in, two SimCC outputs, (N, K, H' or W'), of which the highest place
along x and along y is where a keypoint is. rtmlib itself is not used: it brings two more OpenCV
packages, which overwrite the headless one, and downloads without a hash.

Source of how images are prepared and outputs read: ``TopdownAffine``, ``SimCCLabel`` and
``PoseDataPreprocessor`` of github.com/open-mmlab/mmpose.
"""

import os
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ...errors import needing
from ...files import sha256
from ...hub.card import Card
from ...hub.download import fetch
from .. import ParsingError
from ..poses import Pose, pose_from_keypoints
from ..skeletons import SKELETONS, skeleton_of

_SDK = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk/"
_card = partial(Card, model="rtmpose", licence="Apache 2.0")
MODELS: dict[str, Card] = {
    card.name: card
    for card in (
        _card(
            name="rtmpose-m-halpe26",
            height=256,
            width=192,
            sha256="55b81170e236040b59fc792ad0a8315301ac4c079a3bdb1095d838aad3088d18",
            size=52_089_522,
            links=(
                f"{_SDK}rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.zip",
            ),
        ),
        _card(
            name="rtmpose-m-coco",
            height=256,
            width=192,
            sha256="f7fbb6c5c11a1bb70f3d445e4ddec5d144ea89ad5649c081ef976f9b24a0b741",
            size=50_799_818,
            links=(f"{_SDK}rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",),
        ),
        _card(
            name="dwpose-l-wholebody",  # RTMPose, distilled (Yang et al., 2023)
            height=384,
            width=288,
            sha256="724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
            size=134_399_116,
            links=("https://huggingface.co/yzd-v/DWPose/resolve/main/dw-ll_ucoco_384.onnx",),
        ),
    )
}
MODEL = "rtmpose-m-halpe26"  # it finds toes and heels
MIN_SCORE = 0.3  # mmpose draws the keypoints above it
_HASH = "#sha256="  # after a link, as pip writes it
_SDK_FILE = "end2end.onnx"
_ENLARGED = 1.25  # a person's box, as in training
_MEAN, _STD = np.array((123.675, 116.28, 103.53)), np.array((58.395, 57.12, 57.375))  # of RGB


def find_model(model: str) -> Path:
    """Return the file or folder of a model, after a download if that is what it takes.

    Args:
        model: a key of ``MODELS``, a link that ends in ``#sha256=`` and the file's hash, or a path.

    Raises:
        ParsingError: it is none of these.
        WeightsError: it cannot be downloaded.
    """
    if model in MODELS:
        return fetch(MODELS[model])
    if model.startswith(("http://", "https://")):
        link, _, digest = model.partition(_HASH)
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ParsingError(
                f"{model}: expected {_HASH} and the file's SHA-256 at the end of a link, so that "
                "nothing else is taken for it"
            )
        name = link.rpartition("/")[2] or "rtmpose"
        return fetch(Card(name, "rtmpose", 0, 0, sha256=digest, links=(link,)))
    if not Path(model).exists():
        raise ParsingError(
            f"there is no RTMPose {model}: expected {', '.join(MODELS)}, an .onnx file, a .zip or "
            f"folder of OpenMMLab's onnx_sdk, or a link with {_HASH} and the hash"
        )
    return Path(model)


def settings(model: str, file: Path, min_score: float) -> dict[str, Any]:
    """Return what makes the poses what they are, for the record beside the masks.

    Raises:
        ParsingError: onnxruntime is not installed, or there is not one model in a folder.
    """
    return {
        "model": model,
        "sha256": sha256(_model_in(file) if file.is_dir() else file),
        "onnxruntime": _onnxruntime().__version__,
        "min_score": min_score,
    }


class RTMPose:
    """The pose of the person whose crop an image is: the whole image is the person's box.

    Args:
        file: ``.onnx``, ``.zip`` or folder with one.
        min_score: keypoints with a lower score are unknown.

    Raises:
        ParsingError: onnxruntime is not installed, or the file is no RTMPose.
    """

    def __init__(self, file: str | os.PathLike[str], min_score: float = MIN_SCORE) -> None:
        onnxruntime = _onnxruntime()
        self._min_score = min_score
        available = onnxruntime.get_available_providers()
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                _read_model(Path(file)), options, providers=[p for p in wanted if p in available]
            )
        except ParsingError:
            raise
        except Exception as error:  # onnxruntime's errors have no common base
            reason = str(error).strip().partition("\n")[0]
            raise ParsingError(f"{file}: cannot be read as an ONNX file ({reason})") from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or not all(isinstance(n, int) for n in shape[1:]):
            raise ParsingError(
                f"{file}: expected an RTMPose with one input (N, 3, H, W), found "
                f"{[found.shape for found in inputs]}"
            )
        self._input, self._batch = inputs[0].name, shape[0]
        self._size = np.array((shape[3], shape[2]))
        found = self._run(np.zeros((1, *shape[1:]), np.float32))
        counts = {output.shape[1] if output.ndim == 3 else None for output in found}
        skeleton = skeleton_of(count) if len(counts) == 1 and (count := counts.pop()) else None
        if len(found) != 2 or skeleton is None:
            known = ", ".join(f"{len(points)} ({name})" for name, points in SKELETONS.items())
            raise ParsingError(
                f"{file}: expected an RTMPose with the outputs simcc_x and simcc_y, (N, K, places) "
                f"for K keypoints, one of {known}; found {[output.shape for output in found]}"
            )
        self._skeleton = skeleton

    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """Return one pose in each image, uint8 (H, W, 3) of any size; no path is used."""
        inputs = np.stack([self._prepared(image) for image in images])
        step = self._batch if isinstance(self._batch, int) else len(images)
        found = [
            self._keypoints(*self._run(inputs[start : start + step]))
            for start in range(0, len(inputs), step)
        ]
        poses = []
        for image, keypoints in zip(images, np.concatenate(found), strict=True):
            centre, scale = self._view(image)
            points = (keypoints[:, :2] - self._size / 2) * scale + centre
            rows = np.column_stack([points, keypoints[:, 2]])
            poses.append([pose_from_keypoints(rows, self._min_score, skeleton=self._skeleton)])
        return poses

    def _run(self, inputs: np.ndarray) -> list[np.ndarray]:
        wanted = self._batch if isinstance(self._batch, int) else len(inputs)
        padding = np.zeros((wanted - len(inputs), *inputs.shape[1:]), np.float32)
        outputs = self._session.run(None, {self._input: np.concatenate([inputs, padding])})
        return [np.asarray(output)[: len(inputs)] for output in outputs]

    def _view(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the centre (x, y) of what the network sees, and image pixels in one of its."""
        extent = np.array((image.shape[1], image.shape[0]))
        return extent / 2, float((extent * _ENLARGED / self._size).max())

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        """Return an image as the network takes it, float32 (3, H, W)."""
        centre, scale = self._view(image)
        matrix = np.column_stack([np.eye(2) / scale, self._size / 2 - centre / scale])
        seen = cv2.warpAffine(image, matrix, tuple(map(int, self._size)), flags=cv2.INTER_LINEAR)
        return np.asarray(((seen - _MEAN) / _STD).transpose(2, 0, 1), np.float32)

    def _keypoints(self, along_x: np.ndarray, along_y: np.ndarray) -> np.ndarray:
        """Return (N, K, 3) x and y in the network's pixels, and the score."""
        places = [axis.argmax(2) * (size / axis.shape[2]) for axis, size in
                  zip((along_x, along_y), self._size, strict=True)]  # fmt: skip
        return np.stack([*places, np.minimum(along_x.max(2), along_y.max(2))], axis=2)


def _model_in(folder: Path) -> Path:
    found = sorted(folder.rglob(_SDK_FILE)) or sorted(folder.rglob("*.onnx"))
    if len(found) != 1:
        raise ParsingError(
            f"{folder}: expected one {_SDK_FILE} or one other .onnx in it or below, found "
            f"{len(found)}: give the file"
        )
    return found[0]


def _read_model(file: Path) -> bytes:
    """Return the bytes of the ONNX file, also of one in a folder or an archive."""
    if file.is_dir():
        file = _model_in(file)
    if not zipfile.is_zipfile(file):
        return file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".onnx")]
        names = [name for name in names if name.endswith(_SDK_FILE)] or names
        if len(names) != 1:
            raise ParsingError(f"{file}: expected one {_SDK_FILE} in it, found {len(names)}")
        return archive.read(names[0])


def _onnxruntime() -> Any:
    with needing("the parser rtmpose needs onnxruntime", "rtmpose", ParsingError):
        import onnxruntime
    return onnxruntime
