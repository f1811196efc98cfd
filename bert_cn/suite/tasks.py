"""The data sets of the suites, and where their files are."""

import dataclasses
import os
from collections.abc import Sequence

from bert_cn.finetuning import metrics, tables
from bert_cn.finetuning.classification import tasks as classification_tasks
from data_prep import storage

CLASSIFIER = "bert_cn.run_classifier"
SENTENCES = "bert_cn.run_sentence_bert"
READER = "bert_cn.run_squad"
# A suite may have tasks in two of these tables.
GLUE, CHINESE, READING = "GLUE", "Chinese", "Reading comprehension"
TABLES = (GLUE, CHINESE, READING)
SUITES = ("glue", "clue", "squad", "sentences")
# Each data set has a folder in --data_dir or in a folder of one of these names.
_PARENTS = frozenset({"glue", "gluedata", "clue", "cluedata"})


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        title: the data set's name.
        keys: its figures, as eval_results.txt names them.
        names: the same figures, as the table names them.
    """

    title: str
    keys: tuple[str, ...]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SuiteTask:
    """One data set.

    Attributes:
        name: the name of its folder of results, and for --tasks.
        suites: the suites that it belongs to, of `SUITES`.
        table: one of `TABLES`.
        command: the module that trains and measures.
        folders: names that its folder may have; case and punctuation do not matter.
        columns: its columns in the table.
        is_english: whether its texts are English.
        task_name: --task_name of the command; "" if the command has no such flag.
        files: for reading, names of the train and dev files, the preferred pair first.
        measures_test: whether its published test file has labels.
        flags: flags that the data set needs; they come before the recipe's.
    """

    name: str
    suites: tuple[str, ...]
    table: str
    command: str
    folders: tuple[str, ...]
    columns: tuple[Column, ...]
    is_english: bool
    task_name: str = ""
    files: tuple[tuple[str, str], ...] = ()
    measures_test: bool = False
    flags: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name in messages."""
        return self.columns[0].title.removesuffix("-m").removesuffix(" dev")

    @property
    def is_regression(self) -> bool:
        """Whether its labels are scores."""
        found = self.task_name and classification_tasks.find_task(self.task_name)
        return bool(found) and found.labels == ()

    @property
    def with_negative(self) -> bool:
        """Whether questions may have no answer."""
        return _NEGATIVE in self.flags


@dataclasses.dataclass(frozen=True)
class FoundTask:
    """A data set whose files exist.

    Attributes:
        task: the data set.
        folder: the folder of its files.
        train: the path of its training file.
        held_out: the paths of the files to measure on.
        has_test: whether a test file is among them.
    """

    task: SuiteTask
    folder: str
    train: str
    held_out: tuple[str, ...]
    has_test: bool

    @property
    def paths(self) -> tuple[str, ...]:
        """All its files."""
        return self.train, *self.held_out


_NEGATIVE = "--version_2_with_negative"
# A Chinese character is a token.
_LONG_ANSWERS = "--max_answer_length=80"
_ACCURACY = (("accuracy", metrics.ACCURACY),)
_ACCURACY_F1 = (*_ACCURACY, ("F1", metrics.F1))
_ACCURACY_MATTHEWS = (*_ACCURACY, ("Matthews", metrics.MATTHEWS))
_SPEARMAN = (("Spearman", metrics.SPEARMAN),)
_EXACT_F1 = (("exact", "exact"), ("F1", "f1"))


def _column(title: str, figures, prefix: str = "eval") -> Column:
    return Column(
        title,
        tuple(f"{prefix}_{key}" for _, key in figures),
        tuple(name for name, _ in figures),
    )


def _glue(title: str, figures, columns=None) -> SuiteTask:
    return SuiteTask(
        name=title.lower(),
        suites=("glue",),
        table=GLUE,
        command=CLASSIFIER,
        folders=(title,),
        columns=columns or (_column(title, figures),),
        is_english=True,
        task_name=title.lower(),
    )


def _chinese(name: str, columns, folders=(), **settings) -> SuiteTask:
    values = {"command": CLASSIFIER, "task_name": name, "suites": ("clue",)} | settings
    return SuiteTask(
        name=name,
        table=CHINESE,
        folders=(name, *folders),
        columns=tuple(columns if values.get("measures_test", True) else columns[:1]),
        is_english=False,
        **values,
    )


