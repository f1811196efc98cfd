"""Reports of a run: the step line, TensorBoard, curves and eval_results.txt."""

import collections
import contextlib
import datetime
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from bert_cn.training import run_files, stop_request
from data_prep import storage, web_page

# The step line.
_MOST_COLUMNS = 80
_GAP = "  "
# A run that waits for input for more than this share of its time gets a warning.
_MAX_INPUT_SHARE = 0.2


def _fit(parts: Sequence[str], first_to_go: str) -> str:
    """Join the parts of a line; one is left out if the line is too long with it.

    Args:
        parts: of the line; empty ones are no part.
        first_to_go: the beginning of the part that can be left out.
    """
    line = _GAP.join(filter(None, parts))
    if len(line) <= _MOST_COLUMNS:
        return line
    return _GAP.join(x for x in parts if x and not x.startswith(first_to_go))


class StepReporter:
    """Prints one line and writes TensorBoard scalars per reported interval.

    Args:
        log_dir: folder of the TensorBoard files.
        schedule: `schedules.WarmupSchedule` of the run.
        batch_size: records per update over all replicas.
        step: updates made before this run began.
        describe_metrics: metrics -> what the line says of them, in parts; TensorBoard
            gets all metrics.

    Attributes:
        has_noted: whether a note was printed, see `note`.
    """

    def __init__(
        self,
        log_dir: str,
        schedule,
        batch_size: int,
        step: int,
        describe_metrics: Callable[[dict[str, float]], list[str]],
    ):
        self._writer = tf.summary.create_file_writer(log_dir)
        self._schedule = schedule
        self._batch_size = batch_size
        self._describe_metrics = describe_metrics
        self._last_step = step
        self._last_time = time.monotonic()
        self._reported, self._waits = False, False
        self.has_noted = False

    @property
    def seconds_since_report(self) -> float:
        """Seconds since the last line or the start, those in `stop_clock` left out."""
        return time.monotonic() - self._last_time

    def report(
        self, step: int, metrics: dict[str, float], input_seconds: float = math.nan
    ) -> None:
        """Report metrics averaged over the steps since the last report.

        Args:
            step: updates made so far.
            metrics: name -> mean over those steps.
            input_seconds: seconds spent waiting for input since the last report; NaN if
                unknown.
        """
        # The last update had this rate: step - 1 updates had been made before it.
        learning_rate = float(self._schedule(step - 1))
        seconds = max(self.seconds_since_report, 1e-9)
        steps = step - self._last_step
        rate = steps / seconds * self._batch_size
        scalars = {
            **metrics,
            "learning_rate": learning_rate,
            "sequences_per_second": rate,
        }
        if not math.isnan(input_seconds):
            scalars["input_wait_ms_per_step"] = input_seconds / steps * 1000
            scalars["input_wait_share"] = input_seconds / seconds
        left = ""
        if self._reported:
            # The first interval holds what happens once, such as compiling.
            left = self._describe_time_left(step, seconds / steps)
        line = [
            self._describe_step(step),
            *self._describe_metrics(metrics),
            f"lr {learning_rate:.1e}",
            f"{rate:,.0f} seq/s" if rate >= 10 else f"{rate:.2g} seq/s",
            left,
        ]
        stop_request.print_line(_fit(line, "lr "))
        self._warn_of_waiting(step, input_seconds / seconds)
        write_scalars(self._writer, scalars, step)
        self._last_step, self._last_time = step, time.monotonic()

    def _describe_step(self, step: int) -> str:
        last_step = self._schedule.last_step(step)
        about = "~" if self._schedule.is_estimate and step < last_step else ""
        return f"{step:,}/{about}{last_step:,}"

    def _describe_time_left(self, step: int, seconds_per_step: float) -> str:
        left = (self._schedule.last_step(step) - step) * seconds_per_step
        time_left = str(datetime.timedelta(seconds=round(left)))
        return f"{time_left.removeprefix('0:')} left"

    def note(self, text: str) -> None:
        """Print a note on the run if there is one, and remember that it was printed."""
        if text:
            stop_request.print_line(f"note: {text}")
            self.has_noted = True

    def _warn_of_waiting(self, step: int, share: float) -> None:
        """Warn when waiting begins, but not of the first interval: it fills buffers."""
        waits = share > _MAX_INPUT_SHARE and self._reported
        if waits and not self._waits:
            stop_request.print_line(
                f"warning: from step {self._last_step} to {step} training waited for "
                f"input {share:.0%} of the time: put the records on a local disk or "
                "into more files (4 are read at once), or give the host more cores.",
                file=sys.stderr,
            )
        self._waits, self._reported = waits, True

    @contextlib.contextmanager
    def stop_clock(self) -> Iterator[None]:
        """Leave the time inside, such as an evaluation's, out of the reported rates.

        The steps since the last report and their own time still count.
        """
        begin = time.monotonic()
        yield
        self._last_time += time.monotonic() - begin


def write_scalars(writer, scalars: dict[str, float], step: int) -> None:
    """Write scalars of one step to TensorBoard and flush."""
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.flush()


