"""The results of ``speed.py`` as Markdown, and the arithmetic between them."""

import statistics
from collections.abc import Iterable
from typing import Any

from .machine import GIB, spread

Report = dict[str, Any]
Result = dict[str, Any]
EPOCHS, EPOCH_IMAGES = 500, 12936  # the paper's schedule; Market-1501's training images


def rates(result: Result, clock: str = "clock") -> list[float]:
    """Images a second, turn by turn; ``clock`` or ``processor``."""
    return [result["batch"] / seconds for seconds in result[clock]]


def ratios(result: Result, reference: Result, clock: str = "clock") -> list[float]:
    """How many times the reference's rate, turn by turn."""
    pairs = zip(rates(result, clock), rates(reference, clock), strict=True)
    return [mine / other for mine, other in pairs]


def matrix_rate(report: Report, kind: str) -> float:
    """Floating-point operations a second of products of square matrices, of the best size."""
    return max(statistics.median(samples) for samples in report["matrix"][kind].values())


def share(report: Report, result: Result) -> float:
    """Share of the matrix rate that a contestant's arithmetic reaches, 0..1."""
    name = result["contestant"]
    counted = _of(report["flops"], name, result)[result["task"]]
    kind = report["contestants"][name]["arithmetic"]
    return counted * statistics.median(rates(result)) / matrix_rate(report, kind)


def schedule_hours(images_per_second: float, start: float = 0.0) -> float:
    """Hours for the whole schedule on Market-1501; ``start``: seconds before each epoch."""
    return EPOCHS * (EPOCH_IMAGES / images_per_second + start) / 3600


def markdown(report: Report) -> str:
    """Every table."""
    machine, settings = report["machine"], report["settings"]
    where = machine.get("gpu") or f"{machine['processor']}, {settings['threads']} threads"
    lines = [
        f"## {where}, commit {machine['commit']}",
        "",
        f"`{report['command']}`",
        "",
        f"{report['date']}, {report['minutes']:.0f} minutes. {_settings(machine)}",
        f"Medians of {settings['turns']} turns (smallest to largest); the contestants take turns. "
        f"Load of the machine before: {machine['load']:.1f}.",
        "Matrix products: "
        + ", ".join(f"{kind} {_tera(matrix_rate(report, kind))}" for kind in report["matrix"])
        + ".",
    ]
    for size in settings["sizes"]:
        results = [r for r in report["results"] if _size(r) == size]
        lines += ["", f"### {size}", "", *_rates(report, results)]
        lines += ["", *_ratios(report, results)]
        lines += ["", *_arithmetic(report, results, size)]
        lines += ["", *_memory(report, size)]
    lines += ["", *_schedule(report)]
    if report["growth"]:
        lines += ["", *_growth(report)]
    return "\n".join(lines) + "\n"


def _settings(machine: dict[str, Any]) -> str:
    text = f"Python {machine['python']}, torch {machine['torch']}"
    if "gpu" not in machine:
        return f"{text}, {machine['cpu_capability']}."
    return (
        f"{text}, CUDA {machine['cuda']}, cuDNN {machine['cudnn']}. TF32 (PyTorch's defaults): "
        f"convolutions {_on(machine['tf32_convolutions'])}, matrix products "
        f"{_on(machine['tf32_matrix_products'])}; cudnn.benchmark "
        f"{_on(machine['cudnn_benchmark'])}. Images go to the GPU within the time measured."
    )


def _rates(report: Report, results: list[Result]) -> list[str]:
    def cell(result: Result) -> str:
        if "error" in result:
            return f"fails: {result['error']}"
        if result["task"] == "eval" and result["batch"] == 1:
            return f"{spread([1000 * s for s in result['clock']])} ms"
        return spread(rates(result))

    head = [f"{_what(r)}, {_unit(r)}" for r in _columns(results)]
    return _table(["", *head], _rows(report, results, cell))


def _ratios(report: Report, results: list[Result]) -> list[str]:
    reference = {(r["task"], r["batch"]): r for r in _columns(results)}

    def cell(result: Result) -> str:
        other = reference[result["task"], result["batch"]]
        if "error" in result or "error" in other:
            return ""
        by_processor = statistics.median(ratios(result, other, "processor"))
        return f"{spread(ratios(result, other), 2)}; {by_processor:.2f}"

    first = next(iter(report["contestants"]))
    text = f"Times the rate of {first}, pair by pair; after the semicolon by processor time:"
    head = [_what(r) for r in _columns(results)]
    return [text, "", *_table(["", *head], _rows(report, results, cell))]


