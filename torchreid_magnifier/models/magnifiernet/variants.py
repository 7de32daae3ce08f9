"""MagnifierNet's names: a backbone, and a row of the paper's tables."""

from typing import Any

# Light backbones have too few channels for a layer over regions: their stages are widened.
_BACKBONES: dict[str, dict[str, Any]] = {
    "magnifiernet": {"backbone": "resnet50"},
    "magnifiernet_r18": {"backbone": "resnet18"},
    "magnifiernet_osnet_x0_25": {"backbone": "osnet_x0_25", "projection": (256, 512)},
    "magnifiernet_osnet_x1_0": {"backbone": "osnet_x1_0"},
    "magnifiernet_osnet_ain_x1_0": {"backbone": "osnet_ain_x1_0"},
}
NETWORKS = tuple(_BACKBONES)  # names of the whole network

_ROWS: dict[str, dict[str, Any]] = {
    "": {},
    # the other rows of the paper's Table 2
    "_g": {"mask": False, "adversarial": False, "fusion": None},
    "_g_m": {"adversarial": False, "fusion": None},
    "_g_m_sab": {"fusion": None},
    "_g_m_sfb": {"adversarial": False},
    # the ablation branch of Fig. 4
    "_ab": {"fusion": "concat"},
}

# As the reference implementation has it (github.com/NIRVANALAN/magnifiernet_reid).
_OFFICIAL: dict[str, Any] = {
    "fusion": "lstm",
    "sd_weight": 0.01,
    "region_decay": True,
    "region_scaling": "nearest",
    "adversarial_share_weight": True,
    "sd_positive_only": True,
    "backbone_options": {"stem_relu": False},
    "biases": True,
    "mask_init_std": 0.001,
}

VARIANTS: dict[str, dict[str, Any]] = {
    **{
        name + suffix: {**backbone, **row}
        for name, backbone in _BACKBONES.items()
        for suffix, row in _ROWS.items()
    },
    **{
        f"{name}_official": {**_BACKBONES[name], **_OFFICIAL}
        for name in ("magnifiernet", "magnifiernet_r18")
    },
}
"""Name -> options of ``MagnifierNet``."""