def write_samples(writer, output_dir: str, table: str, step: int) -> str:
    """Write a Markdown table of sample fillings to TensorBoard and beside the results.

    Returns:
        The path of the file.
    """
    with writer.as_default(step=step):
        tf.summary.text("sample_fillings", table)
    writer.flush()
    path = os.path.join(output_dir, run_files.SAMPLES_FILE)
    legend = (
        f"Step {step:,}. [token {web_page.GOOD}] was predicted; [token {web_page.BAD} "
        "other] was not, the other was."
    )
    storage.write_whole(path, f"{legend}\n\n{table}\n")
    return path


def write_eval_results(output_dir: str, metrics: dict[str, float], step: int) -> str:
    """Write eval_results.txt with Google BERT's keys; returns its path."""
    path = os.path.join(output_dir, run_files.EVAL_RESULTS_FILE)
    values = {**metrics, "global_step": step}
    lines = [f"{name} = {values[name]}\n" for name in sorted(values)]
    storage.write_whole(path, "".join(lines))
    return path


def read_eval_results(output_dir: str) -> dict[str, float]:
    """Return the values of eval_results.txt by name; {} if there is no such file."""
    path = os.path.join(output_dir, run_files.EVAL_RESULTS_FILE)
    if not storage.exists(path):
        return {}
    lines = storage.read_bytes(path).decode("utf-8").splitlines()
    pairs = (line.rstrip().split(" = ") for line in lines)
    return {name: float(value) for name, value in pairs}


def remove_eval_results(output_dir: str) -> None:
    """Remove eval_results.txt, if it is there."""
    path = os.path.join(output_dir, run_files.EVAL_RESULTS_FILE)
    if storage.exists(path):
        storage.remove(path)


def read_evaluated_step(output_dir: str) -> int | None:
    """Return the step of the last evaluation that was completed, or None."""
    values = read_eval_results(output_dir)
    return int(values["global_step"]) if values else None


def log_dir(output_dir: str, name: str) -> str:
    """Return the folder of a run's TensorBoard files: `name` is train or eval."""
    return os.path.join(output_dir, "tensorboard", name)


def draw_run(output_dir: str, panels: Sequence[Sequence[str]]) -> None:
    """Draw the curves of a run into its folder and say where they are.

    Args:
        output_dir: the run's folder.
        panels: see `draw_curves`.
    """
    path = os.path.join(output_dir, run_files.CURVES_FILE)
    log_dirs = {name: log_dir(output_dir, name) for name in ("train", "eval")}
    if draw_curves(log_dirs, path, panels):
        print(f"Curves: {path}")
        print(f"TensorBoard: tensorboard --logdir={log_dir(output_dir, '')}")


def draw_curves(
    log_dirs: dict[str, str], path: str, panels: Sequence[Sequence[str]]
) -> bool:
    """Draw the curves of a run, including its resumed parts, from TensorBoard files.

    Args:
        log_dirs: label -> folder with event files, such as {"train": ..., "eval": ...}.
        path: where the PNG goes.
        panels: tags of scalars for each of at most four panels. A panel draws the first
            of its tags that the run has, and takes it as its title; one without such a
            tag is left out.

    Returns:
        False if there was nothing to draw yet.
    """
    # Imported here because it takes a second and a step line does not need it.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = {label: read_scalars(folder) for label, folder in log_dirs.items()}
    if not any(curves.values()):
        return False
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    known = {tag for scalars in curves.values() for tag in scalars}
    drawn = [next((tag for tag in tags if tag in known), None) for tags in panels]
    drawn = list(filter(None, drawn))
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    for axis, tag in zip(axes.flat, drawn, strict=False):
        for label, scalars in curves.items():
            if points := scalars.get(tag):
                style = "-" if len(points) > 1 else "o"
                axis.plot(list(points), list(points.values()), style, label=label)
        # What always answering the majority gives, where that was measured.
        majority = curves.get("eval", {}).get(re.sub("accuracy$", "majority", tag))
        if tag.endswith("accuracy") and majority:
            level = list(majority.values())[-1]
            axis.axhline(level, ls="--", color="gray", label="majority")
        axis.set_title(tag)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(loc="best")
    with tf.io.gfile.GFile(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    return True


def read_scalars(folder: str) -> dict[str, dict[int, float]]:
    """Return tag -> {step: value}; a value that a resumed run wrote again wins."""
    if not tf.io.gfile.exists(folder):
        return {}
    events = event_accumulator.EventAccumulator(
        folder, size_guidance={event_accumulator.TENSORS: 0}
    )
    events.Reload()
    scalars: dict[str, dict[int, float]] = collections.defaultdict(dict)
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name != "scalars":
            continue
        for event in sorted(events.Tensors(tag), key=lambda event: event.wall_time):
            scalars[tag][event.step] = float(tf.make_ndarray(event.tensor_proto))
    return {tag: dict(sorted(points.items())) for tag, points in scalars.items()}
