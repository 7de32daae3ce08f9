"""Renaming a reference's state dict, and seeing that it is complete and of the right shapes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoint import CheckpointError, list_names


@dataclass(frozen=True)
class Conversion:
    """From what the reference implementation of a paper saves to a model here.

    Attributes:
        model: name of the model that converted checkpoints are of.
        classifier: entry there with one row for each training identity.
        prefixes: of the reference's names, and ours; both are followed by a dot.
        source: what the checkpoint must be of, for messages.
        file: what to give instead of another one, for messages.
        widths: the published ones, for messages.
        height, width: of the images that the reference is for, in pixels.
        dist_metric: that it is tested with.
    """

    model: str
    classifier: str
    prefixes: Mapping[str, str]
    source: str
    file: str
    widths: str
    height: int
    width: int
    dist_metric: str

    def rename(self, reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors by our names, for ``load_state_dict(strict=True)`` of ``model``.

        Args:
            reference: tensors by the reference's names.

        Raises:
            CheckpointError: if an entry is missing, not known, or of another shape, with its name.
        """
        names = self._names()
        problems = [
            list_names(names.keys() - reference.keys(), "missing"),
            list_names(reference.keys() - names.keys(), "not known"),
        ]
        if any(problems):
            raise CheckpointError(
                f"This is not a checkpoint of {self.source}, by its entries: "
                f"{'; '.join(filter(None, problems))}. Give {self.file}."
            )
        converted = {ours: reference[name] for name, ours in names.items()}
        expected = self._shapes(self.num_classes(converted))
        misshapen = {
            f"{name} {tuple(reference[name].shape)} instead of {tuple(expected[ours].shape)}"
            for name, ours in names.items()
            if reference[name].shape != expected[ours].shape
        }
        if misshapen:
            raise CheckpointError(
                f"This checkpoint has the names of {self.source}, but "
                f"{list_names(misshapen, 'of another shape')}: only its published widths can be "
                f"converted ({self.widths})."
            )
        return converted

    def num_classes(self, converted: Mapping[str, Tensor]) -> int:
        """The training identities of a converted checkpoint."""
        classifier = converted[self.classifier]
        return len(classifier) if classifier.numel() > 1 else 1

    def _names(self) -> dict[str, str]:
        """Every entry of the reference and what it is called here."""
        reference = {ours: prefix for prefix, ours in self.prefixes.items()}
        names = {}
        for name in self._shapes(num_classes=1):
            prefix = next(ours for ours in reference if name.startswith(f"{ours}."))
            names[reference[prefix] + name.removeprefix(prefix)] = name
        return names

    def _shapes(self, num_classes: int) -> dict[str, Tensor]:
        from . import build

        with torch.device("meta"):  # shapes only: no memory, no weights
            model = build(self.model, num_classes, loss="triplet")
        return model.state_dict()
