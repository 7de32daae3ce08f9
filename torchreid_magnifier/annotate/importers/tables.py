"""The labels of other parsers, as this package's: one table for each published set of classes.

A class has the part that it becomes. Clothes hide limbs, so a class may have several parts: the
first one is taken, or with keypoints, at each pixel, the one whose drawing is nearest.

Sources, where the classes' order was read:

* DensePose (Guler et al., 2018): ``challenge/2018_COCO_DensePose/data_format.md`` and
  ``detectron/utils/vis.py`` of github.com/facebookresearch/DensePose. A hand is lower arm here.
* Pascal-Person-Part, ATR and LIP: ``simple_extractor.py`` of
  github.com/GoGoDuck912/Self-Correction-Human-Parsing.
* CIHP (Gong et al., 2018): sysu-hcp.net/lip/mparsing_challenge.php; LIP's classes with the torso's
  skin in place of jumpsuits.
* Sapiens (Khirodkar et al., 2024): ``docs/SEG_README.md`` and ``lite/demo/vis_seg.py`` of
  github.com/facebookresearch/sapiens. Sapiens2 (2026): ``docs/SEG.md`` and
  ``sapiens/dense/tools/vis/vis_seg.py`` of github.com/facebookresearch/sapiens2; class 2 is new.
* BPBReID (Somers et al., 2023): ``pifpaf_mask_transform.py``, ``get_labels.py`` and
  ``default_config.py`` of github.com/VlSomers/bpbreid; its own grouping of the fields differs.
  Where the cells of a field lie: ``transforms/pad.py`` and ``predictor.py`` of
  github.com/openpifpaf/openpifpaf.
"""

from dataclasses import dataclass
from typing import NamedTuple

from ...parts import PARTS

SINGLE_FILES = ("{stem}.png", "{stem}.npy")


class Class(NamedTuple):
    """A class of another parser and the parts (0 to 7) that it may be, the usual one first."""

    name: str
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """The label files of a parser.

    Attributes:
        title: whose they are.
        classes: by value; of confidence fields, by channel.
        files: names of an image's label file, the first that exists counts; ``{name}`` is the
            image's name, ``{stem}`` its name without the ending.
        fields: the files hold a confidence field (h, w) for each class instead of labels.
        colour_channel: of PNGs in colour, the channel (R, G, B) with the labels.
    """

    title: str
    classes: tuple[Class, ...]
    files: tuple[str, ...] = SINGLE_FILES
    fields: bool = False
    colour_channel: int | None = None


def _classes(table: str) -> tuple[Class, ...]:
    """The classes of "name: part/part; name: part; ..."."""
    rows = [entry.split(": ") for entry in " ".join(table.split()).split("; ")]
    return tuple(
        Class(name, tuple(PARTS.index(part) for part in parts.split("/"))) for name, parts in rows
    )


_JUMPSUITS = "jumpsuits: torso/upper_arm/lower_arm/upper_leg/lower_leg"
_LIP = """
    background: background; hat: head; hair: head; glove: lower_arm; sunglasses: head;
    upper-clothes: torso/upper_arm/lower_arm;
    dress: torso/upper_arm/lower_arm/upper_leg/lower_leg;
    coat: torso/upper_arm/lower_arm/upper_leg/lower_leg; socks: lower_leg;
    pants: upper_leg/lower_leg; jumpsuits: torso/upper_arm/lower_arm/upper_leg/lower_leg;
    scarf: torso; skirt: upper_leg/lower_leg; face: head; left arm: lower_arm/upper_arm;
    right arm: lower_arm/upper_arm; left leg: upper_leg/lower_leg;
    right leg: upper_leg/lower_leg; left shoe: foot; right shoe: foot
"""
_SAPIENS = """
    face, neck: head; hair: head; left foot: foot; left hand: lower_arm;
    left lower arm: lower_arm; left lower leg: lower_leg; left shoe: foot; left sock: lower_leg;
    left upper arm: upper_arm; left upper leg: upper_leg; lower clothing: upper_leg/lower_leg;
    right foot: foot; right hand: lower_arm; right lower arm: lower_arm;
    right lower leg: lower_leg; right shoe: foot; right sock: lower_leg;
    right upper arm: upper_arm; right upper leg: upper_leg; torso: torso;
    upper clothing: torso/upper_arm/lower_arm; lower lip: head; upper lip: head;
    lower teeth: head; upper teeth: head; tongue: head
"""

