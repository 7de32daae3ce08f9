"""The convolutional trunk: torchvision's ResNet with the last down-sampling removed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import get_model, get_model_weights

from .pretrained import advice

# torchvision's first ImageNet weights, the ones that re-identification papers start from.
_WEIGHTS = "IMAGENET1K_V1"


class ResNetTrunk(nn.Module):
    """ResNet up to stage 4 with a last stride of 1 (MagnifierNet's section 4.1, SAN's encoder).

    Args:
        name: ``resnet50`` or ``resnet18`` (any torchvision ResNet).
        pretrained: start from torchvision's ImageNet weights (``IMAGENET1K_V1``).
        stem_relu: the ReLU of the stem, which the released code leaves out.

    Attributes:
        channels: widths of the four stages: (256, 512, 1024, 2048) of ResNet-50, (64, 128, 256,
            512) of ResNet-18.
        grad_checkpointing: the stem and stages 1 and 2, whose maps are the largest, are computed
            again in the backward pass instead of being kept. ResNet-50 then keeps about half, for
            some 8 % more operations in a step.

    Raises:
        RuntimeError: if the ImageNet weights can neither be found nor downloaded, with the place
            to put the file at. Training never starts from random weights in silence.
    """

    def __init__(self, name: str, pretrained: bool, stem_relu: bool = True) -> None:
        super().__init__()
        resnet = get_model(name, weights=None)
        if pretrained:
            _load_imagenet_weights(resnet, name)
        self.conv1, self.bn1 = resnet.conv1, resnet.bn1
        self.relu = resnet.relu if stem_relu else nn.Identity()
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        self.grad_checkpointing = False
        self.channels = (
            resnet.layer2[0].conv1.in_channels,
            resnet.layer3[0].conv1.in_channels,
            resnet.layer4[0].conv1.in_channels,
            resnet.fc.in_features,
        )
        for module in self.layer4[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images ``(N, 3, H, W)`` -> the four stages, ``(N, C, h, w)``.

        Stage 1 has a quarter of the image's height and width, stage 2 an eighth, stages 3 and 4 a
        sixteenth.
        """
        x = self._sparing_memory(self._stem, images)
        stage1 = self._sparing_memory(self.layer1, x)
        stage2 = self._sparing_memory(self.layer2, stage1)
        stage3 = self.layer3(stage2)
        return stage1, stage2, stage3, self.layer4(stage3)

    def _stem(self, images: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def _sparing_memory(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not (self.grad_checkpointing and self.training and torch.is_grad_enabled()):
            return part(x)
        return checkpoint(
            part,
            x,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing is drawn
            context_fn=lambda: (nullcontext(), self._keeping_statistics()),
        )

    @contextmanager
    def _keeping_statistics(self) -> Iterator[None]:
        """Batch norm has seen the batch by the time that a part is computed again."""
        kept = [
            (norm, norm.momentum, norm.num_batches_tracked)
            for norm in self.modules()
            if isinstance(norm, nn.modules.batchnorm._BatchNorm)
        ]
        for norm, _, count in kept:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        try:
            yield
        finally:
            for norm, momentum, count in kept:
                norm.momentum, norm.num_batches_tracked = momentum, count


def _load_imagenet_weights(resnet: nn.Module, name: str) -> None:
    weights = get_model_weights(name)[_WEIGHTS]
    try:
        resnet.load_state_dict(weights.get_state_dict(progress=True, check_hash=True))
    except Exception as error:  # no network, no space, a broken file: all end the same way
        raise RuntimeError(
            f"pretrained=True needs torchvision's ImageNet weights of {name}, which could not be "
            f"loaded ({type(error).__name__}: {error}). {advice(weights)}, or pass "
            "pretrained=False (main.py: model.pretrained False) to start from random weights."
        ) from error
