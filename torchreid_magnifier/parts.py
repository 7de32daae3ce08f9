"""The body-part taxonomy: eight classes, in EANet's order, everywhere in this package.

Source: part segmentation labels of EANet (Huang et al., 2018), which MagnifierNet also uses
(paper section 4.1); the two torso groups are those of its Random-torso sampling (section 3.2).
"""

PARTS: tuple[str, ...] = (
    "background",
    "head",
    "torso",  # the paper's "chest"
    "upper_arm",
    "lower_arm",
    "upper_leg",
    "lower_leg",
    "foot",
)
NUM_PARTS: int = len(PARTS)
BACKGROUND, HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG, FOOT = range(NUM_PARTS)
FOREGROUND: tuple[int, ...] = tuple(i for i in range(NUM_PARTS) if i != BACKGROUND)

UPPER_TORSO: tuple[int, ...] = (HEAD, TORSO, UPPER_ARM, LOWER_ARM)
LOWER_TORSO: tuple[int, ...] = (UPPER_LEG, LOWER_LEG, FOOT)

# One RGB colour (0..255) a part, told apart also by colour-blind readers (Paul Tol's "muted" set).
PALETTE: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (204, 102, 119),
    (136, 204, 238),
    (221, 204, 119),
    (153, 153, 51),
    (17, 119, 51),
    (170, 68, 153),
    (51, 34, 136),
)
