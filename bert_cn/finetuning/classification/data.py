"""The splits of a classification task: read, checked, encoded."""

import dataclasses
import os
import re
from collections.abc import Sequence

import numpy as np

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import output_folder, tables, warm_start
from bert_cn.finetuning.classification import model, tasks
from data_prep import storage

# No longer than int() takes.
_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")
# Pandas and JSON write NaN for a number that is missing; the others are half a
# character.
_NO_LABEL = re.compile(r"(?i)^nan$|[\ud800-\udfff]")
_ROWS_TO_JUDGE = 10


@dataclasses.dataclass(frozen=True)
class Split:
    """One file of a task.

    Attributes:
        name: train, dev or test; with "_2" for a second file of dev or test.
        table: its rows.
        labels: class ids, int32 [rows], or scores, float32 [rows]; None if the file
            has none.
    """

    name: str
    table: tables.Table
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def path(self) -> str:
        """The file."""
        return self.table.path

    @property
    def has_labels(self) -> bool:
        """Whether the right answers are known."""
        return self.labels is not None


def read_tables(
    task: tasks.Task, data_dir: str, names: Sequence[str]
) -> dict[str, tables.Table]:
    """Read the files of some splits.

    Args:
        task: the task that has the files.
        data_dir: their folder.
        names: some of `tables.SPLITS`.

    Raises:
        ValueError: see `tables.read_table`.
    """
    layout = task.find_layout(data_dir)
    found = {}
    for name in names:
        for number, file in enumerate(layout.files(name), 1):
            found[name if number == 1 else f"{name}_{number}"] = tables.read_table(
                os.path.join(data_dir, file),
                layout.columns_of(name),
                layout.file_format,
                needs_label=name != tables.TEST,
                dropped_labels=task.dropped_labels,
            )
    return found


def read_seen(task: tasks.Task, data_dir: str) -> Split | None:
    """Read the texts of the training file, to find examples that it also holds.

    Args:
        task: the task that has the file.
        data_dir: its folder.

    Returns:
        The split, without labels; None if the file does not exist, or cannot be read,
        which is printed.
    """
    layout = task.find_layout(data_dir)
    path = os.path.join(data_dir, layout.train)
    if not storage.exists(path):
        return None
    columns = dataclasses.replace(layout.columns_of(tables.TRAIN), label=None)
    try:
        table = tables.read_table(path, columns, layout.file_format, needs_label=False)
    except ValueError as error:
        print(f"Nothing is compared with the training file. {error}", flush=True)
        return None
    return Split(tables.TRAIN, table, None)


def find_labels(task: tasks.Task, read: dict[str, tables.Table]) -> model.Labels:
    """Return what the task predicts.

    The table of tasks says it. For a user's own files it is the labels of the training
    file, sorted, by value if all are whole numbers; they are printed, so that a wrong
    column is noticed.

    Raises:
        ValueError: there is only one class, or a label is NaN or no text.
    """
    if task.labels is not None:
        return model.Labels(task.labels)
    train = read[tables.TRAIN]
    _refuse_no_label(train)
    found = sorted(set(train.labels))
    if all(_WHOLE_NUMBER.fullmatch(label) for label in found):
        found.sort(key=int)
    if len(found) < 2:
        raise ValueError(
            f"{train.path} has a single label, {found[0]!r}: nothing can be learned "
            "from it; check --columns."
        )
    print(
        f"{train.path}: {len(found)} classes, {tables.shorten_names(found)}."
        f"{_suggest_scores(found)}{_suggest_header(train)}",
        flush=True,
    )
    return model.Labels(tuple(found))


def load_labels(task: tasks.Task, checkpoint: str) -> model.Labels:
    """Return what a fine-tuned model predicts.

    Raises:
        ValueError: the checkpoint is no classifier, or predicts something else than
            the task has.
    """
    trained = model.read_labels(checkpoint)
    if trained is None:
        raise output_folder.no_model_error(checkpoint, "fine-tuned classifier")
    if task.labels is not None and trained.names != task.labels:
        raise ValueError(
            f"{checkpoint!r} predicts {', '.join(trained.names) or 'a score'}, and "
            f"--task_name={task.name} has {', '.join(task.labels) or 'a score'}: name "
            "a model of this task, or pass --do_train."
        )
    if task.labels is None and trained.is_regression:
        raise ValueError(
            f"{checkpoint!r} predicts a score: pass --regression, or name a model that "
            "predicts classes."
        )
    return trained


