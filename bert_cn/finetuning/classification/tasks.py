"""The data sets for classification and regression, in one table.

Files and columns are those of each set's public release. If a set is published in two
layouts, both are here, and the one whose files exist is read. Imports nothing heavy.
"""

import dataclasses
import os
from collections.abc import Sequence

from bert_cn.finetuning import metrics
from bert_cn.finetuning.tables import (
    DEV,
    JSONL,
    SPLITS,
    TEST,
    TRAIN,
    TSV,
    Columns,
    Format,
)
from data_prep import storage


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a set in its folder.

    Attributes:
        columns: where the fields are; a test file may lack the label.
        train: file name.
        dev: file names; a second one is measured too, but decides nothing.
        test: file names.
        file_format: how they are written.
        test_columns: where the fields of the test files are, if elsewhere.
    """

    columns: Columns
    train: str = "train.tsv"
    dev: tuple[str, ...] = ("dev.tsv",)
    test: tuple[str, ...] = ("test.tsv",)
    file_format: Format = Format()
    test_columns: Columns | None = None

    def files(self, split: str) -> tuple[str, ...]:
        """Return the file names of a split."""
        return {TRAIN: (self.train,), DEV: self.dev, TEST: self.test}[split]

    def columns_of(self, split: str) -> Columns:
        """Return where a split's fields are."""
        return (
            self.test_columns if split == TEST and self.test_columns else self.columns
        )


@dataclasses.dataclass(frozen=True)
class Task:
    """One data set.

    Attributes:
        name: its name in --task_name.
        labels: the classes in the order of their ids; None to take those of the
            training file; empty for regression.
        metrics: names in `metrics.METRICS`.
        main_metrics: those of `metrics` that pick the best weights, by their mean.
        layouts: the preferred one first.
        dropped_labels: see `tables.read_table`.
    """

    name: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    main_metrics: tuple[str, ...]
    layouts: tuple[Layout, ...]
    dropped_labels: frozenset[str] = frozenset()

    def find_layout(self, data_dir: str) -> Layout:
        """Return the first layout that has a file in the folder, or else the first."""
        for layout in self.layouts:
            names = [name for split in SPLITS for name in layout.files(split)]
            if any(storage.exists(os.path.join(data_dir, name)) for name in names):
                return layout
        return self.layouts[0]


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("contradiction", "entailment", "neutral")
_ACCURACY = (metrics.ACCURACY,)
_ACCURACY_F1 = (metrics.ACCURACY, metrics.F1)
_CORRELATIONS = (metrics.PEARSON, metrics.SPEARMAN)
# LCQMC's and BQ's files are published with and without a first line of names.
_PERHAPS_NAMED = Format(header_cells=frozenset({"label", "text_a", "sentence1"}))
_JSON = Format(kind=JSONL)
_CLUE_PAIR = Columns("sentence1", "sentence2", "label")
_THREE_COLUMNS = Columns(0, 1, 2)


def _task(name, labels, names, layouts, main=None, dropped=frozenset()) -> Task:
    layouts = layouts if isinstance(layouts, tuple) else (layouts,)
    return Task(name, labels, names, main or names, layouts, dropped)


def _txt(columns: Columns, stem: str = "{}.txt", dev: str = DEV, **settings) -> Layout:
    """A layout whose files are TRAIN, DEV and TEST with one pattern of names."""
    train, dev, test = (stem.format(split) for split in (TRAIN, dev, TEST))
    return Layout(columns, train, (dev,), (test,), **settings)


