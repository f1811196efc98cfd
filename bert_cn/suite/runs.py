"""The runs of the suite: commands, one after another; finished ones are kept."""

import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import tqdm

from bert_cn.suite import baselines, model, recipes, results, tasks
from bert_cn.training import run_files
from data_prep import storage

# The commands' default seed; more runs take the seeds that follow it.
_FIRST_SEED = 12345
_LOG_FILE = "log.txt"
_CURVES_FOLDER = "tensorboard"
# The cost of starting a run, as bytes of training data.
_BYTES_OF_START = 200_000
_SECONDS_TO_END = 10.0
_LINE_WIDTH = 60
# A command's, or absl's, last sentence follows one of these.
_ERROR_MARKS = (": error: ", "FATAL Flags parsing error: ")

# Runs a command, gives each line of its output to a function, returns its exit code.
Runner = Callable[[Sequence[str], Callable[[str], None]], int]


@dataclasses.dataclass(frozen=True)
class Run:
    """One command to run.

    Attributes:
        row: the model that it starts from.
        found: the data.
        seed: its random seed.
        flags: the flags of the data set and the recipe.
        folder: the folder of its output.
        cache_dir: the folder of encoded examples, which runs share.
    """

    row: model.Row
    found: tasks.FoundTask
    seed: int
    flags: tuple[str, ...]
    folder: str
    cache_dir: str

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.row.name}  {self.found.task.name}  seed {self.seed}"

    @property
    def settings(self) -> tuple[str, ...]:
        """The flags that its figures depend on, besides data and weights."""
        lower = self.row.model.lower_case(self.found.task.is_english)
        return (*self.flags, f"--do_lower_case={lower}", f"--random_seed={self.seed}")

    @property
    def command(self) -> list[str]:
        """The command line."""
        found = self.found
        if found.task.command == tasks.READER:
            data = [f"--train_file={found.train}", f"--dev_file={found.held_out[0]}"]
        else:
            data = [f"--task_name={found.task.task_name}", f"--data_dir={found.folder}"]
            if found.has_test:
                data.append("--do_predict")
        return [
            *(sys.executable, "-m", found.task.command),
            *self.row.start_flags,
            *data,
            *self.settings,
            *("--do_train", "--do_eval", "--overwrite"),
            f"--cache_dir={self.cache_dir}",
            f"--output_dir={self.folder}",
        ]

    def identify(self) -> dict:
        """Return everything that its figures depend on, without paths."""
        return {
            "command": self.found.task.command,
            "flags": list(self.settings),
            "model_sha256": self.row.sha256,
            "data_sha256": baselines.hash_data(self.found),
        }


def plan_runs(
    rows: Sequence[model.Row],
    found: Sequence[tasks.FoundTask],
    recipe: recipes.Recipe,
    num_seeds: int,
    output_dir: str,
) -> list[Run]:
    """Return all runs, task after task: so rows can be compared early."""
    return [
        Run(
            row,
            each,
            seed,
            (*each.task.flags, *recipe.flags_of(each.task)),
            os.path.join(output_dir, row.name, each.task.name, f"seed_{seed}"),
            os.path.join(output_dir, "cache"),
        )
        for each in found
        for seed in list_seeds(num_seeds)
        for row in rows
    ]


def list_seeds(num_seeds: int) -> list[int]:
    """Return the random seeds; they are always the same."""
    return list(range(_FIRST_SEED, _FIRST_SEED + num_seeds))


def leave_out_finished(plan: Sequence[Run], overwrite: bool) -> list[Run]:
    """Return the runs that are not finished yet.

    Args:
        plan: all runs.
        overwrite: whether to repeat runs that were finished with other settings.

    Raises:
        ValueError: a run was finished with other settings, data or weights.
    """
    left = []
    for run in plan:
        finished = results.read_result(run.folder)
        if finished is None:
            left.append(run)
        elif difference := _find_difference(finished.identity, run.identify()):
            if not overwrite:
                raise ValueError(
                    f"{run.folder!r} holds the result of another run ({difference}): "
                    "name another --output_dir or another row by --name, or pass "
                    "--overwrite to run it again."
                )
            left.append(run)
    return left


def list_unfinished(plan: Sequence[Run]) -> list[str]:
    """Return the names of the runs that have no result."""
    return [run.name for run in plan if results.read_result(run.folder) is None]


def refuse_mixtures(plan: Sequence[Run], left: Sequence[Run], output_dir: str) -> None:
    """Refuse to mix figures that do not belong into one row, or into one mean.

    Args:
        plan: all runs.
        left: the runs that are left; their older results do not count.
        output_dir: the suite's folder.

    Raises:
        ValueError: a row's folder holds results of other weights, or of other settings
            with seeds that are not in the plan.
    """
    planned = {(run.row.name, run.found.task.name): run for run in plan}
    replaced = {run.folder for run in left}
    for row in {run.row.name: run.row for run in plan}.values():
        folder = os.path.join(output_dir, row.name)
        for finished in results.read_runs(folder):
            place = os.path.join(folder, finished.task, f"seed_{finished.seed}")
            if place in replaced:
                continue
            run = planned.get((row.name, finished.task))
            now = {**finished.identity, "model_sha256": row.sha256}
            if run is not None:
                now = dataclasses.replace(run, seed=finished.seed).identify()
            if difference := _find_difference(finished.identity, now):
                raise ValueError(
                    f"{place!r} holds a result that does not belong into one table "
                    f"with these runs ({difference}): name another row by --name or "
                    "another --output_dir, or remove it."
                )


