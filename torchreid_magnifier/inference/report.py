"""Evaluations as lines of text, JSON, and one page of HTML that needs no other file."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from jinja2 import Environment, StrictUndefined

from ..figures import retrieval_figure
from .evaluate import Evaluation, Measures, crossed

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .7em 0 1.4em }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; height: auto } .faint { color: #666 }
</style></head><body>
{% macro table(head, rows) %}
<table><thead><tr>{% for cell in head %}<th>{{ cell }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% endmacro %}
<h1>Evaluation</h1>
<p>Percent, by the cosine distance; images of the query's person by its own camera do not count.</p>
{% if crossed %}<h2>Trained on, tested on: rank-1 / mAP</h2>{{ table(*crossed) }}{% endif %}
{% for one in sections %}
<h2>{{ one.title }}</h2>
<p class="faint">{{ one.about }}</p>
{{ table(*one.measures) }}
<img alt="CMC and precision over recall" src="data:image/png;base64,{{ one.picture }}">
<h3>By the queries' camera</h3>
{{ table(*one.cameras) }}
{% if one.open_set %}<h3>Half of the people are strangers</h3>{{ table(*one.open_set) }}{% endif %}
{% endfor %}
<p class="faint">torchreid-magnifier {{ version }}</p>
</body></html>
"""

Table = tuple[list[str], list[list[str]]]


def as_json(found: Sequence[Evaluation]) -> str:
    """Return all numbers as JSON: a list of what `Evaluation` has."""
    return json.dumps([asdict(one) for one in found], indent=1) + "\n"


def as_text(found: Sequence[Evaluation], cameras: bool = False) -> str:
    """Return the numbers as lines of text, in percent; ``cameras``: those of each one too."""
    parts = []
    for one in found:
        parts += [f"{one.network}\n{_about(one)}", _aligned(*_measures(one))]
        if one.open_set:
            parts.append(_aligned(*_open_set(one)))
        if cameras:
            parts.append(_aligned(*_cameras(one)))
    if len(found) > 1:
        parts += ["rank-1 / mAP, trained on and tested on", _aligned(*_crossed(found))]
    return "\n\n".join(parts)


def as_html(found: Sequence[Evaluation]) -> str:
    """Return a page with all tables and curves, which needs no other file."""
    from .. import __version__

    sections = [
        {
            "title": f"{one.network} on {one.dataset}",
            "about": _about(one),
            "measures": _measures(one),
            "cameras": _cameras(one),
            "open_set": _open_set(one) if one.open_set else None,
            "picture": _picture(one),
        }
        for one in found
    ]
    jinja = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    table = _crossed(found) if len(found) > 1 else None
    page = jinja.from_string(_PAGE)
    return page.render(sections=sections, crossed=table, version=__version__)


def _about(one: Evaluation) -> str:
    trained = f", trained on {one.trained_on}" if one.trained_on else ""
    counted = one.measures["embedding"].queries
    return (
        f"{one.model}{trained}; {one.dataset}: {one.queries} queries, of which {counted} count, "
        f"{one.gallery} gallery images"
    )


def _numbers(measures: Measures) -> list[str]:
    return [f"{value:.1f}" for value in (*measures.cmc.values(), measures.mAP, measures.mINP)]


def _ranks(one: Evaluation) -> list[str]:
    return [*(f"rank-{rank}" for rank in one.measures["embedding"].cmc), "mAP", "mINP"]


def _measures(one: Evaluation) -> Table:
    rows = [[name, *_numbers(measures)] for name, measures in one.measures.items()]
    return ["", *_ranks(one)], rows


def _cameras(one: Evaluation) -> Table:
    cameras = one.measures["embedding"].cameras
    rows = [[str(c), str(found.queries), *_numbers(found)] for c, found in cameras.items()]
    return ["camera", "queries", *_ranks(one)], rows


def _open_set(one: Evaluation) -> Table:
    rows = [
        [
            f"{rate.false_alarms:g}",
            "too few strangers" if rate.found is None else f"{rate.found:.1f}",
            "" if rate.spread is None else f"{rate.spread:.1f}",
            str(rate.draws),
        ]
        for rate in one.open_set
    ]
    return ["false alarms", "known people found", "standard deviation", "draws"], rows


def _crossed(found: Sequence[Evaluation]) -> Table:
    datasets, rows = crossed(found)
    return ["network", "trained on", *datasets], [
        [name, trained, *cells] for name, trained, cells in rows
    ]


def _aligned(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = []
    for row in (head, *rows):
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths))
        lines.append("  ".join([first.strip().ljust(widths[0]), *rest]).rstrip())
    return "\n".join(lines)


def _picture(one: Evaluation) -> str:
    curves = {n: (m.cmc_curve, m.precision_curve) for n, m in one.measures.items()}
    picture = io.BytesIO()
    retrieval_figure(curves, f"{one.model} on {one.dataset}").savefig(picture, format="png")
    return base64.b64encode(picture.getvalue()).decode()
