"""Reading checkpoints safely, and loading them only into the model that they belong to.

Torchreid takes from a checkpoint whatever fits and skips the rest with a warning, so that a second
stage could start from another model's file almost untrained. Here everything must fit but the
classifiers, whose size is the number of training identities.
"""

import errno
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import MagnifierError
from ..files import write_atomically

CLASSIFIER_PREFIX = "classifier."
PARALLEL_PREFIX = "module."  # what nn.DataParallel puts before every name

# torch.load unpickles only tensors and plain Python values since 2.6. Before that release it can
# hardly be taught more, and torchreid reads every file without this guard.
WEIGHTS_ONLY = torch.__version__ >= "2.6"


class CheckpointError(MagnifierError, RuntimeError):
    """A checkpoint that cannot be read, or that belongs to another model."""


def allow_numpy_scalars() -> None:
    """Lets torch read the numpy scalar (rank-1) that torchreid's engine puts in its checkpoints.

    It concerns ``torch.load`` in this process with ``weights_only=True``, the default since torch
    2.6. The scalars stay plain data: no other object becomes loadable. Their constructor is
    allowed under the module names of numpy 1 and 2, whichever of them wrote the file.
    """
    if not WEIGHTS_ONLY:
        return
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64, np.bool_)]
    torch.serialization.add_safe_globals(
        [
            (scalar, "numpy.core.multiarray.scalar"),
            (scalar, "numpy._core.multiarray.scalar"),
            np.dtype,
            *dtypes,
        ]
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint as torchreid's engine saves it, or a bare state dict, onto the CPU.

    No code in the file is run (``weights_only``, with torch >= 2.6).

    Args:
        path: the file; ``~`` is expanded.

    Returns:
        The file's dict. ``state_dict_of`` takes the tensors out of it.

    Raises:
        CheckpointError: if there is no such file, if it cannot be read, or holds no tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f'There is no checkpoint "{path}": expected a file that torchreid saved, such as '
            "log/model/model.pth.tar-60."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=WEIGHTS_ONLY)
    except Exception as error:  # torch raises half a dozen kinds, by what is broken
        # A disk or a memory that fails is no fault of the file's content, and clear already; a
        # file cut short at some places ends in an OSError too, "invalid argument".
        if isinstance(error, MemoryError) or getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
            raise
        raise CheckpointError(
            f'The checkpoint "{path}" cannot be read: it is corrupt, cut short, or holds more '
            "than tensors and numbers. Copy it again, or take an earlier one of the same run."
        ) from error
    if not _tensors_in(checkpoint):
        raise CheckpointError(
            f'"{path}" is not a checkpoint: expected a dict of tensors by name, or one that '
            f'holds it as "state_dict"; found {_describe(checkpoint)}.'
        )
    return checkpoint


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without the ``module.`` of ``nn.DataParallel``."""
    return {name.removeprefix(PARALLEL_PREFIX): t for name, t in _tensors_in(checkpoint).items()}


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a checkpoint's weights into the model that it was trained as.

    Classifier entries (``classifier.*``) of another size, or absent, are left as they are in the
    model, which is printed: they belong to the identities of the training set.

    Args:
        model: the model, or an ``nn.DataParallel`` around it.
        path: a checkpoint of torchreid's engine or a state dict, with ``module.`` prefixes or not.

    Raises:
        CheckpointError: as ``read_checkpoint``, and if the checkpoint is of another model. The
            model is unchanged then.
    """
    left = restore(model, path)
    print(f'Loaded the weights of "{path}"')
    if left:
        print(
            f"Kept the model's own values for {len(left)} classifier entries: the file has none, "
            "or those of other training identities"
        )


def restore(model: nn.Module, path: str | Path) -> set[str]:
    """As ``load_weights``, without a word: returns the names of the entries left as they are."""
    model = unwrap(model)
    tensors = state_dict_of(read_checkpoint(path))
    left = _require_same_model(model, tensors, path, ignore=CLASSIFIER_PREFIX)
    model.load_state_dict(
        {name: t for name, t in tensors.items() if name not in left}, strict=False
    )
    return left


def write_weights(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a state dict into a new file, which appears complete or not at all.

    Raises:
        CheckpointError: the file exists, or its folder does not.
        OSError: it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise CheckpointError(f"{path} exists already: give another name for the file to write")
    if not path.parent.is_dir():
        raise CheckpointError(f"there is no folder {path.parent} to write {path.name} into")
    data = io.BytesIO()
    torch.save(dict(tensors), data)
    write_atomically(path, data.getvalue())


def require_resumable(model: nn.Module, path: str | Path) -> None:
    """Checks that training of the model can go on from a checkpoint, classifiers included.

    Raises:
        CheckpointError: as ``load_weights``, and if the classifiers do not fit.
    """
    _require_same_model(unwrap(model), state_dict_of(read_checkpoint(path)), path)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside ``nn.DataParallel``, or the model itself."""
    return model.module if isinstance(model, nn.DataParallel) else model


def _require_same_model(
    model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, ignore: str | None = None
) -> set[str]:
    """Returns the names starting with ``ignore`` that do not fit; raises if others do not."""
    expected = model.state_dict()
    missing = expected.keys() - tensors.keys()
    unexpected = tensors.keys() - expected.keys()
    misshapen = {
        name
        for name in expected.keys() & tensors.keys()
        if expected[name].shape != tensors[name].shape
    }
    ignored = {
        name
        for name in missing | unexpected | misshapen
        if ignore is not None and name.startswith(ignore)
    }
    shapes = {
        name: f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in misshapen
    }
    faults = [
        list_names(missing - ignored, "missing"),
        list_names(unexpected - ignored, "unexpected"),
        list_names((shapes[name] for name in misshapen - ignored), "of another shape"),
    ]
    if any(faults):
        raise CheckpointError(
            f'"{path}" is a checkpoint of another model, by its entries: '
            f"{'; '.join(fault for fault in faults if fault)}. "
            "Build the model by the name it was trained as (model.name), or give its own file."
        )
    return ignored


def list_names(names: Iterable[str], fault: str) -> str:
    """``"12 missing (a, b, c, ...)"`` for messages; nothing for no names."""
    names = sorted(names)
    if not names:
        return ""
    dots = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {fault} ({', '.join(names[:3])}{dots})"


def _tensors_in(checkpoint: Any) -> dict[str, Tensor]:
    """The named tensors, or nothing if it is not a mapping of names to tensors alone."""
    if isinstance(checkpoint, Mapping):
        entries = checkpoint.get("state_dict", checkpoint)
        if isinstance(entries, Mapping) and all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in entries.items()
        ):
            return dict(entries)
    return {}


def _describe(found: Any) -> str:
    if isinstance(found, Mapping):
        keys = ", ".join(repr(key) for key in list(found)[:5])
        return f"a dict with the keys {keys}" if found else "an empty dict"
    return f"an object of type {type(found).__name__}"
