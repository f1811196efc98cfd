"""The table as bars: each model, its random twin and the majority class."""

import dataclasses
import io
import os
import textwrap
from collections.abc import Sequence

from bert_cn.suite import results, tables, tasks
from data_prep import storage

PLOT_FILE = "table.png"
_MAJORITY_COLOR = "0.75"
# Inches: the width of a cluster of bars, the margins, the least width of the picture,
# and the height of a panel.
_COLUMN_WIDTH, _MARGIN, _LEAST_WIDTH, _PANEL_HEIGHT = 1.15, 2.0, 7.0, 3.4
# The longest line of a label in characters, and its size in points.
_LABEL_WIDTH, _LABEL_SIZE = 14, 8


def write_plot(
    output_dir: str, rows: Sequence[results.RowInfo], found: Sequence[results.Result]
) -> str:
    """Draw table.png; returns its path.

    Args:
        output_dir: the folder to write it to.
        rows: each gives one bar to every column.
        found: all finished runs, at least one.
    """
    # Here, because it takes a second to import.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures = results.summarize(found)
    panels = {
        table: clusters
        for table in tasks.TABLES
        if (clusters := _list_clusters(tables.list_columns(table, figures)))
    }
    widest = max(map(len, panels.values()))
    width = max(_LEAST_WIDTH, _MARGIN + _COLUMN_WIDTH * widest)
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(width, _PANEL_HEIGHT * len(panels)),
        constrained_layout=True,
        squeeze=False,
    )
    for axis, (table, clusters) in zip(axes[:, 0], panels.items(), strict=True):
        draw_panel(axis, clusters, rows, figures)
        axis.set_title(table)
        # So bars are equally wide in all panels.
        axis.set_xlim(-0.6, widest - 0.4)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    plt.close(figure)
    path = os.path.join(output_dir, PLOT_FILE)
    storage.write_whole(path, picture.getvalue())
    return path


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Bars side by side: one figure of every row and of the majority class.

    Attributes:
        label: the text below them.
        task: the name of the task.
        key: the figure, as eval_results.txt names it.
    """

    label: str
    task: str
    key: str


def _list_clusters(columns: Sequence[tuple[str, tasks.Column]]) -> list[Cluster]:
    return [
        Cluster(f"{textwrap.fill(column.title, _LABEL_WIDTH)}\n{name}", task, key)
        for task, column in columns
        for key, name in zip(column.keys, column.names, strict=True)
    ]


def draw_panel(
    axis,
    clusters: Sequence[Cluster],
    rows: Sequence[results.RowInfo],
    figures: tables.Figures,
) -> None:
    """Draw the bars of one table.

    A random twin has its model's colour, hatched. A missing figure has no bar.

    Args:
        axis: matplotlib's axes.
        clusters: from left to right.
        rows: the bars of each cluster.
        figures: their heights.
    """
    width = 0.8 / (len(rows) + 1)
    colors = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(r.of for r in rows))}
    for number, row in enumerate(rows):
        known = {
            place: figure
            for place, each in enumerate(clusters)
            if (figure := figures.get((row.name, each.task, each.key))) is not None
        }
        is_random = row.name != row.of
        axis.bar(
            [place - 0.4 + (number + 0.5) * width for place in known],
            [figure.mean for figure in known.values()],
            width,
            yerr=[figure.deviation or 0.0 for figure in known.values()],
            label=row.name,
            color=(colors[row.of], 0.35 if is_random else 1.0),
            hatch="//" if is_random else "",
            edgecolor=colors[row.of],
            error_kw={"capsize": 2, "elinewidth": 1},
        )
    majority = {
        place: value
        for place, each in enumerate(clusters)
        if (value := _find_majority(each, figures)) is not None
    }
    axis.bar(
        [place + 0.4 - 0.5 * width for place in majority],
        list(majority.values()),
        width,
        color=_MAJORITY_COLOR,
        edgecolor=_MAJORITY_COLOR,
        label=tables.MAJORITY,
    )
    axis.set_xticks(
        range(len(clusters)), [each.label for each in clusters], fontsize=_LABEL_SIZE
    )
    axis.set_ylabel("percent")
    axis.grid(axis="y", alpha=0.3)
    axis.axhline(0, color="0.3", linewidth=0.8)


def _find_majority(cluster: Cluster, figures: tables.Figures) -> float | None:
    for (_, task, key), figure in figures.items():
        if (task, key) == (cluster.task, cluster.key):
            return figure.baseline.value
    return None
