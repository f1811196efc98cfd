"""The results of finished runs, their mean and deviation over seeds."""

import collections
import dataclasses
import math
import os
import statistics
from collections.abc import Iterable

from bert_cn.finetuning import metrics
from bert_cn.suite import baselines as baselines_lib
from bert_cn.suite import model as model_lib
from bert_cn.suite import tasks
from data_prep import storage
from data_prep.records import manifest

RESULT_FILE = "result.json"
_ROW_FILE = "row.json"
_READ = tasks.READER
_CORRELATIONS = (metrics.MATTHEWS, metrics.PEARSON, metrics.SPEARMAN)
# Standard deviations below which 97.5 % of a normal distribution lies.
_NORMAL_975 = 1.96


@dataclasses.dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        row: the name of its row.
        task: the name of its task.
        seed: its random seed.
        identity: everything that its figures depend on.
        values: key of eval_results.txt -> figure in percent.
        baselines: key -> the figure of the majority class.
        minutes: how long it took.
    """

    row: str
    task: str
    seed: int
    identity: dict
    values: dict[str, float]
    baselines: dict[str, baselines_lib.Baseline]
    minutes: float


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure over seeds.

    Attributes:
        mean: in percent.
        deviation: sample standard deviation over seeds; None for a single seed.
        count: the number of seeds.
        baseline: the figure of the majority class on the same examples.
        minutes: the mean time of a run.
        margin: the most that chance may add to the baseline, see `chance_margin`.
    """

    mean: float
    deviation: float | None
    count: int
    baseline: baselines_lib.Baseline
    minutes: float
    margin: float

    @property
    def has_signal(self) -> bool:
        """Whether it is above the majority class by more than chance.

        A correlation is compared with 0, run_classifier's figure for a constant.
        """
        return round(self.mean, 2) > round((self.baseline.value or 0) + self.margin, 2)


@dataclasses.dataclass(frozen=True)
class RowInfo:
    """The table's words about a row.

    Attributes:
        name: the row's name.
        of: the row whose random twin it is, or its own name.
        checkpoint: the weights that it started from.
        num_parameters: the encoder's parameters.
        lower_case: whether Chinese texts were lower-cased.
        english_lower_case: whether English ones were.
        has_capitals: whether the vocabulary has tokens with A to Z.
        sha256: see `model.Row`; "" if an older suite did not note it.
    """

    name: str
    of: str
    checkpoint: str
    num_parameters: int
    lower_case: bool
    english_lower_case: bool
    has_capitals: bool
    sha256: str = ""


def percent(command: str, values: dict[str, float]) -> dict[str, float]:
    """Return figures in percent: run_squad writes percent, the others write shares."""
    scale = 1 if command == _READ else 100
    return {key: scale * value for key, value in values.items()}


def write_result(folder: str, result: Result) -> None:
    """Write result.json; a run that has it counts as finished."""
    manifest.write_json(os.path.join(folder, RESULT_FILE), dataclasses.asdict(result))


def remove_result(folder: str) -> None:
    """Remove a finished run's result.json, so that the run does not count any more."""
    path = os.path.join(folder, RESULT_FILE)
    if storage.exists(path):
        storage.remove(path)


def read_result(folder: str) -> Result | None:
    """Read a finished run's result.json; None if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = os.path.join(folder, RESULT_FILE)
    if not storage.exists(path):
        return None
    try:
        values = storage.read_json(path)
        values["baselines"] = {
            key: baselines_lib.Baseline(**each)
            for key, each in values["baselines"].items()
        }
        return Result(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no result of a run ({error}): remove it, and the run is made "
            "again."
        ) from error


def write_row(output_dir: str, row: model_lib.Row, checkpoint: str) -> None:
    """Make a row's folder, with row.json and the files that its runs need."""
    info = RowInfo(
        row.name,
        row.of,
        "random weights" if row.is_random else checkpoint,
        row.model.num_parameters,
        row.model.lower_case(is_english=False),
        row.model.lower_case(is_english=True),
        row.model.has_capitals,
        row.sha256,
    )
    folder = os.path.join(output_dir, row.name)
    storage.makedirs(folder)
    model_lib.write_start_files(row, output_dir)
    manifest.write_json(os.path.join(folder, _ROW_FILE), dataclasses.asdict(info))


def read_all(output_dir: str) -> tuple[list[RowInfo], list[Result]]:
    """Read all rows of a folder, earlier ones included, and their finished runs.

    Random twins follow their row. Runs of other weights are left out: --overwrite has
    not repeated them yet.
    """
    rows, results = [], []
    for name in sorted(storage.listdir(output_dir)):
        folder = os.path.join(output_dir, name.rstrip("/"))
        path = os.path.join(folder, _ROW_FILE)
        if storage.exists(path):
            row = RowInfo(**storage.read_json(path))
            rows.append(row)
            results += [
                each
                for each in read_runs(folder)
                if not row.sha256 or each.identity["model_sha256"] == row.sha256
            ]
    rows.sort(key=lambda row: (row.of, row.name != row.of))
    return rows, results


def read_runs(folder: str) -> list[Result]:
    """Read all finished runs in the folder of a row."""
    found = []
    for task in tasks.TASKS:
        place = os.path.join(folder, task)
        names = sorted(storage.listdir(place)) if storage.isdir(place) else []
        for name in names:
            result = read_result(os.path.join(place, name.rstrip("/")))
            if result is not None:
                found.append(result)
    return found


def summarize(results: Iterable[Result]) -> dict[tuple[str, str, str], Figure]:
    """Return (row, task, key) -> figure over seeds, for keys that have a baseline."""
    groups = collections.defaultdict(list)
    for result in results:
        for key in result.baselines:
            if key in result.values:
                groups[result.row, result.task, key].append(result)
    return {group: _summarize(runs, group[2]) for group, runs in groups.items()}


def chance_margin(key: str, baseline: baselines_lib.Baseline) -> float:
    """Return 1.96 standard errors of a figure that equals its baseline, in percent.

    The standard error of a share p of n examples is sqrt(p (1 - p) / n), and about the
    same for F1. That of a correlation of 0 is 1 / sqrt(n - 1) (Kendall, Rank
    Correlation Methods, 1948); Matthews is a correlation of zeros and ones. More seeds
    do not make it smaller, because they are measured on the same examples.
    """
    count = baseline.num_examples
    if count < 2:
        return math.inf
    if baseline.value is None or key.endswith(_CORRELATIONS):
        return 100 * _NORMAL_975 / math.sqrt(count - 1)
    share = baseline.value / 100
    return 100 * _NORMAL_975 * math.sqrt(share * (1 - share) / count)


def _summarize(runs: list[Result], key: str) -> Figure:
    values = [run.values[key] for run in runs]
    return Figure(
        statistics.fmean(values),
        statistics.stdev(values) if len(values) > 1 else None,
        len(values),
        runs[0].baselines[key],
        statistics.fmean(run.minutes for run in runs),
        chance_margin(key, runs[0].baselines[key]),
    )
