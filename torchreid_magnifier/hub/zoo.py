"""torchreid's model zoo: its networks for person re-identification by name, as its page lists them.

``weights/torchreid_zoo.csv`` has a line for each: where its file is, what it was trained on, and
what its authors measured. They publish no hashes; where one is known, it is there.
"""

import csv
from functools import cache

from .card import Card, Result, package_folder

TABLE = "torchreid_zoo.csv"
_DRIVE = "https://drive.google.com/uc?id="


@cache
def zoo() -> dict[str, Card]:
    """Return the cards of torchreid's zoo by name."""
    with open(package_folder() / TABLE, encoding="utf-8", newline="") as file:
        return {line["name"]: _card(line) for line in csv.DictReader(file)}


def _card(line: dict[str, str]) -> Card:
    links = (line["url"], _DRIVE + line["gdrive"])
    return Card(
        name=line["name"],
        model=line["model"],
        height=int(line["height"]),
        width=int(line["width"]),
        dataset=line["dataset"],
        results=(
            Result(
                line["tested_on"],
                float(line["rank1"]),
                float(line["mAP"]),
                f"{line['distance']} distance, no re-ranking, by its authors",
            ),
        ),
        licence="not stated",
        limits="Its authors state no licence of the file; the datasets are for academic research.",
        sha256=line["sha256"],
        size=int(line["size"]) if line["size"] else None,
        links=tuple(link for link in links if link),
    )
