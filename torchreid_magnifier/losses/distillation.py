"""Learning embeddings from those of another network.

Both losses compare directions alone: lengths, and the widths of the two embeddings, may differ.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_distillation(embeddings: Tensor, target: Tensor) -> Tensor:
    """Return the mean over the images of 1 - cosine of an embedding with its target.

    Args:
        embeddings: ``(N, D)``.
        target: ``(N, D)``, the teacher's.
    """
    return 1 - F.cosine_similarity(embeddings, target, dim=1).mean()


def similarity_distillation(embeddings: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of the cosines between the images of a batch.

    The cosine of an image with itself does not count; a batch of one has the loss 0.

    Source: as the similarity-preserving loss of Tung and Mori, ICCV 2019, of cosines.

    Args:
        embeddings: ``(N, C)``.
        target: ``(N, D)``, the teacher's.
    """
    ours, theirs = (F.normalize(found, dim=1) for found in (embeddings, target))
    count = len(ours)
    others = 1 - torch.eye(count, dtype=ours.dtype, device=ours.device)
    differences = (ours @ ours.T - theirs @ theirs.T) * others
    return differences.square().sum() / max(1, count * (count - 1))
