"""The tables of the suite: Markdown to read, CSV to compute with."""

import collections
import csv
import io
import os
from collections.abc import Mapping, Sequence

from bert_cn.suite import results, tasks
from data_prep import storage

MARKDOWN_FILE = "table.md"
CSV_FILE = "table.csv"
MAJORITY = "majority class"
_NO_FIGURE = "–"
_NO_SIGNAL = "†"
_SPLITS = {
    "eval": "dev",
    "eval_2": "dev (mismatched)",
    "test": "test",
}
_UNSEEN = "unseen"
Figures = Mapping[tuple[str, str, str], results.Figure]


def write_tables(
    output_dir: str,
    rows: Sequence[results.RowInfo],
    found: Sequence[results.Result],
    notes: Sequence[str],
) -> tuple[str, str]:
    """Write table.md and table.csv.

    Args:
        output_dir: the folder to write them to.
        rows: the lines of the table.
        found: all finished runs.
        notes: sentences for the end of table.md.

    Returns:
        Their paths.
    """
    figures = results.summarize(found)
    texts = {
        MARKDOWN_FILE: format_markdown(rows, found, figures, notes),
        CSV_FILE: format_csv(rows, figures),
    }
    paths = []
    for name, text in texts.items():
        paths.append(os.path.join(output_dir, name))
        storage.write_whole(paths[-1], text)
    return paths[0], paths[1]


def list_columns(table: str, figures: Figures) -> list[tuple[str, tasks.Column]]:
    """Return (task, column) of one of `tasks.TABLES`: those that have a figure."""
    known = {(task, key) for _, task, key in figures}
    return [
        (task.name, column)
        for task in tasks.TASKS.values()
        if task.table == table
        for column in task.columns
        if (task.name, column.keys[0]) in known
    ]


def format_markdown(
    rows: Sequence[results.RowInfo],
    found: Sequence[results.Result],
    figures: Figures,
    notes: Sequence[str],
) -> str:
    """Return the whole of table.md."""
    parts = [
        _format_one(table, columns, rows, figures)
        for table in tasks.TABLES
        if (columns := list_columns(table, figures))
    ]
    parts += [_format_notes(rows, found, notes), _format_list(rows, figures)]
    return "\n\n".join(parts) + "\n"


def _format_one(table, columns, rows, figures) -> str:
    """Return one table, laid out like the reference collection's."""
    heads = [f"{column.title} ({' / '.join(column.names)})" for _, column in columns]
    # The reference collection's Score is the mean of its GLUE columns.
    with_score = table == tasks.GLUE and len(columns) > 1
    lines = []
    for row in rows:
        cells = [_format_cell(row.name, *column, figures) for column in columns]
        score = _average(row.name, columns, figures)
        if any(cell != _NO_FIGURE for cell in cells):
            lines.append([row.name, *([score] if with_score else []), *cells])
    majority = [_format_majority(*column, figures) for column in columns]
    lines.append([MAJORITY, *([_NO_FIGURE] if with_score else []), *majority])
    names = ["Model", *(["Score"] if with_score else []), *heads]
    return f"## {table}\n\n{_format_table(names, lines)}"


def _format_table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = [":--", *["--:"] * (len(names) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *lines))


def _format_cell(row: str, task: str, column: tasks.Column, figures: Figures) -> str:
    shown = [
        _format_figure(figures.get((row, task, key)), with_mark=True)
        for key in column.keys
    ]
    return _NO_FIGURE if set(shown) == {_NO_FIGURE} else " / ".join(shown)


def _format_figure(figure: results.Figure | None, with_mark: bool) -> str:
    if figure is None:
        return _NO_FIGURE
    spread = "" if figure.deviation is None else f" ± {figure.deviation:.2f}"
    mark = _NO_SIGNAL if with_mark and not figure.has_signal else ""
    return f"{figure.mean:.2f}{spread}{mark}"


def _format_majority(task: str, column: tasks.Column, figures: Figures) -> str:
    shown = []
    for key in column.keys:
        baselines = [
            figure.baseline
            for (_, each, name), figure in figures.items()
            if (each, name) == (task, key)
        ]
        shown.append(_format_value(baselines[0].value if baselines else None))
    return " / ".join(shown)


def _format_value(value: float | None) -> str:
    return _NO_FIGURE if value is None else f"{value:.2f}"


def _average(row: str, columns, figures: Figures) -> str:
    """Return the mean of the first figures of all columns; – if one is missing."""
    found = [figures.get((row, task, column.keys[0])) for task, column in columns]
    if not all(found):
        return _NO_FIGURE
    return f"{sum(figure.mean for figure in found) / len(found):.2f}"


