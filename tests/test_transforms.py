import copy
import doctest
import importlib
import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchreid import data as torchreid_data
from torchvision import transforms as T
from torchvision.transforms import v2

from torchreid_magnifier.data import transforms as module
from torchreid_magnifier.data.transforms import JointTransform

torchreid_transforms = importlib.import_module(f"{torchreid_data.__name__}.transforms")
NEAREST = T.InterpolationMode.NEAREST
OPTIONS = ["random_flip", "random_crop", "random_patch", "color_jitter", "random_erase"]


def seed(value):
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def drawn():
    """Numbers that tell whether the generators stand where they should."""
    return random.random(), np.random.rand(), torch.rand(1).item()


def noise_image(rng, height=40, width=20):
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def blocks(rng, rows=8, columns=4, size=8):
    """A label map of square blocks."""
    return np.kron(rng.integers(0, 8, (rows, columns)), np.ones((size, size))).astype(np.uint8)


def encode(labels):
    """An image that shows the label map: a label is a grey value, background black."""
    return Image.fromarray(np.repeat(labels[..., None] * np.uint8(30), 3, axis=2))


def decode(image):
    return (image[0] * 255 / 30).round()


# The image is what torchreid makes of it


@pytest.mark.parametrize("options", [[], *([option] for option in OPTIONS), OPTIONS])
def test_the_image_is_bit_identical_to_torchreids_own(options, capsys):
    plain, _ = torchreid_transforms.build_transforms(32, 16, options)
    joint = JointTransform(copy.deepcopy(plain))
    rng = np.random.default_rng(0)
    # RandomPatch pastes once it has seen 100 images.
    images = [noise_image(rng) for _ in range(130)]
    labels = [rng.integers(0, 8, (40, 20), dtype=np.uint8) for _ in images]

    seed(1)
    expected = [plain(image.copy()) for image in images]
    expected_draws = drawn()
    seed(1)
    found = [joint(image.copy(), label) for image, label in zip(images, labels, strict=True)]
    assert drawn() == expected_draws
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (4, 32, 16)
        assert one.dtype == torch.float32
        assert torch.equal(one[:3], other)
        assert set(one[3].unique().tolist()) <= set(range(8))


NORMALIZE = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    "steps",
    [
        [T.ToTensor(), NORMALIZE, torchreid_transforms.ColorAugmentation(1.0)],  # another tensor
        [T.ToTensor(), NORMALIZE, T.RandomHorizontalFlip(1.0)],
        [T.ToTensor(), NORMALIZE, T.Resize((12, 8), antialias=True)],
        [T.ToTensor(), NORMALIZE, T.CenterCrop((12, 8))],  # a part of the tensor
        [T.ToTensor(), T.Normalize([0.5], [0.25])],
        [T.PILToTensor(), T.ConvertImageDtype(torch.float64), NORMALIZE],
    ],
    ids=lambda steps: ", ".join(type(step).__name__ for step in steps),
)
def test_it_is_so_whatever_goes_on_after_the_normalisation(steps):
    image = noise_image(np.random.default_rng(0))
    labels = blocks(np.random.default_rng(0), 5, 5)[:, :20]
    seed(1)
    expected = T.Compose(steps)(image)
    seed(1)
    found = JointTransform(T.Compose(steps))(image, labels)
    assert found.dtype == expected.dtype
    assert torch.equal(found[:3], expected)


def test_it_is_so_in_float64(monkeypatch):
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    image, labels = noise_image(np.random.default_rng(0)), np.zeros((40, 20), np.uint8)
    expected = T.Compose([T.ToTensor(), NORMALIZE])(image)
    found = JointTransform(T.Compose([T.ToTensor(), NORMALIZE]))(image, labels)
    assert found.dtype == expected.dtype == torch.float64
    assert torch.equal(found[:3], expected)


def test_a_deviation_of_zero_is_the_error_of_torchvision():
    joint = JointTransform(T.Compose([T.ToTensor(), T.Normalize([0.5] * 3, [0.5, 0, 0.5])]))
    with pytest.raises(ValueError, match="division by zero"):
        joint(Image.new("RGB", (8, 16)), np.zeros((16, 8), np.uint8))


# Labels follow


@pytest.mark.parametrize("size", [(128, 64), (160, 61), (33, 20)])
@pytest.mark.parametrize("new", [(384, 192), (256, 128), (144, 72), (50, 31)])
def test_resized_labels_are_pillows_nearest_neighbours(size, new):
    labels = np.random.default_rng(0).integers(0, 8, size, dtype=np.uint8)
    joint = JointTransform(T.Compose([T.Resize(new), T.ToTensor()]))
    expected = Image.fromarray(labels).resize(new[::-1], Image.NEAREST)
    found = joint(Image.new("RGB", size[::-1]), labels)[3]
    assert np.array_equal(found.numpy(), np.asarray(expected))