def _find_difference(then: dict, now: dict) -> str:
    """Say how two identities differ; "" if they do not."""
    for key, what in (
        ("model_sha256", "it started from other weights or sizes"),
        ("data_sha256", "the data set has changed"),
    ):
        if then.get(key) != now[key]:
            return what
    old, new = then.get("flags", []), now["flags"]
    if sorted(old) == sorted(new) and then.get("command") == now["command"]:
        return ""
    changed = [flag for flag in old if flag not in new] or ["none of the others"]
    added = [flag for flag in new if flag not in old] or ["without that"]
    return f"then {' '.join(changed)}, now {' '.join(added)}"


def run_command(command: Sequence[str], show: Callable[[str], None]) -> int:
    """Run a command as a process; see `Runner`.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and the process has ended.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            for line in process.stdout:
                show(line.rstrip("\n"))
            return process.wait()
        except KeyboardInterrupt:
            # A terminal interrupts both; nothing that the process did is needed.
            process.terminate()
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def run_all(
    left: Sequence[Run],
    runner: Runner = run_command,
    keep_models: bool = False,
    num_finished: int = 0,
) -> list[str]:
    """Run what is left, with a line for each run that ends.

    Args:
        left: from `leave_out_finished`; their older results are removed at once.
        runner: runs the commands.
        keep_models: whether fine-tuned models stay.
        num_finished: how many runs an earlier command finished.

    Returns:
        A sentence for each run that failed.
    """
    for run in left:
        # Its settings were others: it must not enter a mean with new results.
        results.remove_result(run.folder)
    failures = []
    clock = _Clock(left)
    total = num_finished + len(left)
    with tqdm.tqdm(
        total=total, initial=num_finished, disable=None, unit="run", leave=False
    ) as bar:
        for number, run in enumerate(left, num_finished + 1):
            bar.set_description_str(run.name)
            began = time.monotonic()
            outcome, failed = _run_one(run, runner, keep_models, bar)
            minutes = (time.monotonic() - began) / 60
            if failed:
                failures.append(f"{run.name}: {outcome}")
            bar.update()
            tqdm.tqdm.write(
                f"[{number}/{total}] {run.name}  {outcome}  {minutes:.1f} min"
                f"{clock.describe_rest(run)}"
            )
            sys.stdout.flush()
    return failures


def _run_one(run: Run, runner: Runner, keep_models: bool, bar) -> tuple[str, bool]:
    """Run one command; returns the text of its line, and whether it failed."""
    try:
        expected = baselines.compute_baselines(run.found)
    except ValueError as error:
        return f"error: {error}", True
    # They belong to a run that was interrupted, or whose result is replaced.
    _remove(run.folder, run_files.BEST_FOLDER)
    _remove(run.folder, _CURVES_FOLDER)
    storage.makedirs(run.folder)
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        bar.set_postfix_str(line[:_LINE_WIDTH])

    began = time.monotonic()
    try:
        code = runner(run.command, show)
    finally:
        _write_log(run, lines)
        if not keep_models:
            _remove(run.folder, run_files.BEST_FOLDER)
    minutes = (time.monotonic() - began) / 60
    if code:
        return f"{_find_error(lines, code)} ({_log_path(run)})", True
    values = results.percent(run.found.task.command, read_values(run.folder))
    result = results.Result(
        run.row.name,
        run.found.task.name,
        run.seed,
        run.identify(),
        {key: values[key] for key in expected if key in values},
        expected,
        minutes,
    )
    results.write_result(run.folder, result)
    return _describe(run, result), False


def read_values(folder: str) -> dict[str, float]:
    """Read the eval_results.txt that a command left."""
    data = storage.read_bytes(os.path.join(folder, run_files.EVAL_RESULTS_FILE))
    pairs = (line.split(" = ") for line in data.decode().splitlines())
    return {name: float(value) for name, value in pairs}


def _describe(run: Run, result: results.Result) -> str:
    column = run.found.task.columns[0]
    shown = []
    for key, name in zip(column.keys, column.names, strict=True):
        baseline = result.baselines[key].value
        beside = "" if baseline is None else f" (majority {baseline:.2f})"
        shown.append(f"{name} {result.values[key]:.2f}{beside}")
    return ", ".join(shown)


def _find_error(lines: Sequence[str], code: int) -> str:
    """Return the sentence that a command ended with, else its last line."""
    for line in reversed(lines):
        for mark in _ERROR_MARKS:
            if mark in line:
                return f"error: {line.partition(mark)[2]}"
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    return f"error: it ended with exit code {code}: {last.strip()}"


def _log_path(run: Run) -> str:
    return os.path.join(run.folder, _LOG_FILE)


def _write_log(run: Run, lines: Sequence[str]) -> None:
    with storage.open(_log_path(run), "w") as file:
        file.write("\n".join([shlex.join(run.command), *lines]) + "\n")


def _remove(folder: str, name: str) -> None:
    path = os.path.join(folder, name)
    if storage.isdir(path):
        storage.rmtree(path)


class _Clock:
    """Estimates the remaining time from the sizes of training files."""

    def __init__(self, left: Sequence[Run]):
        self._costs = {run: _count_bytes(run) for run in left}
        self._rest = sum(self._costs.values())
        self._done = 0
        self._began = time.monotonic()

    def describe_rest(self, run: Run) -> str:
        """Note that a run has ended; return how long the others may take."""
        self._done += self._costs[run]
        self._rest -= self._costs[run]
        if not self._rest:
            return ""
        rate = (time.monotonic() - self._began) / self._done
        return f"  about {rate * self._rest / 60:.0f} min left"


def _count_bytes(run: Run) -> int:
    return _BYTES_OF_START + storage.stat(run.found.train).length
