"""Draw held-out accuracy over minutes from accuracy.csv, whose head names the runs.

python docs/pictures/accuracy.py
"""

import csv
import pathlib

import matplotlib.figure
import style

DATA = pathlib.Path(__file__).with_name("accuracy.csv")
# The reference collection's held-out accuracies, after 100,000 steps each.
REFERENCE = {"tiny": 22.74, "mini": 33.54}
COLORS = {"tiny": "#2da44e", "mini": "#0969da"}


def main() -> None:
    """Write accuracy-light.svg and accuracy-dark.svg."""
    style.save_in_both_themes("accuracy", (8, 3.6), draw)


def read_curves() -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return minutes and percents by software and model."""
    with DATA.open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        curves: dict = {}
        for row in rows:
            points = curves.setdefault((row["software"], row["model"]), [])
            points.append((float(row["minutes"]), float(row["accuracy"])))
    return curves


def draw(figure: matplotlib.figure.Figure) -> None:
    """Draw all curves into one panel."""
    axes = figure.add_subplot()
    for model, percent in REFERENCE.items():
        axes.axhline(percent, color=COLORS[model], linestyle="--", linewidth=1)
        axes.annotate(
            f"reference collection's {model}, {percent} %",
            (1, percent),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=COLORS[model],
        )
    for (software, model), points in read_curves().items():
        minutes, percents = zip(*points, strict=True)
        is_ours = software == "bert_cn"
        axes.plot(
            minutes,
            percents,
            color=COLORS[model] if is_ours else "#8c959f",
            marker="o" if is_ours else None,
            markersize=3,
            label=f"{software}, BERT-{model}",
        )
    axes.set_xlabel("minutes of training on one CPU core")
    axes.set_ylabel("masked tokens right, held-out news, %")
    axes.set_ylim(0)
    axes.set_xlim(0)
    axes.legend(loc="lower right", fontsize=8, bbox_to_anchor=(1, 0.02))


if __name__ == "__main__":
    main()
