"""What torchreid's ``build_model`` calls for a model of this package."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from ..checkpoint import restore

Model = TypeVar("Model", bound=nn.Module)


def entry_points(
    cls: Callable[..., Model], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Callable[..., Model]]:
    """Model name -> function with the signature of torchreid's model zoo.

    Args:
        cls: the model's class; ``cls(num_classes, loss, pretrained=..., **options)``.
        options: of each variant, by its name.
    """
    return {name: partial(_build, cls, name, **given) for name, given in options.items()}


def _build(
    cls: Callable[..., Model],
    model_name: str,
    num_classes: int,
    loss: str = "softmax",
    pretrained: bool | str = True,
    use_gpu: bool = True,
    **options: Any,
) -> Model:
    """Torchreid passes ``use_gpu`` to every model.

    ``pretrained`` may be the name of trained weights of this model: they are fetched, and the
    classifiers stay random.
    """
    if not isinstance(pretrained, str):
        return cls(num_classes, loss, pretrained=pretrained, **options)
    from ..hub import fetch, find  # which know the names of the models, from here

    path = fetch(find(pretrained, model=model_name))
    model = cls(num_classes, loss, pretrained=False, **options)
    restore(model, path)
    return model
