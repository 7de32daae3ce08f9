"""How the time of one network grows with the batch and with the image."""

import io
import statistics
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .machine import free_memory
from .worker import EVAL, TRAIN, Process, WorkerError

SIZES = ((128, 64), (256, 128), (384, 192))
BATCHES = (1, 2, 4, 8, 16, 32, 64)
TURNS = 3
MOST = 0.6  # of the memory that is free: what a step may take


def measure(process: Process, peak: dict[str, Any], seconds: float, say: Any) -> dict[str, Any]:
    """Time of evaluation and of a training step for all batches and sizes that fit.

    Args:
        process: of the contestant, built.
        peak: its entry of ``memory``: how much a step takes, about, at another size.
        seconds: of a turn.
        say: is called with a line about the progress.
    """
    points, left_out = [], []
    for height, width in SIZES:
        for task in (EVAL, TRAIN):
            for batch in BATCHES[task == TRAIN :]:  # batch norm cannot learn from one
                what = f"{height}x{width}, {task}, batch {batch}"
                grown = batch * height * width / (peak["batch"] * peak["height"] * peak["width"])
                free = free_memory()
                if task == TRAIN and "imports" in peak and peak["train"] * grown > MOST * free:
                    left_out.append(f"{what}: too little memory")
                    continue
                say(f"growth: {what}")
                try:
                    turns = [
                        process.call("time", task, height, width, batch, seconds)
                        for _ in range(TURNS)
                    ]
                except WorkerError as error:
                    left_out.append(f"{what}: {error}")
                    continue
                point = {"task": task, "height": height, "width": width, "batch": batch}
                points.append(point | {"clock": [turn["clock"] for turn in turns]})
    return {"points": points, "left_out": left_out}


def draw(growth: dict[str, Any]) -> bytes:
    """Seconds of a batch over its size, on logarithmic axes: one PNG for both tasks."""
    figure, panels = plt.subplots(
        1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained"
    )
    for axes, (task, title) in zip(panels, {EVAL: "evaluation", TRAIN: "training step"}.items()):
        for number, (height, width) in enumerate(SIZES):
            points = [
                (p["batch"], statistics.median(p["clock"]))
                for p in growth["points"]
                if (p["task"], p["height"], p["width"]) == (task, height, width)
            ]
            if points:
                colour = f"C{number}"
                axes.plot(*zip(*points), "o-", color=colour, label=f"{height}x{width}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
        axes.set_xlabel("images in a batch")
        axes.set_title(f"{growth['contestant']}, {title}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("seconds a batch")
    panels[0].legend()
    png = io.BytesIO()
    figure.savefig(png, dpi=110)
    plt.close(figure)
    return png.getvalue()
