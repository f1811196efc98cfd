"""What a run tells: the step line, TensorBoard, curves and eval_results.txt."""

import collections
import contextlib
import datetime
import math
import os
import sys
import time
from collections.abc import Iterator

import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from bert_cn.pretraining import losses

CURVES_FILE = "loss_curve.png"
EVAL_RESULTS_FILE = "eval_results.txt"
SAMPLES_FILE = "eval_samples.md"
# Training waits for input where more than this share of the time goes there.
_MOST_INPUT_SHARE = 0.2
_LINE_METRICS = (
    losses.LOSS,
    losses.MASKED_LM_ACCURACY,
    *losses.SENTENCE_ACCURACIES,
)
# The panels of the curves: tags of the training and evaluation scalars, of which the
# first that a run has is drawn and gives the title.
_PANELS = (
    (losses.LOSS,),
    (losses.MASKED_LM_ACCURACY,),
    losses.SENTENCE_ACCURACIES,
    ("learning_rate",),
)


class StepReporter:
    """Prints one line and writes TensorBoard scalars per reported interval.

    Args:
        log_dir: folder of the TensorBoard files.
        schedule: `optimization.WarmupPolynomialDecay` of the run.
        batch_size: records per update over all replicas.
        step: updates made before this run began.
    """

    def __init__(self, log_dir: str, schedule, batch_size: int, step: int):
        self._writer = tf.summary.create_file_writer(log_dir)
        self._schedule = schedule
        self._num_train_steps = schedule.num_train_steps
        self._batch_size = batch_size
        self._last_step = step
        self._last_time = time.monotonic()
        self._reported, self._waits = False, False

    @property
    def seconds_since_report(self) -> float:
        """Seconds since the last line or the start, without those of `stop_clock`."""
        return time.monotonic() - self._last_time

    def report(
        self, step: int, metrics: dict[str, float], input_seconds: float = math.nan
    ) -> None:
        """Report metrics averaged over the steps since the last report.

        Args:
            step: updates made so far.
            metrics: from `losses.summarize`.
            input_seconds: since the last report, spent waiting for input; not a number
                if unknown.
        """
        # That of the last update, before which step - 1 had been made.
        learning_rate = float(self._schedule(step - 1))
        seconds = max(self.seconds_since_report, 1e-9)
        steps = step - self._last_step
        rate = steps / seconds * self._batch_size
        left = (self._num_train_steps - step) * seconds / steps
        shown = "".join(
            f"  {name} {metrics[name]:.4f}" for name in _LINE_METRICS if name in metrics
        )
        scalars = {
            **metrics,
            "learning_rate": learning_rate,
            "sequences_per_second": rate,
        }
        wait = ""
        if not math.isnan(input_seconds):
            wait = f"  input wait {input_seconds / steps * 1000:.1f} ms/step"
            scalars["input_wait_ms_per_step"] = input_seconds / steps * 1000
            scalars["input_wait_share"] = input_seconds / seconds
        print(
            f"step {step}/{self._num_train_steps}{shown}"
            f"  learning_rate {learning_rate:.3e}"
            f"  {rate:.1f} sequences/s{wait}"
            f"  ETA {datetime.timedelta(seconds=round(left))}",
            flush=True,
        )
        self._warn_of_waiting(step, input_seconds / seconds)
        write_scalars(self._writer, scalars, step)
        self._last_step, self._last_time = step, time.monotonic()

    def _warn_of_waiting(self, step: int, share: float) -> None:
        """Warn where it begins; the first interval fills buffers and is left out."""
        waits = share > _MOST_INPUT_SHARE and self._reported
        if waits and not self._waits:
            print(
                f"warning: from step {self._last_step} to {step} training waited for "
                f"input {share:.0%} of the time: put the records on a local disk or "
                "into more files (4 are read at once), or give the host more cores.",
                file=sys.stderr,
            )
        self._waits, self._reported = waits, True

    @contextlib.contextmanager
    def stop_clock(self) -> Iterator[None]:
        """Leave the time of what is done inside, such as an evaluation, out of rates.

        The steps since the last report, and their time, still count.
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
    path = os.path.join(output_dir, SAMPLES_FILE)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(f"Step {step}\n\n{table}\n")
    return path


def write_eval_results(output_dir: str, metrics: dict[str, float], step: int) -> str:
    """Write eval_results.txt with Google BERT's keys; returns its path."""
    path = os.path.join(output_dir, EVAL_RESULTS_FILE)
    values = {**metrics, "global_step": step}
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        for name in sorted(values):
            file.write(f"{name} = {values[name]}\n")
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
    return path


def read_eval_results(output_dir: str) -> dict[str, float]:
    """Return what `write_eval_results` wrote; nothing if there is no such file."""
    path = os.path.join(output_dir, EVAL_RESULTS_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path, "r") as file:
        pairs = (line.rstrip().split(" = ") for line in file)
        return {name: float(value) for name, value in pairs}


def remove_eval_results(output_dir: str) -> None:
    """Remove what `write_eval_results` wrote, if it did."""
    path = os.path.join(output_dir, EVAL_RESULTS_FILE)
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def read_evaluated_step(output_dir: str) -> int | None:
    """Return the step of the last evaluation that came to its end, or None."""
    values = read_eval_results(output_dir)
    return int(values["global_step"]) if values else None


def log_dir(output_dir: str, name: str) -> str:
    """Return the folder of a run's TensorBoard files: `name` is train or eval."""
    return os.path.join(output_dir, "tensorboard", name)


def draw_run(output_dir: str) -> None:
    """Draw the curves of a run into its folder and say where they are."""
    path = os.path.join(output_dir, CURVES_FILE)
    log_dirs = {name: log_dir(output_dir, name) for name in ("train", "eval")}
    if draw_curves(log_dirs, path):
        print(f"Curves: {path}")
        print(f"TensorBoard: tensorboard --logdir={log_dir(output_dir, '')}")


def draw_curves(log_dirs: dict[str, str], path: str) -> bool:
    """Draw the curves of a run, all its resumptions included, from TensorBoard files.

    Args:
        log_dirs: label -> folder with event files, such as {"train": ..., "eval": ...}.
        path: where the PNG goes.

    Returns:
        False if there was nothing to draw yet.
    """
    # Here, because it takes a second to import and a step line needs none of it.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = {label: _read_scalars(folder) for label, folder in log_dirs.items()}
    if not any(curves.values()):
        return False
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    known = {tag for scalars in curves.values() for tag in scalars}
    for axis, tags in zip(axes.flat, _PANELS, strict=True):
        tag = next((tag for tag in tags if tag in known), tags[0])
        for label, scalars in curves.items():
            if points := scalars.get(tag):
                style = "-" if len(points) > 1 else "o"
                axis.plot(list(points), list(points.values()), style, label=label)
        axis.set_title(tag)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(loc="best")
    with tf.io.gfile.GFile(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    return True


def _read_scalars(folder: str) -> dict[str, dict[int, float]]:
    """Return tag -> {step: value}; what a resumed run wrote again wins."""
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