def _refuse_no_label(table: tables.Table) -> None:
    for line, label in zip(table.lines, table.labels, strict=True):
        if _NO_LABEL.search(label):
            raise ValueError(
                f"{table.path}, line {line}: the label {ascii(label)} is none: write "
                "it, or leave the line out."
            )


def _suggest_header(table: tables.Table) -> str:
    """Return a hint if the first line of a file looks like names of columns."""
    if table.lines[0] != 1 or len(table) < _ROWS_TO_JUDGE:
        return ""
    label = table.labels[0]
    others = len(set(table.labels)) - 1
    if table.labels.count(label) > 1 or others > len(table) / _ROWS_TO_JUDGE:
        return ""
    return (
        f" {label!r} is the label of line 1 alone: if that line holds the names of "
        "columns, name columns in --columns instead of numbers."
    )


def _suggest_scores(labels: Sequence[str]) -> str:
    """Return a hint if labels are numbers, and not all of them whole."""
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return ""
    if all(value.is_integer() for value in values):
        return ""
    return " If these are scores, pass --regression."


def number_labels(name: str, table: tables.Table, labels: model.Labels) -> Split:
    """Turn the labels of a file into ids or scores.

    Placeholders such as "-1" in a test file are no labels.

    Raises:
        ValueError: a label is no class or no number.
    """
    if name.startswith(tables.TEST):
        table = tables.drop_placeholders(table, labels.names)
    if table.labels is None:
        return Split(name, table, None)
    if labels.is_regression:
        values = [_parse_score(table, index) for index in range(len(table))]
        return Split(name, table, np.array(values, np.float32))
    ids = {label: index for index, label in enumerate(labels.names)}
    for row, label in enumerate(table.labels):
        if label not in ids:
            raise tables.unknown_label_error(table, row, labels.names)
    return Split(
        name, table, np.array([ids[label] for label in table.labels], np.int32)
    )


def _parse_score(table: tables.Table, index: int) -> float:
    try:
        value = float(table.labels[index])
    except ValueError:
        value = np.nan
    # A float32 is learned.
    if not abs(value) <= np.finfo(np.float32).max:
        raise ValueError(
            f"{table.path}, line {table.lines[index]}: the score "
            f"{table.labels[index]!r} is no number that a float32 can hold: correct "
            "the line, or check which column holds the score."
        )
    return value


def encode_split(
    split: Split,
    start: warm_start.StartingPoint,
    max_seq_length: int,
    cache_dir: str,
) -> features_lib.Features:
    """Return the features of a split, from the cache if it has them.

    Labels are not cached: they are quick to number, and belong to the run.
    """
    table = split.table

    def encode() -> features_lib.Features:
        sequences, cut = features_lib.encode_texts(
            table.texts,
            table.pairs,
            start.tokenizer,
            start.vocabulary,
            max_seq_length,
        )
        ids = [sequences.tokens[features_lib.TOKEN_IDS]]
        unknown = features_lib.describe_unknown(table.path, ids, start.vocabulary)
        print(
            f"{table.path}: {len(table)} examples, {cut} of them cut to "
            f"{max_seq_length} tokens; {unknown}.",
            flush=True,
        )
        return features_lib.Features({"": sequences})

    fingerprint = features_lib.compute_fingerprint(
        features_lib.to_bytes("\1".join(key) for key in table.keys()),
        max_seq_length=max_seq_length,
        **start.settings,
    )
    features = features_lib.load_or_encode(cache_dir, split.name, fingerprint, encode)
    if split.labels is None:
        return features
    return features.with_columns(**{model.LABEL: split.labels})


def find_unseen(split: Split, train: tables.Table) -> np.ndarray:
    """Say which examples the training file does not hold word for word.

    Returns:
        bool [rows].
    """
    seen = set(train.keys())
    return np.array([key not in seen for key in split.table.keys()])
