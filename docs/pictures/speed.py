"""Draw how many times as fast as other software this is, from speed.csv.

python docs/pictures/speed.py
"""

import csv
import pathlib

import matplotlib.figure
import style

DATA = pathlib.Path(__file__).with_name("speed.csv")


def main() -> None:
    """Write speed-light.svg and speed-dark.svg."""
    style.save_in_both_themes("speed", (8, 2.8), draw)


def draw(figure: matplotlib.figure.Figure) -> None:
    """Draw a bar for each ratio, on a logarithmic axis, from the peer's 1."""
    with DATA.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(x for x in file if not x.startswith("#")))[::-1]
    axes = figure.add_subplot()
    ratios = [float(row["ratio"]) for row in rows]
    colors = ["#2da44e" if ratio >= 1 else "#bc4c00" for ratio in ratios]
    axes.barh(
        [f"{row['what']}\nagainst {row['peer']}" for row in rows],
        [ratio - 1 for ratio in ratios],
        left=1,
        color=colors,
        height=0.6,
    )
    for place, ratio in enumerate(ratios):
        axes.annotate(
            f"{ratio:g}",
            (max(ratio, 1), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_xscale("log")
    axes.set_xlim(0.8, 20)
    axes.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times as fast as the other")


if __name__ == "__main__":
    main()
