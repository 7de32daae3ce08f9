"""From a video or a folder of frames to the boxes of people, and on to their embeddings.

    python examples/detect_people.py walk.mp4 --out boxes.csv                      # torchvision's
    python examples/detect_people.py walk.mp4 --onnx detector.onnx --out boxes.csv
    torchreid-magnifier extract walk.mp4 --detections boxes.csv --out people.npz

torchvision's detector is Faster R-CNN on MobileNet, trained on COCO; its weights are downloaded. An
ONNX file takes one RGB image (1, 3, H, W) of 0..1, to whose size frames are stretched, and gives

- boxes (N, 4) as corners in its pixels, labels (N,) and scores (N,), as torchvision exports them;
- or (1, N, 6): corners, score and class of what is left after the suppression of doubles;
- or (1, 4 + C, N): centre, size and a score for each of C classes, as YOLOv8 and later export it.

Numbers of classes differ: people are 1 in COCO's 91 (torchvision), 0 in its 80 (most ONNX files).
"""

import argparse
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models import detection
from torchvision.ops import nms

from torchreid_magnifier.files import write_atomically
from torchreid_magnifier.inference.sources import find_sources, pictures

# An RGB frame, uint8 (H, W, 3) -> corners in its pixels, scores and classes of N things.
Detector = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
OVERLAP = 0.6  # of two boxes of one class, from which on they are one thing


def torchvision_detector(model: torch.nn.Module | None = None) -> Detector:
    """Return torchvision's detector, or any other of its models."""
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = (model or detection.__dict__[name](weights="DEFAULT")).eval()

    @torch.inference_mode()
    def detect(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        (found,) = network([torch.from_numpy(frame).permute(2, 0, 1) / 255])
        return tuple(found[key].numpy() for key in ("boxes", "scores", "labels"))

    return detect


def onnx_detector(path: str) -> Detector:
    """Return the detector of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    high, wide = (n if isinstance(n, int) else 640 for n in given.shape[2:])
    names = [one.name for one in session.get_outputs()]

    def detect(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pixels = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
        image = torch.nn.functional.interpolate(pixels, (high, wide), mode="bilinear")
        outputs = dict(zip(names, session.run(None, {given.name: image.numpy()})))
        boxes, scores, classes = _meant(outputs)
        height, width = frame.shape[:2]
        return boxes * np.tile([width / wide, height / high], 2), scores, classes

    return detect


def _meant(outputs: dict[str, np.ndarray]) -> tuple[Any, np.ndarray, np.ndarray]:
    if {"boxes", "scores", "labels"} <= outputs.keys():
        return outputs["boxes"], outputs["scores"], outputs["labels"]
    table = next(iter(outputs.values()))
    if table.ndim != 3 or len(table) != 1:
        shapes = {name: output.shape for name, output in outputs.items()}
        raise SystemExit(
            f"expected boxes, scores, labels or one table for an image, found {shapes}"
        )
    if table.shape[2] == 6:
        return table[0, :, :4], table[0, :, 4], table[0, :, 5].astype(int)
    centre, size, by_class = table[0, :2].T, table[0, 2:4].T, table[0, 4:].T
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    scores, classes = by_class.max(1), by_class.argmax(1)
    apart = boxes + classes[:, None] * 2 * np.abs(boxes).max()  # those of other classes
    kept = nms(*(torch.from_numpy(a).float() for a in (apart, scores)), OVERLAP).numpy()
    return boxes[kept], scores[kept], classes[kept]


def people(
    source: str, detect: Detector, person: int, min_score: float
) -> Iterator[tuple[int, list[float], float]]:
    """Yield the number of the frame, box and score of each person in a video or folder."""
    for number, picture in enumerate(pictures(find_sources([source]))):
        if picture.problem:
            raise SystemExit(f"{picture.place}: {picture.problem}")
        frame = np.array(picture.kept().read())
        height, width = frame.shape[:2]
        boxes, scores, classes = detect(frame)
        boxes = boxes.clip(0, [width, height] * 2)
        whole = (boxes[:, :2] < boxes[:, 2:]).all(1)
        for place in np.flatnonzero(whole & (classes == person) & (scores >= min_score)):
            yield number, boxes[place].tolist(), float(scores[place])


def write(source: str, out: Path, detect: Detector, person: int, min_score: float) -> int:
    """Write a CSV of boxes and return their number."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["frame", "x1", "y1", "x2", "y2", "score"])
    count = 0
    for frame, box, score in people(source, detect, person, min_score):
        table.writerow([frame, *(f"{corner:.2f}" for corner in box), f"{score:.4f}"])
        count += 1
    write_atomically(out, text.getvalue().encode())
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="video, or folder of frames")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    parser.add_argument("--onnx", metavar="FILE", help="instead of torchvision's detector")
    parser.add_argument("--person", type=int, help="its class (default: 1, with --onnx 0)")
    parser.add_argument("--min-score", type=float, default=0.5)
    args = parser.parse_args()
    chosen = onnx_detector(args.onnx) if args.onnx else torchvision_detector()
    person = args.person if args.person is not None else int(args.onnx is None)
    count = write(args.source, args.out, chosen, person, args.min_score)
    print(f"{args.out}: {count} people")