FORMATS: dict[str, Format] = {
    "densepose14": Format(
        "DensePose, coarse segmentation",
        _classes("""
            background: background; torso: torso; right hand: lower_arm; left hand: lower_arm;
            left foot: foot; right foot: foot; upper leg right: upper_leg;
            upper leg left: upper_leg; lower leg right: lower_leg; lower leg left: lower_leg;
            upper arm left: upper_arm; upper arm right: upper_arm; lower arm left: lower_arm;
            lower arm right: lower_arm; head: head
        """),
    ),
    "densepose24": Format(
        "DensePose, fine segmentation: the I of IUV",
        _classes("""
            background: background; torso: torso; torso: torso; right hand: lower_arm;
            left hand: lower_arm; left foot: foot; right foot: foot; upper leg right: upper_leg;
            upper leg left: upper_leg; upper leg right: upper_leg; upper leg left: upper_leg;
            lower leg right: lower_leg; lower leg left: lower_leg; lower leg right: lower_leg;
            lower leg left: lower_leg; upper arm left: upper_arm; upper arm right: upper_arm;
            upper arm left: upper_arm; upper arm right: upper_arm; lower arm left: lower_arm;
            lower arm right: lower_arm; lower arm left: lower_arm; lower arm right: lower_arm;
            head: head; head: head
        """),
        ("{stem}_IUV.png", *SINGLE_FILES),
        colour_channel=2,  # OpenCV writes its first channel, I, as blue
    ),
    "pascal": Format(
        "Pascal-Person-Part",
        _classes("""
            background: background; head: head; torso: torso; upper arms: upper_arm;
            lower arms: lower_arm; upper legs: upper_leg; lower legs: lower_leg/foot
        """),
    ),
    "atr": Format(
        "ATR",
        _classes("""
            background: background; hat: head; hair: head; sunglasses: head;
            upper-clothes: torso/upper_arm/lower_arm; skirt: upper_leg/lower_leg;
            pants: upper_leg/lower_leg; dress: torso/upper_arm/lower_arm/upper_leg/lower_leg;
            belt: torso; left shoe: foot; right shoe: foot; face: head;
            left leg: lower_leg/upper_leg; right leg: lower_leg/upper_leg;
            left arm: lower_arm/upper_arm; right arm: lower_arm/upper_arm; bag: background;
            scarf: torso
        """),
    ),
    "lip": Format("LIP", _classes(_LIP)),
    "cihp": Format("CIHP", _classes(_LIP.replace(_JUMPSUITS, "torso skin: torso"))),
    "sapiens": Format(
        "Sapiens, body parts",
        _classes("background: background; apparel: background; " + _SAPIENS),
        ("{stem}_seg.npy", "{stem}.png"),  # its {stem}.npy says only where a person is
    ),
    "sapiens2": Format(
        "Sapiens2, body parts",
        _classes("background: background; apparel: background; eyeglass: head; " + _SAPIENS),
        ("{stem}_seg.npy", "{stem}.npy"),  # its {stem}.png is a picture
    ),
    "bpbreid": Format(
        "BPBReID, OpenPifPaf's confidence fields of 17 keypoints and 19 joints",
        _classes("""
            nose: head; left eye: head; right eye: head; left ear: head; right ear: head;
            left shoulder: torso; right shoulder: torso; left elbow: upper_arm;
            right elbow: upper_arm; left wrist: lower_arm; right wrist: lower_arm;
            left hip: torso; right hip: torso; left knee: upper_leg; right knee: upper_leg;
            left ankle: foot; right ankle: foot; left ankle to left knee: lower_leg;
            left knee to left hip: upper_leg; right ankle to right knee: lower_leg;
            right knee to right hip: upper_leg; left hip to right hip: torso;
            left shoulder to left hip: torso; right shoulder to right hip: torso;
            left shoulder to right shoulder: torso; left shoulder to left elbow: upper_arm;
            right shoulder to right elbow: upper_arm; left elbow to left wrist: lower_arm;
            right elbow to right wrist: lower_arm; left eye to right eye: head;
            nose to left eye: head; nose to right eye: head; left eye to left ear: head;
            right eye to right ear: head; left ear to left shoulder: head;
            right ear to right shoulder: head
        """),
        ("{name}.confidence_fields.npy", "{name}.npy", "{stem}.npy"),
        fields=True,
    ),
}


def format_table(name: str) -> str:
    """Return a format as text: its files, and each class with its parts."""
    described = FORMATS[name]
    files = ", ".join(described.files)
    lines = [f"{name}: {described.title}", f"  files: {files}"]
    width = max(len(entry.name) for entry in described.classes)
    for value, entry in enumerate(described.classes):
        parts = ", ".join(f"{part} {PARTS[part]}" for part in entry.parts)
        lines.append(f"  {value:>2}  {entry.name:<{width}}  {parts}")
    return "\n".join(lines)
