"""Reading checkpoints safely, and loading them only into the model that they belong to.

Torchreid takes from a checkpoint whatever fits and skips the rest with a warning, so that a second
stage could start from another model's file almost untrained. Here everything must fit but the
classifiers, whose size is the number of training identities.

No code in a file is run: safetensors hold tensors alone, and other files are read by torch's
restricted unpickler.
"""

import codecs
import errno
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .errors import MagnifierError
from .files import replacing

CLASSIFIER_PREFIX = "classifier"  # torchreid's hacnn has classifier_global and classifier_local
SAFETENSORS = ".safetensors"
# The entry of a checkpoint that says which network it is of: model, options, loss, num_classes,
# and what its images are like: sources, height, width, mean, std.
NETWORK = "network"
# What nn.DataParallel, DistributedDataParallel and torch.compile put around a module, at any depth.
_WRAPPERS = ("module", "_orig_mod")
# Before this release torch's restricted unpickler cannot be taught numpy's scalars (as
# _Unpickler is), and there is a way around it in files of the oldest format (CVE-2025-32434).
_SAFE_TORCH = "2.6"


class CheckpointError(MagnifierError, RuntimeError):
    """A checkpoint that cannot be read, or that belongs to another model."""


def allow_numpy_scalars() -> None:
    """Let torch read the numpy scalar (rank-1) that torchreid's engine puts in its checkpoints.

    It concerns ``torch.load`` in this process with ``weights_only=True``, the default since torch
    2.6. The scalars stay plain data: no other object becomes loadable. Their constructor is
    allowed under the module names of numpy 1 and 2, whichever of them wrote the file.
    """
    if torch.__version__ < _SAFE_TORCH:
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
    """Read a checkpoint of torchreid's engine, a state dict or a safetensors file, onto the CPU.

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
        checkpoint = _load(path)
    except Exception as error:  # torch raises half a dozen kinds, by what is broken
        # A disk or a memory that fails is no problem of the file's content, and clear already; a
        # file cut short at some places ends in an OSError too, "invalid argument".
        if isinstance(error, MemoryError) or getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
            raise
        advice = "Copy it again, or take an earlier one of the same run."
        if torch.__version__ < _SAFE_TORCH:
            advice += (
                f" Torch {torch.__version__} reads nothing else safely: with torch {_SAFE_TORCH} "
                "or newer, 'torchreid-magnifier weights pack' makes a .safetensors file of it, "
                "which is read here too."
            )
        raise CheckpointError(
            f'The checkpoint "{path}" cannot be read: it is corrupt, cut short, or holds more '
            f"than tensors and numbers. {advice}"
        ) from error
    if not _tensors_in(checkpoint):
        raise CheckpointError(
            f'"{path}" is not a checkpoint: expected a dict of tensors by name, or one that '
            f'holds it as "state_dict"; found {_describe(checkpoint)}.'
        )
    return checkpoint


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the texts in the head of a safetensors file by key; nothing for another file."""
    if not _is_safetensors(Path(path)):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f'"{path}" is no safetensors file, or is damaged ({error}): get it again.'
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is one by its name or, where that is another, by its beginning."""
    if path.suffix == SAFETENSORS:
        return True
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def require_plain_data(path: Path) -> None:
    """Refuse others' pickled files where torch cannot read them without a risk.

    Raises:
        CheckpointError: the file is no safetensors file, and torch is older than 2.6.
    """
    if torch.__version__ < _SAFE_TORCH and not _is_safetensors(path):
        raise CheckpointError(
            f'"{path}" is a pickled file, which may hold code, and torch {torch.__version__} reads '
            f"no such file of others safely: install torch {_SAFE_TORCH} or newer, or make a "
            f".safetensors file of it there, by 'torchreid-magnifier weights pack'."
        )


def _load(path: Path) -> Any:
    if _is_safetensors(path):
        return load_file(path)
    if torch.__version__ < _SAFE_TORCH:
        if not zipfile.is_zipfile(path):
            raise ValueError("not of the format that torch saves since 1.6")
        module = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler)
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    return torch.load(path, map_location="cpu", weights_only=True)


class _Unpickler(pickle.Unpickler):
    """Load what torch's restricted unpickler loads, and numpy's scalars; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        scalar: Any = np.float64(0).__reduce__()[0]
        known = {
            **torch._weights_only_unpickler._get_allowed_globals(),
            "numpy.core.multiarray.scalar": scalar,
            "numpy._core.multiarray.scalar": scalar,
            "numpy.dtype": np.dtype,
            "_codecs.encode": codecs.encode,
        }
        try:
            return known[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is no plain data") from None


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by the names that they have in the bare model.

    The ``module.`` of ``nn.DataParallel`` and ``DistributedDataParallel`` and the ``_orig_mod.`` of
    ``torch.compile`` are left out, around the whole model or a part of it.
    """
    return {_bare(name): tensor for name, tensor in _tensors_in(checkpoint).items()}


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint's weights into the model that it was trained as.

    Classifier entries (``classifier.*``) of another size, or absent, are left as they are in the
    model, which is printed: they belong to the identities of the training set.

    Args:
        model: the model, or ``nn.DataParallel``, ``DistributedDataParallel`` or ``torch.compile``
            around it or its parts.
        path: a file that ``read_checkpoint`` reads, of a wrapped model or of a bare one.

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
    """Load as ``load_weights``, without a word.

    Returns:
        The names of the entries left as they are.
    """
    checkpoint = read_checkpoint(path)
    tensors = state_dict_of(checkpoint)
    left = _require_same_model(model, tensors, path, ignore=CLASSIFIER_PREFIX)
    names = {_bare(name): name for name in model.state_dict()}
    model.load_state_dict(
        {names[name]: t for name, t in tensors.items() if name not in left}, strict=False
    )
    if network := checkpoint.get(NETWORK):
        unwrap(model).trained_size = (network["height"], network["width"])  # type: ignore[assignment]
    return left


def write_weights(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a state dict into a new file, which appears complete or not at all.

    Args:
        path: ``*.safetensors``, or another name for a file of ``torch.save``.
        tensors: by name.
        metadata: texts by key, for the head of a safetensors file; other files have none.

    Raises:
        CheckpointError: the file exists, or its folder does not.
        OSError: it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise CheckpointError(f"{path} exists already: give another name for the file to write")
    if not path.parent.is_dir():
        raise CheckpointError(f"there is no folder {path.parent} to write {path.name} into")
    with replacing(path) as temporary:
        if path.suffix == SAFETENSORS:
            whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
            # Not safetensors' save_file: its files are for their owner alone.
            # One key alone: safetensors writes several in any order, and hashes would differ.
            temporary.write_bytes(save(whole, dict(metadata or {"format": "pt"})))
        else:
            write_state(dict(tensors), temporary)


def write_state(state: Mapping[str, Any], path: Path) -> None:
    """Write as ``torch.save``, the same bytes wherever the file is.

    Raises:
        OSError: it cannot be written, such as on a full disk; torch raises a RuntimeError.
    """
    with open(path, "wb") as file:  # into a path it would write the path's name
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def require_resumable(model: nn.Module, path: str | Path) -> None:
    """Check that training of the model can go on from a checkpoint, classifiers included.

    Raises:
        CheckpointError: as ``load_weights``, and if the classifiers are of other identities.
    """
    tensors = state_dict_of(read_checkpoint(path))
    others = _require_same_model(model, tensors, path, ignore=CLASSIFIER_PREFIX)
    if sizes := {len(tensors[name]) for name in others & tensors.keys()}:
        own = {len(t) for name, t in model.state_dict().items() if _bare(name) in others}
        raise CheckpointError(
            f'"{path}" is of a training on {max(sizes)} identities, and the training set has '
            f"{max(own, default=0)}: go on with the data it was trained on, or load its weights "
            "alone (model.load_weights) to begin anew"
        )
    _require_same_model(model, tensors, path)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside ``DataParallel``, ``DistributedDataParallel``, ``torch.compile``."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:  # torch's class for it is private
            model = model._modules["_orig_mod"]  # type: ignore[assignment]
        else:
            return model


def _require_same_model(
    model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, ignore: str | None = None
) -> set[str]:
    """Return the names starting with ``ignore`` that do not fit; raise if others do not."""
    expected = {_bare(name): tensor for name, tensor in model.state_dict().items()}
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
    problems = [
        list_names(missing - ignored, "missing"),
        list_names(unexpected - ignored, "unexpected"),
        list_names((shapes[name] for name in misshapen - ignored), "of another shape"),
    ]
    if any(problems):
        raise CheckpointError(
            f'"{path}" is a checkpoint of another model, by its entries: '
            f"{'; '.join(problem for problem in problems if problem)}. "
            "Build the model by the name it was trained as (model.name), or give its own file."
        )
    return ignored


def list_names(names: Iterable[str], problem: str) -> str:
    """Return ``"12 missing (a, b, c, ...)"`` for messages; nothing for no names."""
    names = sorted(names)
    if not names:
        return ""
    dots = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {problem} ({', '.join(names[:3])}{dots})"


def _tensors_in(checkpoint: Any) -> dict[str, Tensor]:
    """Return the named tensors, or nothing if it is not a mapping of names to tensors alone."""
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