_TSV_OR_TXT = tuple(
    _txt(_THREE_COLUMNS, stem, file_format=_PERHAPS_NAMED)
    for stem in ("{}.tsv", "{}.txt")
)
_GLUE = (
    _task(
        "cola",
        _BINARY,
        (metrics.MATTHEWS, metrics.ACCURACY),
        Layout(Columns(3, None, 1), test_columns=Columns("sentence")),
        main=(metrics.MATTHEWS,),
    ),
    _task("sst-2", _BINARY, _ACCURACY, Layout(Columns("sentence", None, "label"))),
    _task(
        "mrpc",
        _BINARY,
        _ACCURACY_F1,
        Layout(Columns("#1 String", "#2 String", "Quality")),
    ),
    _task(
        "sts-b", (), _CORRELATIONS, Layout(Columns("sentence1", "sentence2", "score"))
    ),
    _task(
        "qqp",
        _BINARY,
        _ACCURACY_F1,
        Layout(
            Columns("question1", "question2", "is_duplicate"),
            # Line breaks inside some questions tear rows of train.tsv apart.
            file_format=Format(skips_short_rows=True),
        ),
    ),
    _task(
        "mnli",
        _NLI,
        _ACCURACY,
        Layout(
            Columns("sentence1", "sentence2", "gold_label"),
            dev=("dev_matched.tsv", "dev_mismatched.tsv"),
            test=("test_matched.tsv", "test_mismatched.tsv"),
        ),
    ),
    _task(
        "qnli", _ENTAILMENT, _ACCURACY, Layout(Columns("question", "sentence", "label"))
    ),
    _task("rte", _ENTAILMENT, _ACCURACY, Layout(_CLUE_PAIR)),
    _task("wnli", _BINARY, _ACCURACY, Layout(_CLUE_PAIR)),
)
_CHINESE = (
    _task("chnsenticorp", _BINARY, _ACCURACY, Layout(Columns("text_a", None, "label"))),
    _task(
        "afqmc",
        _BINARY,
        _ACCURACY_F1,
        (
            _txt(_CLUE_PAIR, "{}.json", file_format=_JSON),  # CLUE.
            _txt(_THREE_COLUMNS),  # github.com/zejunwang1/CSTS.
        ),
        main=_ACCURACY,
    ),
    _task("lcqmc", _BINARY, _ACCURACY, _TSV_OR_TXT),
    _task("bq", _BINARY, _ACCURACY, _TSV_OR_TXT),
    _task(
        "paws-x",
        _BINARY,
        _ACCURACY,
        (
            # The folder zh of github.com/google-research-datasets/paws.
            Layout(
                _CLUE_PAIR, "translated_train.tsv", ("dev_2k.tsv",), ("test_2k.tsv",)
            ),
            *_TSV_OR_TXT,
        ),
    ),
    _task(
        "ocnli",
        _NLI,
        _ACCURACY,
        (
            Layout(
                _CLUE_PAIR,
                "train.50k.json",
                ("dev.json",),
                ("test.json",),
                file_format=_JSON,
            ),
            _txt(_THREE_COLUMNS),  # github.com/zejunwang1/CSTS.
        ),
        dropped=frozenset({"-"}),
    ),
    _task(
        "sts-b-zh",
        (),
        _CORRELATIONS,
        (
            _txt(_THREE_COLUMNS, "sts-b-{}.txt"),  # github.com/zejunwang1/CSTS.
            _txt(  # github.com/pluto-junzeng/CNSD: number||text||text||score.
                Columns(1, 2, 3), "cnsd-sts-{}.txt", file_format=Format(separator="||")
            ),
        ),
    ),
    _task(
        "thucnews",
        (
            "体育",
            "财经",
            "房产",
            "家居",
            "教育",
            "科技",
            "时尚",
            "时政",
            "游戏",
            "娱乐",
        ),
        _ACCURACY,
        # The ten-class subset that HFL's table uses.
        _txt(Columns(1, None, 0), "cnews.{}.txt", dev="val"),
    ),
)
TASKS = {task.name: task for task in (*_GLUE, *_CHINESE)}
# A user's own files, whose columns --columns names.
OWN = (TSV, JSONL)


def is_own(name: str) -> bool:
    """Say whether a --task_name stands for a user's own files."""
    return name.lower() in OWN


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def find_task(name: str) -> Task:
    """Return a task by its name; case, "-" and "_" do not matter.

    Raises:
        ValueError: there is no such task.
    """
    for task in TASKS.values():
        if _plain(task.name) == _plain(name):
            return task
    raise ValueError(
        f"--task_name={name} is unknown: it is one of {', '.join(TASKS)}, or "
        f"{' or '.join(OWN)} with --columns for a file of your own."
    )


def build_own_task(
    kind: str, columns: Columns, files: Sequence[str], is_regression: bool = False
) -> Task:
    """Return the task of a user's own files.

    Args:
        kind: `TSV` or `JSONL`, in any case.
        columns: where the fields are.
        files: names of the files of train, dev and test; "" for TRAIN.KIND and so on.
        is_regression: whether the label is a score.
    """
    kind = kind.lower()
    train, dev, test = (
        file or f"{split}.{kind}" for file, split in zip(files, SPLITS, strict=True)
    )
    layout = Layout(columns, train, (dev,), (test,), file_format=Format(kind=kind))
    if is_regression:
        return _task(kind, (), _CORRELATIONS, layout)
    names = (metrics.ACCURACY, metrics.MACRO_F1)
    return _task(kind, None, names, layout, main=_ACCURACY)
