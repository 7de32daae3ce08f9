"""How far label maps by a network of this package agree with those drawn from keypoints.

python benchmarks/own_parts.py --images Market-1501-v15.09.15/query \\
    --keypoints market1501_14point_query.mat --every 5

Prints, for each part, the mean over the images that have it in either map of the intersection over
the union, and how often the two agree that it is there; and the best, the median and the worst
image by the mean over its parts.
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from torchreid_magnifier.annotate.drawing import draw_parts
from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.parsers.keypoints import keypoint_files
from torchreid_magnifier.annotate.parsers.magnifiernet import PartsOfNetwork
from torchreid_magnifier.annotate.poses import central_pose
from torchreid_magnifier.images import read_image
from torchreid_magnifier.parts import NUM_PARTS, PARTS

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True, metavar="FOLDER")
    parser.add_argument("--keypoints", required=True, nargs="+", metavar="FILE")
    parser.add_argument("--weights", metavar="NAME|FILE", help="default: the shipped ones")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth image")
    args = parser.parse_args()
    images = folder_images(args.images)
    keypoints = keypoint_files(args.keypoints, images)
    parse = PartsOfNetwork(args.weights, "cpu")
    paths = images.paths[:: args.every]
    overlaps = np.full((len(paths), NUM_PARTS), np.nan)
    both = np.zeros((2, 2, NUM_PARTS), int)
    for start in tqdm(range(0, len(paths), BATCH)):
        batch = paths[start : start + BATCH]
        pictures = [read_image(path) for path in batch]
        for row, (path, picture, seen) in enumerate(
            zip(batch, pictures, parse(batch, pictures), strict=True), start
        ):
            height, width = picture.shape[:2]
            pose = central_pose(keypoints([path], [])[0], height, width)
            if pose is None:
                continue
            drawn = draw_parts(pose, height, width)
            for part in range(NUM_PARTS):
                found, true = seen == part, drawn == part
                both[int(found.any()), int(true.any()), part] += 1
                if found.any() or true.any():
                    overlaps[row, part] = (found & true).sum() / (found | true).sum()
    print(f"{len(paths)} images")
    for part in range(NUM_PARTS):
        agree = (both[0, 0, part] + both[1, 1, part]) / both[..., part].sum()
        print(f"{PARTS[part]:<12}{np.nanmean(overlaps[:, part]):>8.3f}{agree:>10.1%}")
    print(f"{'mean':<12}{np.nanmean(np.nanmean(overlaps, axis=0)):>8.3f}")
    means = np.nanmean(overlaps, axis=1)
    order = np.argsort(means)
    for name, place in (("worst", 0), ("median", len(order) // 2), ("best", -1)):
        print(f"{name}: {means[order[place]]:.3f} {paths[order[place]]}")


if __name__ == "__main__":
    main()
