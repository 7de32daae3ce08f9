"""Pictures: what is in them, and that a file appears complete or not at all."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from torchreid_magnifier import figures
from torchreid_magnifier.parts import PALETTE, PARTS

GENERATOR = np.random.default_rng(0)
PICTURE = GENERATOR.integers(0, 256, (32, 16, 3)).astype(np.uint8)
LABELS = GENERATOR.integers(0, 8, (4, 2))


def texts(figure) -> set[str]:
    names = set()
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        legends += axes.get_legend().get_texts() if axes.get_legend() else []
        legends += [axes.title, *axes.texts, *axes.get_xticklabels()]
        names.update(axes.get_title(loc="left").split("\n"))
    return names | {text.get_text() for text in [*legends, *figure.texts]}


def test_overlay_against_plain_loops():
    found = figures.mask_overlay(PICTURE, LABELS)
    assert found.dtype == np.uint8
    for y in range(32):
        for x in range(16):
            label = LABELS[y // 8, x // 8]
            weight = 0.6 if label else 0.35
            for channel in range(3):
                value = (1 - weight) * PICTURE[y, x, channel] + weight * PALETTE[label][channel]
                assert abs(found[y, x, channel] - value) <= 0.5


def test_masks_figure_shows_three_pictures_an_example_and_names_the_parts():
    example = figures.PictureRow([PICTURE, LABELS, LABELS], "camera 1")
    heads = ["image", "true parts", "predicted"]
    figure = figures.masks_figure([example] * 5, "Title\nwith more", heads)
    (axes,) = figure.axes
    overlay = figures.mask_overlay(PICTURE, LABELS)
    for image, shown in zip(axes.images, [PICTURE, overlay, overlay] * 5, strict=True):
        assert np.array_equal(image.get_array(), shown)
    names = {part.replace("_", " ") for part in PARTS if part != "background"}
    assert names | {*heads} | {"camera 1", "Title", "with more"} <= texts(figure)


def test_masks_figure_shows_images_beside_their_parts_and_says_which_have_none():
    tall = np.zeros((50, 20, 3), np.uint8)
    examples = [
        figures.PictureRow([PICTURE, LABELS], "first"),
        figures.PictureRow([tall, "no labels"], "second"),
    ]
    figure = figures.masks_figure(examples, "Title\nwith more")
    (axes,) = figure.axes
    overlay = figures.mask_overlay(PICTURE, LABELS)
    for image, shown in zip(axes.images, (PICTURE, overlay, tall), strict=True):
        assert np.array_equal(image.get_array(), shown)
    lefts = [image.get_extent()[0] for image in axes.images]
    rights = [image.get_extent()[1] for image in axes.images]
    assert rights[0] < lefts[1] and rights[1] < lefts[2]  # beside one another
    (why,) = (text for text in axes.texts if text.get_text() == "no labels")
    assert why.get_position()[0] > rights[2]
    names = {part.replace("_", " ") for part in PARTS if part != "background"}
    assert names | {"first", "second", "Title", "with more"} <= texts(figure)


def test_one_panorama_does_not_widen_all():
    wide = np.zeros((100, 400, 3), np.uint8)
    figure = figures.pictures_figure(
        [figures.PictureRow([PICTURE, p]) for p in (PICTURE, wide)], ""
    )
    sizes = [np.abs(np.diff(np.reshape(i.get_extent(), (2, 2)))) for i in figure.axes[0].images]
    np.testing.assert_allclose(np.squeeze(sizes), [(0.75, 1.5)] * 3 + [(1.5, 0.375)])


def test_rankings_figure_frames_right_and_wrong_ones():
    hits = [figures.Hit(PICTURE, right) for right in (True, False, False)]
    example = figures.RankingExample(PICTURE, {"one": hits, "other": hits[:1]}, "occluded")
    figure = figures.rankings_figure([example, example], "Title")
    (axes,) = figure.axes
    frames = [to_hex(p.get_edgecolor()) for p in axes.patches if isinstance(p, Rectangle)]
    assert len(axes.images) == 2 * (1 + 3 + 1)
    assert frames.count(figures.ASKED) == 2
    assert frames.count(figures.RIGHT) == 2 * 2
    assert frames.count(figures.WRONG) == 2 * 2
    assert {"one", "other", "occluded", "Title"} <= texts(figure)


def test_rankings_figure_of_unknown_people_has_neutral_frames_and_captions():
    hits = [figures.Hit(PICTURE, None, "0.91"), figures.Hit(PICTURE, None)]
    figure = figures.rankings_figure([figures.RankingExample(PICTURE, {"net": hits})], "Title")
    (axes,) = figure.axes
    frames = [to_hex(p.get_edgecolor()) for p in axes.patches if isinstance(p, Rectangle)]
    assert sorted(frames) == sorted([figures.ASKED, figures.UNKNOWN, figures.UNKNOWN])
    assert not axes.lines  # no cross
    assert {"0.91", "found", "query"} <= texts(figure)
    assert not {"the same person", "somebody else"} & texts(figure)


def test_rankings_figure_fits_images_of_any_size_into_equal_places():
    wide = np.zeros((100, 300, 3), np.uint8)
    example = figures.RankingExample(
        PICTURE, {"net": [figures.Hit(image, True) for image in (PICTURE, wide)]}
    )
    (axes,) = figures.rankings_figure([example], "Title").axes
    extents = [image.get_extent() for image in axes.images]
    sizes = [(right - left, bottom - top) for left, right, bottom, top in extents]
    assert sizes == [pytest.approx(size) for size in ((0.5, 1), (0.5, 1), (1, 1 / 3))]
    assert extents[2][0] > extents[1][1]


def test_losses_figure_puts_values_at_their_epochs():
    panels = [
        figures.Panel(
            "cross-entropy", [figures.Curve("a", [3, 2, 1]), figures.Curve("b", [2] * 3)]
        ),
        figures.Panel("diversity", [figures.Curve("b", [0.5])], first_epoch=2),
    ]
    figure = figures.losses_figure(panels, "Title", boundary=2)
    first, second = figure.axes
    assert first.lines[0].get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
    assert second.lines[0].get_xydata().tolist() == [[3, 0.5]]
    assert first.lines[1].get_color() == second.lines[0].get_color()  # b is b everywhere
    assert first.get_xlim() == second.get_xlim()
    assert {"stage 1", "stage 2", "a", "b", "diversity"} <= texts(figure)


def test_variants_figure_shows_mean_spread_and_every_seed():
    three, one = figures.Repeated([50.0, 52.0, 57.0]), figures.Repeated([60.0])
    panels = {"rank-1": {"G": three, "all": one, "all+SD": None}, "mAP": {"G": one, "all": one}}
    figure = figures.variants_figure(panels, "Title\n8 of 9")
    assert {"rank-1", "mAP", "Title", "8 of 9", "53.0", "60.0"} <= texts(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["G", "all", "all+SD"]
    rings = [line.get_ydata() for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert [list(ring) for ring in rings] == [[50, 52, 57], [60]]
    bars = [bar.lines[2][0].get_segments() for bar in axes.containers if bar.lines[2]]
    ((start, end),) = bars[0]
    assert (start[1] + end[1]) / 2 == pytest.approx(53)
    assert (end[1] - start[1]) / 2 == pytest.approx(13**0.5)  # (9 + 1 + 16) / 2
    assert len(bars) == 1  # of a single value there is no spread


def test_sweep_figure_draws_means_over_the_number():
    curves = {
        "torso": {2: figures.Repeated([1.0, 3.0]), 4: figures.Repeated([5.0])},
        "baseline": {3: figures.Repeated([2.0])},
    }
    figure = figures.sweep_figure(curves, "Title", "kept", "mAP")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["torso"].get_ydata()) == [2, 5]
    assert lines["torso"].get_xdata() == pytest.approx([2, 4], abs=0.05)
    assert list(lines["baseline"].get_ydata()) == [2]
    assert {"torso", "baseline", "Title", "mAP"} <= texts(figure)


def test_save_writes_a_picture_and_touches_no_global_state(tmp_path):
    path = tmp_path / "curves.png"
    panel = figures.Panel("loss", [figures.Curve("a", [2.0, 1.0])])
    figures.save(figures.losses_figure([panel], "Title", columns=1), path)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and min(picture.size) > 400
    assert pyplot.get_fignums() == []


def test_a_failed_save_leaves_the_old_picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    class Broken:
        def savefig(self, file, format):
            file.write(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        figures.save(Broken(), path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("picture.png", b"old")
    ]


def test_rankings_figure_shows_why_below_each_image_and_what_its_colours_tell():
    why = np.full_like(PICTURE, 7)
    hits = [figures.Hit(PICTURE, True, "0.9", why), figures.Hit(PICTURE, False, "0.8", why)]
    example = figures.RankingExample(PICTURE, {"net\nrank-1 50.0 %": hits}, "0001.jpg")
    bar = figures.HeatBar("activation", ("nothing", "much"))
    axes, scale = (figure := figures.rankings_figure([example], "Title\nmore", bar)).axes
    assert len(axes.images) == 1 + 2 * 2
    for image, below in ((1, 2), (3, 4)):
        above, under = (axes.images[index].get_extent() for index in (image, below))
        assert above[:2] == under[:2] and under[3] > above[2]  # beneath, where y grows downwards
        assert np.array_equal(axes.images[below].get_array(), why)
    assert {"net", "rank-1 50.0 %", "0.9", "activation", "nothing", "much"} <= texts(figure)
    assert scale.get_position().y1 < axes.get_position().y0


def test_heat_overlay_against_a_map_of_one_colour_and_of_a_corner():
    grey = np.full((32, 16, 3), 100, np.uint8)
    cold, hot = (figures.heat_overlay(grey, np.full((4, 2), heat)) for heat in (0.0, 1.0))
    assert len(np.unique(cold.reshape(-1, 3), axis=0)) == 1
    assert hot.mean() > cold.mean() + 50  # also told apart in grey
    heat = np.zeros((4, 2))
    heat[0, 0] = 1
    corner = figures.heat_overlay(grey, heat).astype(int)
    assert np.array_equal(corner[0, 0], hot[0, 0]) and np.array_equal(corner[-1, -1], cold[0, 0])
    assert (np.diff(corner[:, 0].sum(1)) <= 0).all()  # smoothly from one to the other


def test_parts_heat_overlay_darkens_what_has_no_heat():
    heat = np.linspace(0, 1, len(PARTS))
    heat[3] = np.nan
    found = figures.parts_heat_overlay(PICTURE, LABELS, heat)
    labels = LABELS.repeat(8, 0).repeat(8, 1)
    grey = np.asarray(Image.fromarray(PICTURE).convert("L"), float)
    assert np.allclose(found[labels == 3], 0.35 * grey[labels == 3][:, None], atol=1)
    for part in set(LABELS.ravel()) - {3}:
        # A quarter of the image, the rest the part's own colour.
        colours = found[labels == part] - 0.25 * grey[labels == part][:, None]
        assert np.ptp(colours, axis=0).max() < 1.5


def test_heat_figure_puts_every_row_under_its_headings():
    rows = [figures.PictureRow([PICTURE] * 3, f"image {number}") for number in range(3)]
    headings = ["image", "a long_heading", "G"]
    figure = figures.heat_figure(rows, headings, "Title", figures.HeatBar("heat"))
    axes = figure.axes[0]
    assert len(axes.images) == 9
    lefts = sorted({round(image.get_extent()[0], 3) for image in axes.images})
    assert len(lefts) == 9  # three blocks side by side
    assert {"image 0", "image 2", "G", "a long_\nheading", "heat", "low", "high"} <= texts(figure)


def test_similarity_figure_shows_every_pair_and_the_difference():
    first = GENERATOR.random((8, 8))
    second = first - 0.25
    first[2, 5] = np.nan
    figure = figures.similarity_figure(
        {"one": figures.Similarity(first, "mean 0.5"), "two": figures.Similarity(second)}, "Title"
    )
    shown = [axes for axes in figure.axes if axes.images]
    for axes, expected in zip(shown, (first, second, second - first), strict=True):
        matrix = np.ma.filled(axes.images[0].get_array(), np.nan)
        other = ~np.eye(8, dtype=bool)
        np.testing.assert_allclose(matrix[other], expected[other])
        assert np.isnan(matrix.diagonal()).all()  # each is like itself
    assert shown[0].images[0].get_clim() == shown[1].images[0].get_clim()
    assert "-.25" in {text.get_text() for text in shown[2].texts}
    assert shown[2].images[0].get_clim() == pytest.approx((-0.25, 0.25))
    names = [label.get_text() for label in shown[0].get_yticklabels()]
    assert names == [part.replace("_", " ") for part in PARTS]
    assert {"one", "two", "difference", "mean 0.5"} <= texts(figure)


def test_calibration_figure_shows_both_kinds_of_pairs_and_every_threshold():
    same, other = GENERATOR.normal(0.6, 0.1, 500), GENERATOR.normal(0, 0.1, 5000)
    lines = {"10 %": float(np.quantile(other, 0.9)), "1 %": float(np.quantile(other, 0.99))}
    figure = figures.calibration_figure(same, other, lines, "Title")
    scores, errors = figure.axes
    assert [line.get_xdata()[0] for line in scores.lines] == list(lines.values())
    curve, *points = errors.lines
    assert (np.diff(curve.get_xdata()) <= 0).all() and (np.diff(curve.get_ydata()) >= 0).all()
    assert [point.get_xdata()[0] for point in points] == pytest.approx([10, 1])
    assert {"10 %", "1 %", "Title", "two people", "one person, by two cameras"} <= texts(figure)
