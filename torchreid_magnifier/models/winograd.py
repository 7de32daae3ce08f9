"""3x3 convolutions with a quarter of the multiplications, for inference on the CPU.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: F(4x4, 3x3). A tile
of 6x6 pixels gives 4x4 outputs by 36 products in place of 144, between two small linear
transforms. In float32 an output is off by some 5e-6 of the largest.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4  # outputs of a tile, each way
_WINDOW = 6  # pixels that they depend on
_PRODUCTS = _WINDOW**2

# The transforms of a tile's pixels, of the weights and of the products, along one axis (ibid.,
# section 4.3).
_OF_PIXELS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_OF_WEIGHTS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OF_PRODUCTS = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _both_axes(along_one: tuple[tuple[float, ...], ...]) -> Tensor:
    matrix = torch.tensor(along_one, dtype=torch.float64)
    return torch.kron(matrix, matrix).float()


class Winograd:
    """A convolution of stride 1 and padding 1.

    Args:
        weight: ``(D, C, 3, 3)``, float32; kept as ``(36, C, D)``.
    """

    def __init__(self, weight: Tensor) -> None:
        along_one = torch.tensor(_OF_WEIGHTS, dtype=torch.float64)
        weights = torch.einsum("ia,dcab,jb->ijcd", along_one, weight.double(), along_one)
        self._weights = weights.flatten(0, 1).float().contiguous()
        self._of_pixels, self._of_products = _both_axes(_OF_PIXELS), _both_axes(_OF_PRODUCTS)

    def __call__(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, D, H, W)``, both float32 with the channels innermost.

        H and W are multiples of ``TILE``.
        """
        number, channels, height, width = x.shape
        rows, columns = height // TILE, width // TILE
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        of_image, of_row, of_column, _ = padded.stride()
        windows = padded.as_strided(
            (_WINDOW, _WINDOW, number, rows, columns, channels),
            (of_row, of_column, of_image, TILE * of_row, TILE * of_column, 1),
        )
        pixels = self._of_pixels @ windows.reshape(_PRODUCTS, -1)
        products = pixels.view(_PRODUCTS, -1, channels) @ self._weights
        outputs = self._of_products @ products.view(_PRODUCTS, -1)
        tiles = outputs.view(TILE, TILE, number, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
        return tiles.contiguous().view(number, height, width, -1).permute(0, 3, 1, 2)
