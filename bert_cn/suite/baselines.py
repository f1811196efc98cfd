"""The figures of always giving the same answer, on the files that a run measures."""

import collections
import contextlib
import dataclasses
import hashlib
import io
import os

import numpy as np

from bert_cn.finetuning import metrics, tables
from bert_cn.finetuning.classification import tasks as classification_tasks
from bert_cn.finetuning.reading import data
from bert_cn.finetuning.reading import metrics as reading_metrics
from bert_cn.suite import tasks
from data_prep import storage

# run_classifier's keys in eval_results.txt begin with these.
_PREFIXES = {tables.DEV: "eval", tables.TEST: "test"}
_UNSEEN = "unseen"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A figure that needs no model.

    Attributes:
        value: the figure of the majority class on the same examples, in percent; None
            if a constant has no such figure: it has no rank correlation.
        num_examples: the number of these examples.
    """

    value: float | None
    num_examples: int


def compute_baselines(found: tasks.FoundTask) -> dict[str, Baseline]:
    """Return key of eval_results.txt -> baseline, for every figure of a task.

    Raises:
        ValueError: a file of the task cannot be read, see `tables.read_table` and
            `data.read_dataset`; or a label is unknown.
    """
    if found.task.command == tasks.READER:
        return _measure_no_answers(found)
    return _measure_majority(found)


def hash_data(found: tasks.FoundTask) -> str:
    """Return a digest that changes with any file of a task."""
    digest = hashlib.sha256()
    for path in found.paths:
        digest.update(hashlib.sha256(storage.read_bytes(path)).digest())
    return digest.hexdigest()


def _measure_no_answers(found: tasks.FoundTask) -> dict[str, Baseline]:
    with_negative = found.task.with_negative
    with contextlib.redirect_stdout(io.StringIO()):  # The run says the same.
        dataset = data.read_dataset(found.held_out[0], with_negative)
    answers = [
        [answer.text for answer in question.answers or ()]
        for question in dataset.questions
    ]
    definition = reading_metrics.choose_definition(dataset.contexts, with_negative)
    values = reading_metrics.measure(definition, answers, [""] * len(answers))
    return {
        f"eval_{key}": Baseline(values[key], len(answers))
        for key in (reading_metrics.EXACT, reading_metrics.F1)
    }


def _measure_majority(found: tasks.FoundTask) -> dict[str, Baseline]:
    task = classification_tasks.find_task(found.task.task_name)
    names = task.metrics
    if found.task.command == tasks.SENTENCES:
        names = (metrics.SPEARMAN, metrics.PEARSON)
    train = _read(task, found, tables.TRAIN)[0]
    seen = set(train.keys())
    baselines = {}
    for split, prefix in _PREFIXES.items():
        if split == tables.TEST and not found.task.measures_test:
            continue
        for number, table in enumerate(_read(task, found, split), 1):
            if table.labels is None:
                continue
            _check_labels(task, table)
            prefix_here = prefix if number == 1 else f"{prefix}_{number}"
            parts = {prefix_here: table.labels}
            unseen = [
                label
                for key, label in zip(table.keys(), table.labels, strict=True)
                if key not in seen
            ]
            # As run_classifier does: only if that differs from the whole file.
            if 2 <= len(unseen) < len(table):
                parts[f"{prefix_here}_{_UNSEEN}"] = unseen
            for part, labels in parts.items():
                values = _answer_majority(task, names, labels)
                baselines |= {
                    f"{part}_{name}": Baseline(values[name], len(labels))
                    for name in names
                }
    return baselines


def _read(task, found: tasks.FoundTask, split: str) -> list[tables.Table]:
    """Read the files of a split that exist."""
    layout = task.find_layout(found.folder)
    paths = [os.path.join(found.folder, name) for name in layout.files(split)]
    is_test = split == tables.TEST
    with contextlib.redirect_stdout(io.StringIO()):  # The run says the same.
        read = [
            tables.read_table(
                path,
                layout.columns_of(split),
                layout.file_format,
                needs_label=not is_test,
                dropped_labels=task.dropped_labels,
            )
            for path in paths
            if path in found.paths
        ]
        if is_test:
            read = [tables.drop_placeholders(each, task.labels) for each in read]
    return read


def _check_labels(task, table: tables.Table) -> None:
    for row, label in enumerate(table.labels):
        if task.labels and label not in task.labels:
            raise tables.unknown_label_error(table, row, task.labels)


def _answer_majority(task, names, labels: list[str]) -> dict[str, float | None]:
    """Measure always giving the majority class; None where figures are correlations.

    A score has no class, and a constant no correlation.
    """
    if not task.labels or metrics.SPEARMAN in names:
        return dict.fromkeys(names)
    # The first of the labels that are equally common, in the order of their ids.
    counts = collections.Counter(labels)
    majority = max(task.labels, key=lambda label: counts[label])
    ids = np.array([task.labels.index(label) for label in labels])
    always = np.full(len(ids), task.labels.index(majority))
    values = metrics.compute(names, names[:1], ids, always)
    return {name: 100 * values[name] for name in names}
