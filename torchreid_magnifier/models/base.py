"""The contract of every model: what it says of itself, and the two functions that it fills.

A subclass computes a training step (``forward_train``) and an embedding (``embed``). Everything
else is done here, once for all: checks of the input, the channels that ride with the image,
weights of heads and losses that reach the optimizer through torchreid's unchanged engine
(``losses.attach``), their log, replicas of ``nn.DataParallel``, mixed precision, compilation,
gradient checkpointing and folding for inference.
"""

import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..losses.attach import attach_losses, scale_gradient
from ..losses.batch import whole_batch
from ..losses.distillation import cosine_distillation, similarity_distillation
from ..losses.forward_pass import BatchRatio, BatchSum, ForwardPass, ShareWeight, scalar
from ..losses.log import LossLog
from ..losses.precision import widened
from ..parts import NUM_PARTS
from .folding import optimized

Model = TypeVar("Model", bound="ReIDModel")

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
RGB = 3
SIDECAR_CHANNELS = {"masks": 1, "textures": 6}
"""Channels beside RGB in training, by what a model ``needs``."""


class TrainOutput(NamedTuple):
    """A training step of N images; only ``logits`` must be given.

    Attributes:
        logits: of each head, ``(N, num_classes)``; the first is the one whose accuracy is shown.
        features: that the triplet loss takes, ``(N, D_head)``.
        weights: of the heads' cross-entropies, where they are not 1.
        losses: the model's own: name -> weight and value. A value is a scalar that is a mean over
            the images, a ``BatchSum`` or a ``BatchRatio``.
        metrics: further scalars for the log.
        embeddings: of each branch, as ``embed`` gives it, ``(N, D_branch)``: what learns from a
            teacher.
    """

    logits: dict[str, Tensor]
    features: dict[str, Tensor] = {}
    weights: dict[str, "float | Tensor | ShareWeight"] = {}
    losses: dict[str, "tuple[float, Tensor | BatchSum | BatchRatio]"] = {}
    metrics: dict[str, Tensor] = {}
    embeddings: dict[str, Tensor] = {}


class Embedding(NamedTuple):
    """N images in evaluation; only ``vector`` must be given.

    Attributes:
        vector: what is compared, ``(N, D)``.
        branches: the slice of ``vector`` that each branch has, in order.
        maps: the feature map that each branch pools, not negative, ``(N, C, h, w)``.
        part_labels: predicted labels 0..7, ``(N, h, w)``.
        part_logits: what the labels are the largest of, ``(N, 8, h, w)``.
        visibility: share of the picture that each part takes, ``(N, K)``.
        regions: features of the K regions before their fusion, ``(N, K, C)``, zero where a region
            is absent.
        region_maps: what the regions' features were pooled with, ``(N, K, h, w)`` in [0, 1].
    """

    vector: Tensor
    branches: dict[str, slice] = {}
    maps: dict[str, Tensor] = {}
    part_labels: Tensor | None = None
    part_logits: Tensor | None = None
    visibility: Tensor | None = None
    regions: Tensor | None = None
    region_maps: Tensor | None = None


