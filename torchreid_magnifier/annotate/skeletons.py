"""The keypoints that pose estimators find, by name and in their order.

A name that stands in no other module is of a point that no part is drawn from. ``crown`` is the top
of the head and ``neck`` the point between head and trunk; where a set has the middle of the
shoulders instead, as OpenPose does, that is named ``chest`` here.

Sources, where the orders were read:

* COCO-WholeBody (Jin et al., 2020): ``data_format.md`` of github.com/jin-s13/COCO-WholeBody: COCO's
  17, 6 of the feet, 68 of the face, 21 of each hand.
* Halpe (Li et al., 2020): ``README.md`` of github.com/Fang-Haoshu/Halpe-FullBody; 26 of the body,
  then face and hands.
* OpenPose (Cao et al., 2019): ``doc/02_output.md`` of
  github.com/CMU-Perceptual-Computing-Lab/openpose, BODY_25 and COCO. AlphaPose writes the latter
  by ``--format open`` and ``cmu`` (``docs/output.md`` of github.com/MVIG-SJTU/AlphaPose).
* CrowdPose (Li et al., 2019), PoseTrack (Doering et al., 2022): the names in their annotations;
  PoseTrack's ears are never set.
* Market-1501's 14 points: ``README.md`` of github.com/layumi/market1501_body_point; the first side
  is the person's right.
"""

_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _both(*joints: str) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints for side in ("left", "right"))


def _side(side: str, *joints: str) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints)


def _others(what: str, count: int) -> tuple[str, ...]:
    return tuple(f"{what} {number}" for number in range(count))


_COCO = ("nose", *_both("eye", "ear", *_LIMBS))
_FEET = ("big_toe", "small_toe", "heel")
_BOTH_FEET = (*_side("left", *_FEET), *_side("right", *_FEET))
_HALPE = (*_COCO, "crown", "neck", "pelvis", *_both(*_FEET))
_ARMS = (*_side("right", *_LIMBS[:3]), *_side("left", *_LIMBS[:3]))
_LEGS = (*_side("right", *_LIMBS[3:]), *_side("left", *_LIMBS[3:]))
_EYES = ("right_eye", "left_eye", "right_ear", "left_ear")
_FACE_AND_HANDS = (*_others("face", 68), *_others("hand", 42))

SKELETONS: dict[str, tuple[str, ...]] = {
    "coco": _COCO,
    "posetrack": ("nose", "neck", "crown", *_COCO[3:]),
    "halpe26": _HALPE,
    "halpe136": (*_HALPE, *_FACE_AND_HANDS),
    "coco_feet": (*_COCO, *_BOTH_FEET),  # the two lists that COCO-WholeBody's files have apart
    "wholebody": (*_COCO, *_BOTH_FEET, *_FACE_AND_HANDS),
    "openpose25": ("nose", "chest", *_ARMS, "pelvis", *_LEGS, *_EYES, *_BOTH_FEET),
    "openpose18": ("nose", "chest", *_ARMS, *_LEGS, *_EYES),
    "crowdpose": (*_both(*_LIMBS), "crown", "neck"),
    "market14": ("crown", "neck", *_ARMS, *_LEGS),
}

# What the names in the "categories" of COCO-style annotations are here.
_ALIASES = {"head": "crown", "head_top": "crown", "top_head": "crown", "head_bottom": "neck"}


def skeleton_of(count: int) -> str | None:
    """Return the skeleton with so many keypoints that results without names have, if any."""
    return next((name for name, points in SKELETONS.items() if len(points) == count), None)


def skeleton_named(names: list[str]) -> str | None:
    """Return the skeleton with these names, as COCO-style annotations give them, if any."""
    plain = [name.lower().replace(" ", "_") for name in names]
    found = tuple(_ALIASES.get(name, name) for name in plain)
    return next((name for name, points in SKELETONS.items() if points == found), None)
