"""Save, restore and prune training checkpoints; `training.run_files` finds them."""

import errno
import json
import math
import os
import re
import sys

import keras
import tensorflow as tf

from bert_cn.training import run_files
from data_prep import command_line, storage

# Names in a folder: the prefix of a checkpoint's files, and where TensorFlow writes
# them first.
_PREFIX = re.compile(rf"{run_files.CHECKPOINT_NAME}-\d+(?=\.)")
_HALF_WRITTEN = re.compile(rf"{run_files.CHECKPOINT_NAME}-\d+_temp/?")
# TensorFlow's reader raises these for files that are missing, truncated or overwritten.
_DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.InvalidArgumentError,
    tf.errors.FailedPreconditionError,
    IndexError,
    RuntimeError,
)
# The reader raises many errors as a bare OpError, and only its text tells whether a
# bucket did not answer, a bucket or disk refused, or the file is damaged.
_NO_ANSWER = "retry attempts failed"
_NO_ENTRY = re.compile(rf"HTTP response code (?!404)|{os.strerror(errno.EACCES)}")
# TensorFlow's writer raises these if no space is left or a file would be too large.
_DISK_FULL = (tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError)


class TrainingCheckpoints:
    """The checkpoints of one run: model, optimizer slots, step and random states.

    The step is the optimizer's count of updates.

    Args:
        model: from `pretraining_model.build_pretraining_model`.
        optimizer: built on the model's variables.
        output_dir: where to save.
        max_to_keep: the newest checkpoints that are kept.
        restore_dir: the folder of earlier checkpoints if it is another one: only the
            chief of several hosts saves into the run's folder, but all restore from it.
        time_budget: of a run by time, whose clock is kept too.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        output_dir: str,
        max_to_keep: int,
        restore_dir: str | None = None,
        time_budget: tf.Module | None = None,
    ):
        self._optimizer = optimizer
        self._output_dir = output_dir
        self._max_to_keep = max_to_keep
        self._restore_dir = restore_dir or output_dir
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            # Keras tracks the weights of its layers, but not the states of dropout's
            # random generators, and without them a resumed run draws other masks.
            random_states=[
                v.value for v in model.variables if "seed_generator" in v.path
            ],
            **({"time_budget": time_budget} if time_budget is not None else {}),
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint,
            output_dir,
            # Pruned below: a manager does not know what a killed run had saved.
            max_to_keep=None,
            checkpoint_name=run_files.CHECKPOINT_NAME,
        )
        self._latest = next(iter(run_files.find_prefixes(self._restore_dir)), None)

    @property
    def latest(self) -> str | None:
        """Prefix of the newest checkpoint, or None."""
        return self._latest

    @property
    def latest_step(self) -> int | None:
        """The step after which the newest checkpoint was saved, or None."""
        return _read_number(self._latest) if self._latest else None

    def restore_latest(self) -> int:
        """Restore the newest checkpoint that can be read, if there is one.

        Checkpoints are tried in this order:
        1. the newest by its step, even if the file `checkpoint` names another, because
           a run may have been killed between writing the two;
        2. if it is truncated or one of its files is missing, the one before, and so on.
           Standard error names those that are passed over, and a newer one that the
           file `checkpoint` names but that is gone;
        3. none, if the run was killed in its first save.

        Returns:
            The step after which it was saved; 0 without a checkpoint.

        Raises:
            ValueError: a checkpoint does not fit the model, or none can be read.
            tf.errors.OpError: storage did not answer or refused, and the checkpoint may
                be good; UnavailableError if another try may help.
        """
        prefixes = run_files.find_prefixes(self._restore_dir)
        lost = _find_lost(self._restore_dir, prefixes)
        if lost and not prefixes:
            raise ValueError(
                f"{self._restore_dir!r} holds no checkpoint, but its file `checkpoint` "
                f"names {lost}: restore the files from a copy, name another "
                "--output_dir, or remove the file `checkpoint` to start again."
            )
        if lost:
            print(
                f"warning: checkpoint {lost}, which the file `checkpoint` in "
                f"{self._restore_dir} names, is gone or lacks its .index, and is "
                "passed over.",
                file=sys.stderr,
            )
        for prefix in prefixes:
            try:
                _restore(self._checkpoint, prefix)
            except UnreadableError as error:
                print(
                    f"warning: checkpoint {prefix} cannot be read and is passed over "
                    f"({error}).",
                    file=sys.stderr,
                )
            else:
                self._latest = prefix
                return read_step(self._optimizer)
        if len(prefixes) == 1 and not _has_saved(self._restore_dir):
            # The file `checkpoint` is written last: the first save was cut off.
            self._latest = None
            return 0
        if prefixes:
            raise ValueError(
                f"None of the {len(prefixes)} checkpoints in {self._restore_dir!r} can "
                "be read: restore the files from a copy, or name another --output_dir."
            )
        return 0

    def save(self) -> str:
        """Save under the current step and prune; returns the prefix.

        Raises:
            OSError: the disk is full; earlier checkpoints are as they were.
        """
        step = read_step(self._optimizer)
        try:
            self._latest = self._manager.save(checkpoint_number=step)
        except _DISK_FULL as error:
            self._prune(step)
            # TensorFlow names the node of its graph first.
            reason = command_line.first_line(error).rpartition("}} ")[2]
            good = f"{self._latest} stays good" if self._latest else "none was before"
            raise OSError(
                errno.ENOSPC,
                f"The checkpoint of step {step} cannot be written, {good} ({reason})",
            ) from error
        self._prune(step)
        return self._latest

    def _prune(self, step: int) -> None:
        """Remove old checkpoints, and half-written ones of a killed run.

        Checkpoints of a higher step stay: they are damaged, or the run would have been
        resumed from them.
        """
        prefixes = run_files.find_prefixes(self._output_dir)
        reached = [prefix for prefix in prefixes if _read_number(prefix) <= step]
        kept = {os.path.basename(prefix) for prefix in prefixes}
        kept -= {os.path.basename(prefix) for prefix in reached[self._max_to_keep :]}
        if self._latest:
            # Even if the listing lacks it: the run would be resumed from it.
            kept.add(os.path.basename(self._latest))
        _remove_checkpoints(self._output_dir, kept)


def _remove_checkpoints(folder: str, kept: set[str]) -> None:
    """Remove all checkpoints but those of some names, and half-written ones."""
    for name in tf.io.gfile.listdir(folder):
        path = os.path.join(folder, name)
        if _HALF_WRITTEN.fullmatch(name):
            tf.io.gfile.rmtree(path)
        elif (match := _PREFIX.match(name)) and match[0] not in kept:
            tf.io.gfile.remove(path)


def _read_number(prefix: str) -> int:
    return int(prefix.rpartition("-")[2])


def _has_saved(folder: str) -> bool:
    """Say whether a run has come to the end of a save."""
    return tf.io.gfile.exists(os.path.join(folder, "checkpoint"))


def _find_lost(folder: str, prefixes: list[str]) -> str | None:
    """Return the checkpoint that the file `checkpoint` names if it is newer than all.

    Args:
        folder: of the run.
        prefixes: the checkpoints that are there, newest first.
    """
    state = tf.train.get_checkpoint_state(folder)
    name = os.path.basename(state.model_checkpoint_path) if state else ""
    if not run_files.is_prefix(name):
        return None
    newest = _read_number(prefixes[0]) if prefixes else -1
    return name if _read_number(name) > newest else None


def save_best(
    model: keras.Model,
    output_dir: str,
    metrics: dict[str, float],
    step: int,
    measured_on: str = "",
) -> bool:
    """Keep the weights alone in OUTPUT_DIR/best if their loss is the lowest so far.

    If earlier losses were measured on other data, this one counts as the first.

    Args:
        model: as it is now.
        output_dir: of the run.
        metrics: of the evaluation, with `loss`.
        step: updates made so far.
        measured_on: a digest of the data.

    Returns:
        Whether these weights are the best; they are not if their loss is NaN.
    """
    if math.isnan(metrics["loss"]):
        return False
    folder = os.path.join(output_dir, run_files.BEST_FOLDER)
    results = os.path.join(folder, run_files.BEST_RESULTS_FILE)
    if tf.io.gfile.exists(results):
        best = storage.read_json(results)
        is_same = best.get("measured_on", measured_on) == measured_on
        if is_same and best["loss"] <= metrics["loss"]:
            return False
    prefix = _write_weights(model, output_dir, folder, step)
    best = {**metrics, "global_step": step, "measured_on": measured_on}
    storage.write_whole(results, json.dumps(best, indent=2) + "\n")
    # Last, so that the weights that the results belong to are always there.
    _remove_checkpoints(folder, {os.path.basename(prefix)})
    return True


def save_weights(model: keras.Model, output_dir: str, step: int) -> str:
    """Write the weights alone, a third of a checkpoint, to OUTPUT_DIR/weights.

    Returns:
        That folder; weights of an earlier step are gone from it.
    """
    folder = os.path.join(output_dir, run_files.WEIGHTS_FOLDER)
    prefix = _write_weights(model, output_dir, folder, step)
    _remove_checkpoints(folder, {os.path.basename(prefix)})
    return folder


def _write_weights(model: keras.Model, output_dir: str, folder: str, step: int) -> str:
    """Write a checkpoint of weights alone into a folder beside the run's own.

    The files of `run_folder.write_description` are copied, so that convert_checkpoint
    and fill_mask read the folder like the run's own.
    """
    tf.io.gfile.makedirs(folder)
    for name in run_files.DESCRIPTION_FILES:
        source = os.path.join(output_dir, name)
        if tf.io.gfile.exists(source):
            tf.io.gfile.copy(source, os.path.join(folder, name), overwrite=True)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model),
        folder,
        # Pruned by the caller: a manager looks for names with wildcards in them, and
        # finds none.
        max_to_keep=None,
        checkpoint_name=run_files.CHECKPOINT_NAME,
    )
    return manager.save(checkpoint_number=step)


def read_step(optimizer: keras.optimizers.Optimizer) -> int:
    """Return how many updates the optimizer has made, under any strategy."""
    return int(optimizer.iterations.value.numpy())


class UnreadableError(Exception):
    """Files of a checkpoint are missing, truncated or overwritten."""


def _restore(checkpoint: tf.train.Checkpoint, prefix: str) -> None:
    try:
        checkpoint.restore(prefix).assert_existing_objects_matched()
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f"Checkpoint {prefix!r} does not fit the model "
            f"({command_line.first_line(error)}); use the bert_config.json beside it, "
            "or another --output_dir."
        ) from error
    except (tf.errors.OpError, IndexError, RuntimeError) as error:
        reason = command_line.first_line(error)
        if _NO_ANSWER in str(error):
            raise tf.errors.UnavailableError(
                None, None, f"Checkpoint {prefix!r} cannot be reached ({reason})."
            ) from error
        # A bare OpError may mean damage too.
        kind_is_damage = isinstance(error, _DAMAGE) or type(error) is tf.errors.OpError
        if not kind_is_damage or _NO_ENTRY.search(str(error)):
            raise
        raise UnreadableError(reason) from error
