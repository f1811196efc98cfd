"""The table as bars: each model, its random twin and the majority class."""

import dataclasses
import os
import textwrap
from collections.abc import Sequence

from bert_cn.suite import results, tables, tasks
from data_prep import storage

PLOT_FILE = "table.png"
_MAJORITY_COLOR = "0.75"
# Inches: of a group of bars, around all of them, and at least.
_COLUMN_WIDTH, _MARGIN, _LEAST_WIDTH, _PANEL_HEIGHT = 1.15, 2.0, 7.0, 3.4
# Characters, and points.
_LABEL_WIDTH, _LABEL_SIZE = 14, 8


def write_plot(
    output_dir: str, rows: Sequence[results.RowInfo], found: Sequence[results.Result]
) -> str:
    """Draw table.png; returns its path.

    Args:
        output_dir: its folder.
        rows: one bar each in every column.
        found: all finished runs, at least one.
    """
    # Here, because it takes a second to import.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures = results.summarize(found)
    panels = {
        group: bars
        for group in tasks.GROUPS
        if (bars := _list_bars(tables.list_columns(group, figures)))
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
    for axis, (group, bars) in zip(axes[:, 0], panels.items(), strict=True):
        draw_panel(axis, bars, rows, figures)
        axis.set_title(group)
        # Bars are equally wide in all panels.
        axis.set_xlim(-0.6, widest - 0.4)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    path = os.path.join(output_dir, PLOT_FILE)
    with storage.open(path + ".tmp", "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    storage.rename(path + ".tmp", path, overwrite=True)
    return path


@dataclasses.dataclass(frozen=True)
class Bars:
    """A group of bars: one figure, of every row and of the majority class.

    Attributes:
        label: below it.
        task: whose figure.
        key: which figure.
    """

    label: str
    task: str
    key: str


def _list_bars(columns: Sequence[tuple[str, tasks.Column]]) -> list[Bars]:
    return [
        Bars(f"{textwrap.fill(column.title, _LABEL_WIDTH)}\n{name}", task, key)
        for task, column in columns
        for key, name in zip(column.keys, column.names, strict=True)
    ]


def draw_panel(
    axis,
    groups: Sequence[Bars],
    rows: Sequence[results.RowInfo],
    figures: tables.Figures,
) -> None:
    """Draw the groups of bars of one table.

    A random twin has its model's colour, hatched. Where a figure is missing there is
    no bar.

    Args:
        axis: of matplotlib.
        groups: from left to right.
        rows: the bars of each group.
        figures: their heights.
    """
    width = 0.8 / (len(rows) + 1)
    colors = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(r.of for r in rows))}
    for number, row in enumerate(rows):
        known = {
            place: figure
            for place, each in enumerate(groups)
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
        for place, each in enumerate(groups)
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
        range(len(groups)), [each.label for each in groups], fontsize=_LABEL_SIZE
    )
    axis.set_ylabel("percent")
    axis.grid(axis="y", alpha=0.3)
    axis.axhline(0, color="0.3", linewidth=0.8)


def _find_majority(group: Bars, figures: tables.Figures) -> float | None:
    for (_, task, key), figure in figures.items():
        if (task, key) == (group.task, group.key):
            return figure.baseline.value
    return None