def _arithmetic(report: Report, results: list[Result], size: str) -> list[str]:
    def cell(result: Result) -> str:
        return "" if "error" in result else f"{100 * share(report, result):.0f} %"

    rows = _rows(report, results, cell)
    for row in rows:
        counted = _of(report["flops"], row[0], results[0])
        row[1:1] = [f"{counted[task] / 1e9:.2f}" if task in counted else "" for task in _TASKS]
    head = [f"share, {_what(r)}" for r in _columns(results)]
    text = "Billions of operations an image, and share of the measured matrix rate:"
    return [text, "", *_table(["", "eval", "training step", *head], rows)]


def _memory(report: Report, size: str) -> list[str]:
    found = [m for m in report["memory"] if _size(m) == size]
    if not found:
        return ["Memory was not measured."]
    cuda = "imports" not in found[0]
    first = found[0]
    times = f"times {first['contestant']}"
    head = ["", "eval, GiB", "training step, GiB", times]
    head += ["reserved in a step, GiB"] if cuda else ["step without imports, GiB", times]
    rows = []
    for m in found:
        row = [m["contestant"], _gib(m["eval"])]
        if "train" in m:
            row += [_gib(m["train"]), f"{m['train'] / first['train']:.2f}"]
            if cuda:
                row += [_gib(m["train_reserved"])]
            else:
                own, of_first = (n["train"] - n["imports"] for n in (m, first))
                # of a tiny network nothing is left beside the peak of the imports
                row += [_gib(own), f"{own / of_first:.2f}" if of_first > 0 else "–"]
        rows.append(row + [""] * (len(head) - len(row)))
    where = "by the GPU's allocator" if cuda else "of a fresh process"
    return [f"Peak memory {where}, batch {first['batch']}:", "", *_table(head, rows)]


def _schedule(report: Report) -> list[str]:
    steps = [r for r in report["results"] if r["task"] == "train" and "error" not in r]
    largest = max((r["height"] * r["width"] for r in steps), default=0)
    loader = report["loader"]
    head = ["", "images a second", "hours"]
    text = f"The paper's schedule, {EPOCHS} epochs of {EPOCH_IMAGES:,} images, by the rate of steps"
    if loader:
        head.append("with data loading, hours")
        text += (
            f" and, where slower, of {loader['workers']} loading processes "
            f"({loader['images_per_second']:.0f} images a second, {loader['start']:.1f} s to the "
            "first batch of an epoch)"
        )
    rows = []
    for r in steps:
        if r["height"] * r["width"] < largest:
            continue
        rate = statistics.median(rates(r))
        row = [r["contestant"], f"{rate:.1f}", f"{schedule_hours(rate):.2f}"]
        if loader:
            slower = min(rate, loader["images_per_second"])
            row.append(f"{schedule_hours(slower, loader['start']):.2f}")
        rows.append(row)
    return [f"### Schedule\n\n{text}:", "", *_table(head, rows)]


def _growth(report: Report) -> list[str]:
    growth = report["growth"]
    rows = [
        [_size(p), _what(p), spread([1000 * s for s in p["clock"]]), f"{_median_rate(p):.1f}"]
        for p in growth["points"]
    ]
    head = ["size", "", "ms", "images a second"]
    lines = [f"### Growth of {growth['contestant']}", "", *_table(head, rows)]
    return lines + [f"\nNot measured: {line}." for line in growth["left_out"]]


_TASKS = {"eval": "eval", "train": "training step"}


def _what(result: Result) -> str:
    return f"{_TASKS[result['task']]}, batch {result['batch']}"


def _unit(result: Result) -> str:
    return "latency" if (result["task"], result["batch"]) == ("eval", 1) else "images a second"


def _size(result: Result) -> str:
    return f"{result['height']}x{result['width']}"


def _median_rate(result: Result) -> float:
    return statistics.median(rates(result))


def _columns(results: list[Result]) -> list[Result]:
    """The first contestant's results: one of each column."""
    return [r for r in results if r["contestant"] == results[0]["contestant"]]


def _rows(report: Report, results: list[Result], cell: Any) -> list[list[str]]:
    rows = []
    for name in report["contestants"]:
        own = {(r["task"], r["batch"]): r for r in results if r["contestant"] == name}
        keys = [(r["task"], r["batch"]) for r in _columns(results)]
        rows.append([name, *(cell(own[key]) if key in own else "" for key in keys)])
    return rows


def _of(entries: list[Result], name: str, like: Result) -> Result:
    return next(e for e in entries if e["contestant"] == name and _size(e) == _size(like))


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _gib(count: float) -> str:
    return f"{count / GIB:.2f}"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.2f} TFLOP/s"


def _on(value: bool) -> str:
    return "on" if value else "off"