GEOMETRIC = [
    T.Resize((48, 24)),
    T.Resize((96, 80)),
    T.Resize(20),
    T.Pad(5, fill=60),
    T.Pad((1, 2, 3, 4), padding_mode="edge"),
    T.CenterCrop((40, 20)),
    T.RandomCrop((50, 20)),
    T.RandomCrop((64, 32), padding=10),
    T.RandomResizedCrop((48, 24)),
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(),
    T.RandomRotation(30),
    T.RandomRotation(30, expand=True),
    T.RandomAffine(20, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=10),
    T.RandomPerspective(0.4, p=0.8),
    torchreid_transforms.Random2DTranslation(48, 24),
]


@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda transform: repr(transform)[:60])
def test_labels_move_with_every_geometric_transform(transform):
    # With nearest interpolation the image shows the labels exactly, wherever they go.
    transform = copy.deepcopy(transform)
    if hasattr(transform, "interpolation"):
        is_torchreids = isinstance(transform, torchreid_transforms.Random2DTranslation)
        transform.interpolation = Image.NEAREST if is_torchreids else NEAREST
    if hasattr(transform, "fill"):
        transform.fill = 0
    joint = JointTransform(T.Compose([transform, T.ToTensor()]))
    labels = blocks(np.random.default_rng(0))
    seed(2)
    seen = set()
    for _ in range(20):
        result = joint(encode(labels), labels)
        assert torch.equal(result[3], decode(result))
        seen.add(tuple(result[3].flatten().tolist()))
    is_random = type(transform).__name__.startswith("Random")
    assert (len(seen) > 1) == is_random


@pytest.mark.parametrize("size", [(48, 20), (64, 32), (128, 64), (32, 16)])
def test_interpolated_images_are_not_shifted_against_their_labels(size, capsys):
    # Two values only: wherever the interpolated image is clearly one of them, the label must be it.
    plain, _ = torchreid_transforms.build_transforms(*size, ["random_flip", "random_crop"])
    joint = JointTransform(T.Compose(plain.transforms[:-1]))  # not normalised
    rng = np.random.default_rng(0)
    seed(3)
    for _ in range(20):
        labels = (blocks(rng) > 3).astype(np.uint8)
        result = joint(encode(labels * np.uint8(8)), labels)
        value = result[0] * 255 / 240
        clear = (value - 0.5).abs() > 0.3
        assert clear.float().mean() > 0.6
        assert torch.equal(result[3][clear], (value > 0.5).float()[clear])


def test_labels_follow_a_flip_of_the_tensor():
    joint = JointTransform(T.Compose([T.ToTensor(), T.RandomHorizontalFlip()]))
    rng = np.random.default_rng(0)
    seed(4)
    for _ in range(10):
        labels = blocks(rng)
        result = joint(encode(labels), labels)
        assert torch.equal(result[3], decode(result))


def test_filling_is_background_whatever_the_image_is_filled_with():
    joint = JointTransform(T.Compose([T.Pad(2, fill=(250, 120, 60)), T.ToTensor()]))
    result = joint(Image.new("RGB", (8, 16)), np.full((16, 8), 7, np.uint8))
    inside = torch.zeros(20, 12)
    inside[2:-2, 2:-2] = 7
    assert torch.equal(result[3], inside)
    assert torch.allclose(result[:3, 0, 0], torch.tensor([250.0, 120.0, 60.0]) / 255)


@pytest.mark.parametrize(
    "transform",
    [
        T.ColorJitter(0.5, 0.5, 0.5, 0.2),
        T.RandomGrayscale(1.0),
        T.GaussianBlur(3),
        torchreid_transforms.RandomPatch(prob_happen=1.0, min_sample_size=1),
    ],
)
def test_labels_stay_where_pixels_stay(transform):
    joint = JointTransform(T.Compose([transform, T.ToTensor()]))
    labels = blocks(np.random.default_rng(0))
    seed(5)
    assert torch.equal(joint(encode(labels), labels)[3], torch.from_numpy(labels).float())


@pytest.mark.parametrize(
    "transform",
    [
        T.RandomErasing(1.0, value=1),
        torchreid_transforms.RandomErasing(1.0, mean=[1.0, 1.0, 1.0]),
        torchreid_transforms.ColorAugmentation(1.0),
    ],
)
def test_transforms_of_the_tensor_never_touch_the_label_channel(transform):
    joint = JointTransform(T.Compose([T.ToTensor(), transform]))
    labels = blocks(np.random.default_rng(0))
    seed(6)
    result = joint(encode(labels), labels)
    assert torch.equal(result[3], torch.from_numpy(labels).float())
    assert not torch.equal(result[:3], T.ToTensor()(encode(labels)))


def test_nested_compose_and_a_bare_transform():
    labels = blocks(np.random.default_rng(0))
    expected = torch.from_numpy(labels[::-1].copy()).float()
    flip = T.RandomVerticalFlip(1.0)
    nested = T.Compose([T.Compose([flip]), T.Compose([T.Compose([T.ToTensor()])])])
    assert torch.equal(JointTransform(nested)(encode(labels), labels)[3], expected)
    bare = JointTransform(T.ToTensor())(encode(labels), labels)
    assert torch.equal(bare[3], torch.from_numpy(labels).float())