def _embeddings(name: str, title: str, folders=(), **settings) -> SuiteTask:
    """A set of pairs with classes, against which cosines are ranked."""
    return _chinese(
        f"{name}-embeddings",
        _tested(f"{title} embeddings", _SPEARMAN),
        (name, *folders),
        suites=("sentences",),
        command=SENTENCES,
        task_name=name,
        **{"measures_test": True} | settings,
    )


def _tested(title: str, figures) -> tuple[Column, Column]:
    return (
        _column(f"{title} dev", figures),
        _column(f"{title} test", figures, tables.TEST),
    )


def _reading(name, title, suites, folders, files, **settings) -> SuiteTask:
    return SuiteTask(
        name=name,
        suites=suites,
        table=READING,
        command=READER,
        folders=folders,
        columns=(_column(title, _EXACT_F1),),
        files=files,
        **settings,
    )


_BQ = ("bq_corpus", "bqcorpus")
_STS_B_ZH = ("sts-b-zh", "zh-sts-b", "cnsd", "cnsd-sts")
_SQUAD_FOLDERS = ("squad", "squad_en", "squad1", "squad1.1", "squad2", "squad2.0")
_TASKS = (
    # In the order of the columns of the reference collection's table.
    _glue("CoLA", _ACCURACY_MATTHEWS),
    _glue("SST-2", _ACCURACY),
    _glue("MRPC", _ACCURACY_F1),
    _glue("STS-B", _SPEARMAN),
    _glue("QQP", _ACCURACY_F1),
    _glue(
        "MNLI",
        _ACCURACY,
        (_column("MNLI-m", _ACCURACY), _column("MNLI-mm", _ACCURACY, "eval_2")),
    ),
    _glue("QNLI", _ACCURACY),
    _glue("RTE", _ACCURACY),
    _glue("WNLI", _ACCURACY),
    _chinese(
        "chnsenticorp",
        (
            *_tested("ChnSentiCorp", _ACCURACY),
            # The training file holds some of the test reviews.
            _column("ChnSentiCorp test, unseen", _ACCURACY, "test_unseen"),
        ),
        measures_test=True,
    ),
    _chinese("afqmc", (_column("AFQMC", _ACCURACY_F1),)),
    _chinese("lcqmc", _tested("LCQMC", _ACCURACY), measures_test=True),
    _chinese("bq", _tested("BQ", _ACCURACY), _BQ, measures_test=True),
    _chinese("ocnli", (_column("OCNLI", _ACCURACY),)),
    _chinese("thucnews", _tested("THUCNews", _ACCURACY), measures_test=True),
    _chinese("sts-b-zh", _tested("STS-B-zh", _SPEARMAN), _STS_B_ZH, measures_test=True),
    _chinese(
        "sts-b-zh-embeddings",
        _tested("STS-B-zh embeddings", _SPEARMAN),
        _STS_B_ZH,
        suites=("clue", "sentences"),
        command=SENTENCES,
        task_name="sts-b-zh",
        measures_test=True,
    ),
    # CLUE's test file has no labels.
    _embeddings("afqmc", "AFQMC", measures_test=False),
    _embeddings("lcqmc", "LCQMC"),
    _embeddings("bq", "BQ", _BQ),
    _embeddings("paws-x", "PAWS-X", ("paws-x-zh",)),
    _reading(
        "cmrc2018",
        "CMRC 2018",
        ("clue", "squad"),
        ("cmrc2018", "cmrc"),
        (("cmrc2018_train.json", "cmrc2018_dev.json"), ("train.json", "dev.json")),
        is_english=False,
        flags=(_LONG_ANSWERS,),
    ),
    _reading(
        "drcd",
        "DRCD",
        ("squad",),
        ("drcd",),
        (("DRCD_training.json", "DRCD_dev.json"), ("train.json", "dev.json")),
        is_english=False,
        flags=(_LONG_ANSWERS,),
    ),
    _reading(
        "squad1.1",
        "SQuAD 1.1",
        ("squad",),
        _SQUAD_FOLDERS,
        (("train-v1.1.json", "dev-v1.1.json"),),
        is_english=True,
    ),
    _reading(
        "squad2.0",
        "SQuAD 2.0",
        ("squad",),
        _SQUAD_FOLDERS,
        (("train-v2.0.json", "dev-v2.0.json"),),
        is_english=True,
        flags=(_NEGATIVE,),
    ),
)
TASKS = {task.name: task for task in _TASKS}


