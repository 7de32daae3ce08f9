"""Objectives written plainly, one image and one pair at a time: what the fast ones must equal."""

import torch.nn.functional as F

EPS, MARGIN = 0.1, 0.3


def smoothed_cross_entropy(logits, pids):
    """Label smoothing 0.1, mean over the images."""
    log_probabilities = logits.log_softmax(1)
    num_classes = logits.shape[1]
    total = 0
    for n, pid in enumerate(pids.tolist()):
        for c in range(num_classes):
            target = (1 - EPS) * (c == pid) + EPS / num_classes
            total = total - target * log_probabilities[n, c]
    return total / len(pids)


def batch_hard_triplet(features, pids):
    """Hardest positive and negative of each image, margin 0.3, mean over the images."""
    total = 0
    for a in range(len(pids)):
        distances = [
            (features[a] - features[b]).pow(2).sum().clamp_min(1e-12).sqrt()
            for b in range(len(pids))
        ]
        positive = max(d for d, pid in zip(distances, pids) if pid == pids[a])
        negative = min(d for d, pid in zip(distances, pids) if pid != pids[a])
        total = total + (positive - negative + MARGIN).clamp_min(0)
    return total / len(pids)


# ------------------------------------------------------------------ SAN


def decoded(decoder, stages):
    """Texture and maps of the decoder's four levels, layer by layer."""
    x = decoder.reduce(stages[3])
    maps = []
    for level in range(4):
        if level < 3:
            x = x + decoder.skips[level](stages[2 - level])
        conv1, norm1, _, conv2, norm2 = decoder.levels[level].residual
        x = F.relu(x + norm2(conv2(F.relu(norm1(conv1(x))))))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = decoder.levels[level].enlarge[2](F.pad(x, (1, 1, 1, 1), mode="reflect"))
        maps.append(x)
    y = decoder.to_texture[1](F.pad(x, (3, 3, 3, 3), mode="reflect"))
    size = (y.shape[2], 2 * y.shape[3])
    return F.interpolate(y, size, mode="bilinear", align_corners=True), maps


def constraint_terms(maps):
    """Of the levels 1 to 4: the hinge of each identity but the last.

    Which images are compared at which level is as SAN's reference implementation names them.
    """

    def distance(level, i, j):
        return (maps[level - 1][i] - maps[level - 1][j]).pow(2).mean()

    terms = {1: [], 2: [], 3: [], 4: []}
    for i in range(0, len(maps[0]) - 4, 4):
        for level, (a, p), (b, n) in (
            (1, (i, i + 1), (i, i + 4)),
            (2, (i + 1, i + 2), (i + 1, i + 5)),
            (3, (i + 2, i + 3), (i + 2, i + 6)),
            (4, (i, i + 3), (i + 3, i + 4)),
        ):
            hinge = distance(level, a, p) - distance(level, b, n) + MARGIN
            terms[level].append(hinge.clamp_min(0))
    return terms


def constraints(maps):
    """The sum of all of them."""
    return sum(term for terms in constraint_terms(maps).values() for term in terms)


def reconstruction(model, stages, texture):
    """The decoder's losses: ``texture`` is ``(N, 3, H, 2W)``."""
    found, maps = decoded(model.decoder, stages)
    total = (found - texture).abs().mean()
    return total + constraints(maps) if model.constraints is not None else total