def test_the_given_transform_is_not_changed():
    crop = T.RandomCrop(8, padding=2, fill=99)
    resize = T.Resize((8, 8))
    translation = torchreid_transforms.Random2DTranslation(8, 8)
    JointTransform(T.Compose([crop, resize, translation, T.ToTensor()]))
    assert crop.fill == 99
    assert resize.interpolation == T.InterpolationMode.BILINEAR
    assert translation.interpolation == Image.BILINEAR


def test_pickled_it_does_the_same(capsys):
    transform, _ = torchreid_transforms.build_transforms(32, 16, OPTIONS)
    joint = JointTransform(transform)
    again = pickle.loads(pickle.dumps(joint))
    image, labels = encode(blocks(np.random.default_rng(0))), blocks(np.random.default_rng(0))
    results = []
    for one in (joint, again):
        seed(7)
        results.append(torch.stack([one(image.copy(), labels) for _ in range(5)]))
    assert torch.equal(*results)


# Transforms of one's own


class Roll:
    """Moves pixels by numbers from all three generators."""

    def __call__(self, image):
        shift = random.randrange(20) + np.random.randint(20) + int(torch.randint(20, (1,)))
        return Image.fromarray(np.roll(np.asarray(image), shift, axis=0))


class Invert:
    def __call__(self, image):
        return Image.fromarray(255 - np.asarray(image))


class Halve:
    def __call__(self, image):
        return image.resize((image.width // 2, image.height // 2))


@pytest.fixture
def register(monkeypatch):
    monkeypatch.setattr(JointTransform, "_known", dict(JointTransform._known))
    return JointTransform.register


def test_an_unknown_transform_is_an_error_at_once(register):
    register(Roll, "geometric")
    with pytest.raises(TypeError) as error:
        JointTransform(T.Compose([Roll(), Invert(), T.ToTensor()]))
    assert str(error.value) == (
        f"unknown transform {__name__}.Invert: part labels must follow it if it moves pixels. Say "
        "JointTransform.register(Invert, 'geometric') if it does, "
        "JointTransform.register(Invert, 'image') if every pixel stays in its place"
    )


@pytest.mark.parametrize(
    "transform",
    [
        T.Lambda(lambda image: image),
        T.FiveCrop(8),
        T.RandomApply([T.RandomHorizontalFlip()]),
        v2.RandomHorizontalFlip(),  # another class of the same name
        lambda image: image,
        type("Wider", (T.RandomHorizontalFlip,), {})(),  # a subclass may do anything
    ],
)
def test_what_is_not_known_by_its_class_is_unknown(transform):
    with pytest.raises(TypeError, match="^unknown transform "):
        JointTransform(T.Compose([T.ToTensor(), transform]))


def test_labels_follow_a_registered_geometric_transform(register):
    register(Roll, "geometric")
    joint = JointTransform(T.Compose([Roll(), T.ToTensor()]))
    labels = blocks(np.random.default_rng(0))
    plain = T.Compose([Roll(), T.ToTensor()])
    seed(8)
    expected = [plain(encode(labels)) for _ in range(10)]
    seed(8)
    for image in expected:
        result = joint(encode(labels), labels)
        assert torch.equal(result[:3], image)
        assert torch.equal(result[3], decode(result))


def test_a_registered_image_transform_leaves_the_labels(register):
    register(Invert, "image")
    joint = JointTransform(T.Compose([Invert(), T.ToTensor()]))
    labels = blocks(np.random.default_rng(0))
    result = joint(encode(labels), labels)
    assert torch.equal(result[3], torch.from_numpy(labels).float())
    assert torch.allclose(result[:3], 1 - T.ToTensor()(encode(labels)))


def test_a_wrong_kind_is_an_error(register):
    with pytest.raises(ValueError) as error:
        register(Invert, "colour")
    assert str(error.value) == "expected kind 'geometric' or 'image', found 'colour'"


# Bad input


def call(transform, image, labels):
    with pytest.raises(ValueError) as error:
        JointTransform(transform)(image, labels)
    return str(error.value)


def test_labels_of_another_size_are_an_error():
    message = call(T.ToTensor(), Image.new("RGB", (8, 16)), np.zeros((8, 16), np.uint8))
    assert message == "expected labels of the image's shape (16, 8), found (8, 16)"


def test_a_transform_without_a_tensor_at_its_end_is_an_error():
    message = call(T.Resize((4, 2)), Image.new("RGB", (8, 16)), np.zeros((16, 8), np.uint8))
    assert message == "expected the transform to end in a tensor of shape (3, 4, 2), found Image"


def test_an_image_transform_that_changes_the_size_is_an_error(register):
    register(Halve, "image")
    transform = T.Compose([Halve(), T.ToTensor()])
    message = call(transform, Image.new("RGB", (8, 16)), np.zeros((16, 8), np.uint8))
    assert message == (
        "expected the transform to end in a tensor of shape (3, 16, 8), found torch.Size([3, 8, 4])"
    )


def test_the_docstring_example_is_true():
    assert doctest.testmod(module).failed == 0