def choose_tasks(suites: Sequence[str], names: Sequence[str]) -> list[SuiteTask]:
    """Return the tasks of some suites, each once.

    Args:
        suites: names of `SUITES`.
        names: the tasks to choose from them; empty for all.

    Raises:
        ValueError: a suite is unknown, or none of the suites has a task of that name.
    """
    for suite in suites or [""]:
        if suite not in SUITES:
            raise ValueError(
                f"--suite={suite} is unknown: name one or more of "
                f"{', '.join(SUITES)}, with commas between them."
            )
    chosen = [task for task in _TASKS if set(task.suites) & set(suites)]
    known = [task.name for task in chosen]
    for name in names:
        if name not in known:
            raise ValueError(
                f"--tasks: {name!r} is no task of --suite={','.join(suites)}, whose "
                f"tasks are {', '.join(known)}: name some of these."
            )
    return [task for task in chosen if not names or task.name in names]


def find_tasks(
    tasks: Sequence[SuiteTask], data_dir: str
) -> tuple[list[FoundTask], dict[str, str]]:
    """Look for the files of tasks.

    Args:
        tasks: the tasks to look for.
        data_dir: the folder that holds a folder for each, perhaps in a folder glue or
            clue; files for reading may also lie in `data_dir` itself.

    Returns:
        The tasks whose training and dev files exist, and for the others title -> what
        was missing.

    Raises:
        ValueError: there is no such folder, or it holds no task's data.
    """
    if not storage.isdir(data_dir):
        raise ValueError(
            f"--data_dir={data_dir} is no folder: name the one that holds the data "
            "sets' folders."
        )
    folders = _list_folders(data_dir)
    found, missing = [], {}
    for task in tasks:
        places = [folder for plain, folder in folders if plain in _plain_names(task)]
        if task.files:
            places.append(data_dir)
        kept, lacking = _look_in(task, places)
        if kept is None:
            missing[task.title] = lacking
        else:
            found.append(kept)
    if not found:
        wanted = "; ".join(f"{title}: {what}" for title, what in missing.items())
        raise ValueError(
            f"--data_dir={data_dir} holds the data of none of the tasks ({wanted}): "
            "name the folder that holds the data sets' folders."
        )
    return found, missing


def _look_in(task: SuiteTask, places) -> tuple[FoundTask | None, str]:
    """Return the task in the first folder that has its files, or what is missing."""
    lacking = f"no folder {task.folders[0]}"
    if task.files:
        where = " or ".join(places)
        lacking = f"no {' with '.join(task.files[0])} in {where}"
    for place in places:
        for train, held_out, test in _list_files(task, place):
            paths = [os.path.join(place, name) for name in (train, *held_out)]
            absent = [path for path in paths if not storage.exists(path)]
            if not absent:
                tested = [os.path.join(place, name) for name in test]
                tested = [path for path in tested if storage.exists(path)]
                held_out = (*paths[1:], *tested)
                return FoundTask(task, place, paths[0], held_out, bool(tested)), ""
            if not task.files:
                lacking = f"no {' and no '.join(absent)}"
    return None, lacking


def _list_files(task: SuiteTask, place: str):
    """Yield (training file, dev files, test files), the preferred ones first."""
    if task.files:
        for train, dev in task.files:
            yield train, (dev,), ()
        return
    layout = classification_tasks.find_task(task.task_name).find_layout(place)
    yield layout.train, layout.dev, layout.test if task.measures_test else ()


def _list_folders(data_dir: str) -> list[tuple[str, str]]:
    """Return (plain name, path) of the folders one and two levels down."""
    found = []
    for path in _list_subfolders(data_dir):
        found.append((_plain(os.path.basename(path)), path))
        if found[-1][0] in _PARENTS:
            found += [
                (_plain(os.path.basename(inner)), inner)
                for inner in _list_subfolders(path)
            ]
    return found


def _list_subfolders(folder: str) -> list[str]:
    names = sorted(name.rstrip("/") for name in storage.listdir(folder))
    paths = [os.path.join(folder, name) for name in names]
    return [path for path in paths if storage.isdir(path)]


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _plain_names(task: SuiteTask) -> set[str]:
    plain = {_plain(name) for name in task.folders}
    if task.is_english:
        return plain
    # As CLUE's archives and some mirrors name them.
    return plain | {f"{name}public" for name in plain} | {f"zh{name}" for name in plain}
