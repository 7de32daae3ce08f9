"""The network that a command uses: its weights, and what a bare checkpoint does not say."""

import argparse

import torch

from ..hub import DEFAULT
from ..inference.open import Network, open_network
from ..training.config import ConfigError


def add_network_options(
    parser: argparse.ArgumentParser,
    device: bool = True,
    required: bool = False,
    several: bool = False,
) -> None:
    """Add ``--weights`` and what goes with it.

    Args:
        device: see ``add_details``.
        required: there is no default, since the network that ships cannot serve.
        several: ``--weights`` is a list.
    """
    parser.add_argument(
        "--weights",
        required=required,
        default=None if required else [DEFAULT] if several else DEFAULT,
        nargs="+" if several else None,
        metavar="NETWORK",
        help="a name that 'torchreid-magnifier weights list' shows, a checkpoint of training, a "
        "folder that save_pretrained wrote, an exported .onnx or .xml file, hf://owner/name or "
        "https://…#sha256=…" + ("" if required else f" (default: {DEFAULT})"),
    )
    add_details(parser, device)


def add_details(parser: argparse.ArgumentParser, device: bool = True) -> None:
    """Add the options that a checkpoint of training needs if no config.yaml is beside it.

    ``device=False`` leaves ``--device`` out: the network is always on the CPU.
    """
    beside = "of a checkpoint without the config.yaml that 'torchreid-magnifier train' writes"
    parser.add_argument("--model", metavar="NAME", help=f"{beside}: its model")
    parser.add_argument("--height", type=int, metavar="PIXELS", help="… the height of its images")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="… and their width")
    if not device:
        parser.set_defaults(device="cpu")
        return
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda, cuda:1, … (default here: %(default)s)",
    )


def chosen_network(args: argparse.Namespace, weights: str | None = None) -> Network:
    """Open the network that the options name.

    Args:
        args: with the options of ``add_details``.
        weights: in place of ``args.weights``.

    Raises:
        ConfigError: if there is no such device.
        WeightsError, CheckpointError: as ``open_network``.
    """
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:  # the second of builds without CUDA
        raise ConfigError(f"--device {args.device}: {str(error).splitlines()[0]}") from error
    return open_network(
        args.weights if weights is None else weights,
        args.model,
        args.height,
        args.width,
        args.device,
    )
