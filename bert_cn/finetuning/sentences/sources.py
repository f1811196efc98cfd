"""Which set sentence embeddings are measured or trained on, as the flags name it."""

import dataclasses

from bert_cn.finetuning import tables
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.sentences import data, model


@dataclasses.dataclass(frozen=True)
class Source:
    """A set, as a group of flags names it.

    Attributes:
        prefix: of the flags: "" or "train_".
        task_name: a set that is known, or `tasks.OWN`.
        data_dir: its folder.
        columns: of a user's own files: text_a, text_b, label; "" for none.
        files: of train, dev and test of a user's own set; "" for the usual names.
        negative: column of the negatives, instead of the label.
    """

    prefix: str
    task_name: str
    data_dir: str
    columns: tuple[str, str, str]
    files: tuple[str, str, str]
    negative: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the files are the user's own."""
        return self.task_name.lower() in tasks.OWN


def read_training_pairs(
    source: Source, objective: str, scale: float, max_score: float | None
) -> tuple[data.Pairs, model.Objective]:
    """Read what is trained on, as the objective takes it.

    Args:
        source: the set.
        objective: one of `model.OBJECTIVES`.
        scale: of `ranking`.
        max_score: of `cosine`; None for what is known of the set.

    Raises:
        ValueError: the set does not suit the objective, or its files are bad.
    """
    if source.negative and (objective != "ranking" or source.columns[2]):
        raise ValueError(
            f"--{source.prefix}negative is for --objective=ranking, instead of "
            f"--{source.prefix}label: pass one of the two."
        )
    task = find_task(source, objective)
    if objective == model.COSINE:
        if max_score is None:
            max_score = _find_max_score(task)
        read = data.read_scored(task, source.data_dir, [tasks.TRAIN])
        pairs = data.scale_scores(read[tasks.TRAIN], max_score)
        return pairs, model.Objective(objective)
    table = classification_data.read_tables(task, source.data_dir, [tasks.TRAIN])[
        tasks.TRAIN
    ]
    if objective == "softmax":
        pairs, num_labels = data.number_classes(task, table)
        return pairs, model.Objective(objective, num_labels)
    if source.negative:
        pairs = data.take_triples(table)
    else:
        pairs = data.select_positives(table)
    return pairs, model.Objective(objective, scale=scale)


def _find_max_score(task: tasks.Task) -> float:
    if task.name not in data.MAX_SCORES:
        raise ValueError(
            "--max_score is missing: name the score of two texts that mean the same, "
            "which a cosine of 1 stands for."
        )
    return data.MAX_SCORES[task.name]


def find_task(source: Source, objective: str) -> tasks.Task:
    """Return the task of a set, built from columns if it is the user's own.

    Raises:
        ValueError: the set is unknown or does not suit the objective, a column is
            missing, or one is named of a set that is known.
    """
    flag = f"--{source.prefix}task_name"
    is_scored = objective == model.COSINE
    known = data.MAX_SCORES if is_scored else data.CLASSIFIED
    if source.is_own:
        return _build_own_task(source, needs_label=objective != "ranking")
    if any((*source.columns, source.negative)):
        raise ValueError(
            f"{flag}={source.task_name} is a set whose columns are known, and they are "
            f"named too: leave out --{source.prefix}text_a and its like, or pass "
            f"{flag}=tsv or jsonl."
        )
    task = tasks.find_task(source.task_name)
    if task.name not in known:
        raise ValueError(
            f"{flag}={source.task_name} does not suit --objective={objective}: name "
            f"one of {', '.join((*known, *tasks.OWN))}."
        )
    return task


def _build_own_task(source: Source, needs_label: bool) -> tasks.Task:
    kind = source.task_name.lower()
    *texts, label = source.columns
    names = dict(zip(("text_a", "text_b"), texts, strict=True))
    if needs_label:
        names["label"] = label
    for name, column in names.items():
        if not column:
            raise ValueError(
                f"--{source.prefix}task_name={kind} needs --{source.prefix}{name}: "
                "name the column, or give its number from 0."
            )
    columns = [
        int(column) if column.isdecimal() else column or None
        for column in (*texts, source.negative or label)
    ]
    files = tuple(
        file or f"{split}.{kind}"
        for file, split in zip(source.files, tasks.SPLITS, strict=True)
    )
    return tasks.build_own_task(kind, tables.Columns(*columns), files, False)
