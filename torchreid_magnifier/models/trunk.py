"""The convolutional trunk: torchvision's ResNet with the last down-sampling removed."""

from torch import Tensor, nn
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
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        stage1 = self.layer1(x)
        stage2 = self.layer2(stage1)
        stage3 = self.layer3(stage2)
        return stage1, stage2, stage3, self.layer4(stage3)


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
