"""A backbone of one's own: one convolution a stage."""

from torch import Tensor, nn

from torchreid_magnifier import register_backbone


class Slim(nn.Module):
    channels = (8, 16, 24, 32)
    strides = (4, 8, 16, 16)

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        if pretrained:
            raise RuntimeError("There are no trained weights of slim: pass pretrained=False.")
        widths, steps = (3, *self.channels), (4, 2, 2, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, step, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )
            for before, after, step in zip(widths, self.channels, steps)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps[1:])


register_backbone("slim", Slim)