class ReIDModel(nn.Module):
    """A network that torchreid's engine trains and tests as it does its own.

    Args:
        num_classes: number of training identities.
        loss: one of ``losses``.
        precision: ``bfloat16`` for mixed precision in training and evaluation: both functions run
            under ``torch.autocast``, parameters and losses are float32, so that engine and
            optimizer need to know nothing of it. ``float32`` leaves the dtype alone.

    Attributes:
        losses: accepted names of ``loss``.
        needs: the sidecar files that training reads, ``masks`` or ``textures``, or None.
        stride: the image's height and width must be multiples of it.
        embedding_size: D; a subclass sets it.
        branches: names of the parts of the embedding, in order.
        has_parts: whether ``embed`` gives ``part_labels`` and ``visibility``.
        has_regions: whether ``embed`` gives ``regions`` and ``region_maps``.
        decodes_textures: whether there is a ``decode`` that gives textures.
        num_instances: images of an identity that must follow each other in a batch; such a model
            compares images across the batch, which several processes cannot share out.
        undecayed: beginnings of the names of parameters that a loss of a small weight alone trains:
            weight decay would outweigh it, and ``build_optimizer`` gives them none.
        separate_lr: learning rate of its own losses under an optimizer that steps them apart
            (``san_adam``); None if it cannot be trained so.
        loss_log: the model's own loss terms: ``loss_log.last`` of the last batch,
            ``loss_log.history`` of the epochs so far. A line with their means is printed when an
            epoch ends (``train()`` or ``eval()``).
        injected_loss_scale: factor of the attached losses, a number or a function that is asked at
            backward time. With a ``GradScaler`` set it to ``scaler.get_scale``; with gradients
            accumulated over k batches to ``1 / k``. Stock engines do neither.
        generator: drawn from in place of torch's own, so that several processes draw alike.
        trained_size: height and width of the images that the weights were trained on, if known.

    Raises:
        ValueError: for arguments out of range; in ``forward`` for input of a wrong shape.
    """

    losses: tuple[str, ...] = ("softmax", "triplet")
    needs: str | None = None
    stride: int = 1
    embedding_size: int
    branches: tuple[str, ...] = ("global",)
    has_parts: bool = False
    has_regions: bool = False
    decodes_textures: bool = False
    num_instances: int | None = None
    undecayed: tuple[str, ...] = ()
    separate_lr: float | None = None

    def __init__(
        self, num_classes: int, loss: str = "softmax", *, precision: str = "float32"
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        if loss not in self.losses:
            raise ValueError(
                f"Unknown loss {loss!r}: {type(self).__name__} knows {', '.join(self.losses)}."
            )
        if precision not in PRECISIONS:
            raise ValueError(f"Unknown precision {precision!r}: expected one of {[*PRECISIONS]}.")
        self.num_classes = num_classes
        self.loss = loss
        self.precision = precision
        self.injected_loss_scale: float | Callable[[], float] = 1.0
        self.generator: torch.Generator | None = None
        self.trained_size: tuple[int, int] | None = None
        self.loss_log = LossLog()
        self._replicas_passes: list[ForwardPass] = []
        self._calls = 0
        self._receiver: weakref.ref[Callable[[Tensor], None]] | None = None
        self._compile: Callable[..., Any] | None = None
        self._warned = False

    # ------------------------------------------------------------------ what a model fills

    def forward_train(self, images: Tensor, extra: Any) -> TrainOutput:
        """Compute a training step.

        Args:
            images: ``(N, 3, H, W)``.
            extra: what ``prepare`` returned.
        """
        raise NotImplementedError

    def embed(self, images: Tensor) -> Embedding:
        """Compute the embedding of images ``(N, 3, H, W)``, in evaluation mode."""
        raise NotImplementedError

    def prepare(self, images: Tensor, extra: Tensor | None) -> Any:
        """Prepare ``extra`` for ``forward_train``: all that is drawn or looked at, not compiled.

        Args:
            images: ``(N, 3, H, W)``.
            extra: part labels ``(N, H, W)`` int64, a texture ``(N, 3, H, 2W)`` in [-1, 1], or None
                for a model that needs neither.
        """
        return extra

    # ------------------------------------------------------------------ what torchreid calls

    def forward(
        self, images: Tensor, return_featuremaps: bool = False, teacher: Tensor | None = None
    ) -> Any:
        """Return what torchreid's engine takes.

        Args:
            images: ``(N, 3, H, W)``, with further channels in training if the model needs them.
            return_featuremaps: return the feature map of the first branch, ``(N, C, h, w)``.
            teacher: embeddings of the images by another network, ``(N, T)``; see ``learn_from``.

        Returns:
            In evaluation the embedding ``(N, D)``; in training the list of logits, or with a
            triplet loss the lists of logits and of features.
        """
        rgb, extra = self._split_input(images)
        if return_featuremaps:
            return next(iter(self._embed(rgb).maps.values()))
        if self.training:
            return self._train_forward(rgb, extra, teacher)
        self._warn_of_another_size(rgb)
        return self._embed(rgb).vector

    def inspect(self, images: Tensor) -> Embedding:
        """Return everything that ``(N, 3, H, W)`` gives rise to on the way to the embedding.

        Raises:
            ValueError: in training mode, or for input of a wrong shape.
        """
        if self.training:
            raise ValueError("inspect is for evaluation: call model.eval() first.")
        rgb, _ = self._split_input(images)
        self._warn_of_another_size(rgb)
        found = self._embed(rgb, compiled=False)
        if found.part_labels is not None and found.visibility is None:
            found = found._replace(visibility=visibility(found.part_labels))
        if not found.branches and self.branches:
            found = found._replace(branches={self.branches[0]: slice(0, found.vector.shape[1])})
        return found

    def _embed(self, rgb: Tensor, compiled: bool = True) -> Embedding:
        embed = self.compiled(type(self).embed) if compiled else type(self).embed
        with self.mixed_precision(rgb.device.type):
            found: Embedding = embed(self, rgb)
        return found._replace(vector=widened(found.vector))

    def train(self: Model, mode: bool = True) -> Model:
        """Set the mode; the engine does so at the end of an epoch: prints the log."""
        if summary := self.loss_log.end_epoch():
            means = "  ".join(f"{name} {value:.4f}" for name, value in summary.items())
            print(f"* {type(self).__name__} epoch means: {means}")
        return super().train(mode)

    # ------------------------------------------------------------------ precision and speed

    def mixed_precision(self, device_type: str) -> AbstractContextManager[Any]:
        """Return autocast, if the model has another ``precision`` than float32."""
        dtype = PRECISIONS[self.precision]
        return nullcontext() if dtype is None else torch.autocast(device_type, dtype)

    def full_precision(self, device_type: str) -> AbstractContextManager[Any]:
        """Return a context for heads and losses, which leaves autocast where it is entered."""
        if _is_autocast_enabled(device_type):
            return torch.autocast(device_type, enabled=False)
        return nullcontext()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Train with less memory and more operations, where the backbone can."""
        module: Any
        for module in self.modules():
            if hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable

    def compile(self, **options: Any) -> None:
        """Have torch.compile translate what the model computes: one graph each, without breaks.

        What is Python alone, such as the log, stays outside: ``torch.compile`` of the whole model
        has one graph in evaluation and breaks in training.

        Args:
            options: of ``torch.compile``.
        """
        self._compile = cache(partial(torch.compile, fullgraph=True, **options))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` of the model and tensors, translated if ``compile`` was called."""
        return function if self._compile is None else self._compile(function)

    def optimize_for_inference(self: Model) -> Model:
        """Return a copy that gives the same embeddings (to 1e-4 of the largest) faster.

        It never trains. Batch norm is folded into the convolutions, sums and ReLUs are done along
        with them, and with the ``precision`` bfloat16 the weights have it. ``forward`` and
        ``inspect`` are as before. Call it once the weights are loaded and the model is on its
        device.

        Raises:
            ValueError: in training mode, or for weights that are not finite.
        """
        parameter = next(self.parameters())
        chance = torch.Generator().manual_seed(0)
        example = torch.rand(1, RGB, *self._example_size(), generator=chance).to(parameter)
        return optimized(
            self,
            PRECISIONS[self.precision] or parameter.dtype,
            lambda model: model._embed(example, compiled=False).vector,
        )

    def _example_size(self) -> tuple[int, int]:
        """Height and width of images that it can take."""
        side = max(4 * self.stride, 64)
        return side, side

    # ------------------------------------------------------------------ training

    def redirect_losses(self, receiver: Callable[[Tensor], None] | None) -> None:
        """Hand the model's own losses to ``receiver`` in place of attaching them; None: as before.

        It is called with their weighted sum in each training forward pass, for as long as it
        lives: it is not kept alive from here (an optimizer that steps them apart).
        """
        self._receiver = None if receiver is None else weakref.ref(receiver)

    def learn_from(self, size: int, cosine: float = 5.0, similarity: float = 50.0) -> None:
        """Let the training forward pass take a teacher's embeddings, and attach two losses.

        A linear layer from each branch to the teacher's space joins the classifier: checkpoints
        have it, and it is left out where those are. Replicas of ``nn.DataParallel`` compare the
        images of their own share.

        Args:
            size: T, of the teacher's embeddings.
            cosine: weight of 1 - cosine, of each branch.
            similarity: weight of the squared difference of the cosines within a batch.
        """
        with torch.no_grad():
            side = max(4 * self.stride, 64)
            was, parameter = self.training, next(self.parameters())
            found = self.eval().inspect(parameter.new_zeros(1, RGB, side, side))
            self.train(was)
        layers = {
            branch: nn.Linear(part.stop - part.start, size, bias=False)
            for branch, part in found.branches.items()
        }
        classifier: Any = self.classifier
        classifier.add_module("teacher", nn.ModuleDict(layers).to(parameter.device))
        self._teacher_weights = (cosine, similarity)

    def draw_once(self, draw: Callable[[], Any]) -> Any:
        """Return ``draw()``, the same for all replicas of a step; to be called in ``prepare``."""
        return self._pass.once(draw)

    @property
    def is_replica(self) -> bool:
        """Return whether this is a copy that ``nn.DataParallel`` made for one step."""
        return getattr(self, "_is_replica", False)

    def _train_forward(self, rgb: Tensor, extra: Tensor | None, teacher: Tensor | None) -> Any:
        num_images = len(rgb)
        self._pass = forward_pass = self._enter_forward_pass(num_images)
        prepared = self.prepare(rgb, extra)
        with self.mixed_precision(rgb.device.type):
            found = self.compiled(type(self).forward_train)(self, rgb, prepared)
        if self.loss != "softmax" and not found.features:
            raise ValueError(
                f"{type(self).__name__} was built with loss {self.loss!r} and gives no features "
                "for the triplet loss: fill TrainOutput.features, or take loss 'softmax'."
            )
        if teacher is not None:
            losses = {**found.losses, **self._teacher_losses(found.embeddings, teacher)}
            found = found._replace(losses=losses)
        forward_pass.record(
            num_images,
            {**{name: value for name, (_, value) in found.losses.items()}, **found.metrics},
            found.weights,
        )
        outputs = [
            scale_gradient(widened(logits), self._head_weight(found, head, forward_pass))
            for head, logits in found.logits.items()
        ]
        features = [
            scale_gradient(widened(feature), len(found.features))
            for feature in found.features.values()
        ]
        if self.loss == "softmax":
            features = []
        if found.losses:
            both = self._attach(found, outputs + features, forward_pass, num_images)
            outputs, features = both[: len(outputs)], both[len(outputs) :]
        return outputs if self.loss == "softmax" else (outputs, features)

    def _teacher_losses(
        self, embeddings: dict[str, Tensor], target: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        layers: Any = self.classifier
        if missing := layers.teacher.keys() - embeddings.keys():
            raise ValueError(
                f"{type(self).__name__} gives no embedding of {', '.join(sorted(missing))} in "
                "training, which a teacher needs: fill TrainOutput.embeddings."
            )
        cosine, similarity = self._teacher_weights
        own = {branch: widened(embeddings[branch]) for branch in layers.teacher}
        losses = {
            f"loss_teacher_{branch}": (cosine, cosine_distillation(layer(own[branch]), target))
            for branch, layer in layers.teacher.items()
        }
        everything = whole_batch(torch.cat(list(own.values()), 1))
        value = similarity_distillation(everything, whole_batch(target))
        return {**losses, "loss_teacher_pairs": (similarity, value)}

    @staticmethod
    def _head_weight(found: TrainOutput, head: str, forward_pass: ForwardPass) -> Any:
        """Of a head, times their number: the engine's mean over the heads becomes a sum."""
        weight, count = found.weights.get(head, 1.0), len(found.logits)
        if isinstance(weight, ShareWeight):
            return lambda: count * forward_pass.weight(head)
        return count * weight

    def _attach(
        self,
        found: TrainOutput,
        outputs: list[Tensor],
        forward_pass: ForwardPass,
        num_images: int,
    ) -> list[Tensor]:
        receiver = self._receiver() if self._receiver is not None else None
        if receiver is not None:
            if self.is_replica:
                raise ValueError(
                    "The optimizer takes gradients of one copy of the model, and nn.DataParallel "
                    "made several: train on one GPU (gpu_devices '0'), or take another optimizer, "
                    "such as 'amsgrad'."
                )
            receiver(torch.stack([w * scalar(v) for w, v in found.losses.values()]).sum())
            return outputs
        weights = {name: weight for name, (weight, _) in found.losses.items()}

        def gradients() -> list[Any]:
            scale = self.injected_loss_scale
            factor = scale() if callable(scale) else scale
            return [factor * w * forward_pass.gradient(n, num_images) for n, w in weights.items()]

        values = [v if isinstance(v, Tensor) else v[0] for _, v in found.losses.values()]
        return attach_losses(values, outputs, gradients)

    def _enter_forward_pass(self, num_images: int) -> ForwardPass:
        """Begin a training forward pass, or join the one of the other replicas.

        The passes of a step's replicas lie in a list that all of them have; a replica that is
        called a second time within the step joins the second of them.
        """
        if self.is_replica:
            forward_pass = ForwardPass.at(self._replicas_passes, self._calls, self.loss_log.add)
            self._calls += 1
        else:
            forward_pass = ForwardPass()
            self.loss_log.add(forward_pass)
        forward_pass.enter(num_images)
        return forward_pass

    def _replicate_for_data_parallel(self) -> Any:
        # nn.DataParallel makes all replicas of a step before it runs any: once one has run, the
        # next replica belongs to a new step.
        if self.training and self._replicas_passes:
            self._replicas_passes = []
        replica = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        replica._calls = 0
        return replica

    # ------------------------------------------------------------------ input

    def _split_input(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """RGB and, where training needs them, labels ``(N, H, W)`` or a texture; checked."""
        name = type(self).__name__
        needed = SIDECAR_CHANNELS.get(self.needs or "", 0) if self.training else 0
        allowed: tuple[int, ...] = (RGB + needed,)
        if self.training and not needed:
            allowed = (RGB, *(RGB + channels for channels in SIDECAR_CHANNELS.values()))
        if images.dim() != 4 or images.shape[1] not in allowed:
            expected = " or ".join(f"(N, {channels}, H, W)" for channels in allowed)
            mode = f"Training this {name}" if self.training else f"Evaluation of {name}"
            hint = ""
            if needed:
                what = {"masks": "part labels", "textures": "texture"}[self.needs or ""]
                hint = (
                    f" of RGB and {what}: take a dataset whose name ends in '_{self.needs}' as the "
                    f"source (data.sources ['market1501_{self.needs}'])"
                )
            elif not self.training and images.dim() == 4 and images.shape[1] > RGB:
                hint = " (labels and textures are for training only)"
            raise ValueError(f"{mode} needs a batch {expected}{hint}, got {tuple(images.shape)}.")
        height, width = images.shape[2:]
        if height % self.stride or width % self.stride or not height or not width:
            raise ValueError(
                f"{name} needs a height and width divisible by {self.stride}, got "
                f"{height}x{width}: set data.height and data.width."
            )
        if not needed:
            return images[:, :RGB], None
        extra = images[:, RGB:]
        # On a device the check waits for it: the first batches stand for all (the datasets check
        # every file before training anyway).
        check = images.device.type == "cpu" or self.loss_log.is_beginning
        read = _labels if self.needs == "masks" else _texture
        return images[:, :RGB], read(extra, check)

    def _warn_of_another_size(self, images: Tensor) -> None:
        size = (int(images.shape[2]), int(images.shape[3]))
        if self.trained_size is None or self._warned or size == self.trained_size:
            return
        self._warned = True
        warnings.warn(
            f"{type(self).__name__} was trained on images of {_by(self.trained_size)} pixels and "
            f"is given {_by(size)}: embeddings of two sizes do not compare. Resize images to "
            f"{_by(self.trained_size)} (height x width; FeatureExtractor: image_size).",
            stacklevel=4,
        )

    def __getstate__(self) -> dict[str, Any]:
        left_out = {"_replicas_passes": [], "_calls": 0, "_receiver": None, "_compile": None}
        return {k: v for k, v in {**self.__dict__, **left_out}.items() if k != "_pass"}


def _is_autocast_enabled(device_type: str) -> bool:
    if hasattr(torch, "get_autocast_dtype"):  # since torch 2.4, which can be asked for a device
        return torch.is_autocast_enabled(device_type)
    return torch.is_autocast_cpu_enabled() if device_type == "cpu" else torch.is_autocast_enabled()


def visibility(labels: Tensor) -> Tensor:
    """Return the share of the picture that each part takes: ``(N, h, w)`` -> ``(N, K)``."""
    parts = torch.arange(NUM_PARTS, device=labels.device)
    return (labels.flatten(1).unsqueeze(1) == parts.view(-1, 1)).float().mean(2)


def _labels(extra: Tensor, check: bool) -> Tensor:
    labels = extra[:, 0]
    if check:
        valid = (labels >= 0) & (labels < NUM_PARTS) & (labels == labels.round())
        if not valid.all():
            raise ValueError(
                "The fourth channel of a training batch must hold the part labels "
                f"0..{NUM_PARTS - 1} as whole numbers, found {labels[~valid][0].item():g}: feed "
                "images through a '*_masks' dataset, which moves labels by nearest neighbours and "
                "never normalises them."
            )
    return labels.long()


def _texture(extra: Tensor, check: bool) -> Tensor:
    texture = torch.cat(list(extra.chunk(2, 1)), 3)
    if check and texture.abs().max() > 1:
        raise ValueError(
            "The last six channels of a training batch must hold a texture in [-1, 1], found "
            f"{texture.abs().max():g}: feed images through a '*_textures' dataset."
        )
    return texture


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