def _format_notes(rows, found, notes: Sequence[str]) -> str:
    lines = [
        "Percent; mean ± sample standard deviation over seeds, if there are several "
        "(the list below says how many). Dev files unless a column says test. With "
        "several epochs the best one is chosen on dev, which flatters dev's figures, "
        "also those of random weights.",
        f"{MAJORITY}: the figure of always giving the commonest answer of the same "
        "file (for reading: always saying that there is no answer). A constant has no "
        f"rank correlation, hence {_NO_FIGURE}.",
        f"{_NO_SIGNAL}: no signal: the figure is above the {MAJORITY}, or above a "
        "correlation of 0, by at most 1.96 standard errors for this many examples. "
        "Chance exceeds that in one of forty files.",
        "unseen: without the examples that the training file holds word for word.",
        "Score: mean of the first figure of each column; comparable only between rows "
        "with the same columns.",
    ]
    lines += [_describe_row(row) for row in rows]
    lines += _describe_recipes(found)
    lines += notes
    return "\n".join(f"- {line}" for line in lines)


def _describe_row(row: results.RowInfo) -> str:
    def name(lowered: bool) -> str:
        return "lower-cased" if lowered else "with their case"

    why = ""
    if row.english_lower_case and not row.lower_case:
        why = " (the vocabulary has no token with A-Z)"
    return (
        f"{row.name}: {row.checkpoint}, {row.num_parameters / 1e6:.1f} million "
        f"parameters; English texts {name(row.english_lower_case)}{why}, Chinese ones "
        f"{name(row.lower_case)}."
    )


def _describe_recipes(found: Sequence[results.Result]) -> list[str]:
    """Return the flags of the runs; if runs differ, say which runs had which flags."""
    recipes = collections.defaultdict(set)
    for result in found:
        shown = tuple(
            flag
            for flag in result.identity["flags"]
            if not flag.startswith(("--random_seed=", "--do_lower_case="))
        )
        recipes[result.identity["command"], shown].add((result.row, result.task))
    names = collections.Counter(command for command, _ in recipes)
    lines = []
    for (command, shown), runs in recipes.items():
        which = ""
        if names[command] > 1:
            pairs = ", ".join(" ".join(run) for run in sorted(runs))
            which = f" for {pairs}"
        lines.append(f"`{command} {' '.join(shown)}`{which}")
    return lines


def _format_list(rows: Sequence[results.RowInfo], figures: Figures) -> str:
    """Return every figure on a line of its own, with its baseline."""
    heads = ["Task", "Figure", "Examples", *(row.name for row in rows), MAJORITY]
    heads += ["Seeds", "Minutes"]
    lines = []
    for task, key in _order_keys(figures):
        here = [figures.get((row.name, task, key)) for row in rows]
        known = [figure for figure in here if figure is not None]
        seeds = [str(figure.count) for figure in known]
        lines.append(
            [
                task,
                describe_key(key),
                str(known[0].baseline.num_examples),
                *(_format_figure(figure, with_mark=True) for figure in here),
                _format_value(known[0].baseline.value),
                seeds[0] if len(set(seeds)) == 1 else ", ".join(seeds),
                ", ".join(f"{figure.minutes:.1f}" for figure in known),
            ]
        )
    note = "Seeds and minutes per run: one number for each model, from left to right."
    return f"## All figures\n\n{_format_table(heads, lines)}\n\n{note}"


def _order_keys(figures: Figures) -> list[tuple[str, str]]:
    order = list(tasks.TASKS)
    pairs = dict.fromkeys((task, key) for _, task, key in figures)
    return sorted(pairs, key=lambda pair: order.index(pair[0]))


def describe_key(key: str) -> str:
    """Return the figure's name and split: eval_2_f1 is f1, dev (mismatched)."""
    for prefix in sorted(_SPLITS, key=len, reverse=True):
        if key.startswith(f"{prefix}_"):
            name = key.removeprefix(f"{prefix}_")
            plain = name.removeprefix(f"{_UNSEEN}_")
            unseen = "" if plain == name else f", {_UNSEEN}"
            return f"{plain}, {_SPLITS[prefix]}{unseen}"
    return key


def format_csv(rows: Sequence[results.RowInfo], figures: Figures) -> str:
    """Return table.csv: a line for each figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("model", "random_weights", "group", "task", "figure", "examples"),
            *("mean", "standard_deviation", "seeds", "majority_class", "has_signal"),
            "minutes_per_run",
        ]
    )
    for row in rows:
        for task, key in _order_keys(figures):
            figure = figures.get((row.name, task, key))
            if figure is None:
                continue
            deviation = figure.deviation
            majority = figure.baseline.value
            writer.writerow(
                [
                    *(row.name, int(row.name != row.of), tasks.TASKS[task].table, task),
                    *(describe_key(key), figure.baseline.num_examples),
                    f"{figure.mean:.4f}",
                    "" if deviation is None else f"{deviation:.4f}",
                    figure.count,
                    "" if majority is None else f"{majority:.4f}",
                    int(figure.has_signal),
                    f"{figure.minutes:.2f}",
                ]
            )
    return text.getvalue()
