"""What the fine-tuning commands share: checks, where they run and write, training.

A command makes one `Command`, which defines the common flags there and then, and adds
flags of its own. As in a command, flags are read here and passed on as arguments.
"""

import contextlib
import math
import typing
from collections.abc import Callable, Iterable, Mapping

import keras
import tensorflow as tf
from absl import flags

from bert_cn.finetuning import (
    batches,
    best_weights,
    curves,
    export,
    output_folder,
    training,
    warm_start,
)
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning.classification import tasks
from bert_cn.pretraining import failure_report
from bert_cn.training import batch_checks, reporting, storage_checks
from bert_cn.training import strategy as strategy_lib

# Widths of batches are multiples of it; the fewer widths, the more padding.
_WIDTH_MULTIPLE = 16


class Model(typing.Protocol):
    """An encoder with a head, such as `classification.model.Classifier`."""

    model: keras.Model

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""

    def save(self, folder: str) -> None:
        """Write the model as it is, whole or not at all."""


class Reporter(typing.Protocol):
    """Measures a model on splits, such as `classification.results.Reporter`."""

    main_metric: str

    def measure(self, name: str, shape: batches.Shape) -> Mapping[str, float]:
        """Return the metrics of a split, `main_metric` among them."""

    def report(
        self, name: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure, print, perhaps write predictions; return values for the results."""


class Command(flags_lib.CommonFlags):
    """The flags of a fine-tuning command, and what follows from them.

    Args:
        defaults: `flags_lib.Defaults`, in what they differ from other commands'.
    """

    def check_flags(self, needed: Iterable[tuple[flags.FlagHolder, str]] = ()) -> None:
        """Raise ValueError if there is nothing to do or learn, or a flag is empty.

        Args:
            needed: flags that must not be empty, --output_dir apart, and what to write.
        """
        if not (self.do_train.value or self.do_eval.value or self.do_predict.value):
            raise ValueError(
                "Nothing to do: pass --do_train, --do_eval, --do_predict or several."
            )
        for name in flags.FLAGS:
            value = flags.FLAGS[name].value
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"--{name}={value} is no number: give a finite one.")
        if self.do_train.value and not self.num_train_epochs.value:
            raise ValueError(
                "--num_train_epochs=0 trains nothing: raise it, or leave --do_train "
                "out."
            )
        output = (self.output_dir, "name a folder for the model and its results")
        for flag, advice in (*needed, output):
            if not flag.value:
                raise ValueError(f"--{flag.name} is empty: {advice}.")

    def run(self, body: Callable[[tf.distribute.Strategy, str], None]) -> None:
        """Choose where to run and where to write, then run.

        Args:
            body: takes the strategy, and the folder that this host writes to.

        Raises:
            ValueError: there is another model already, or the flags do not suit the
                devices.
        """
        if self.do_train.value:
            output_folder.check_for_training(
                self.output_dir.value, self.overwrite.value
            )
        else:
            output_folder.check_for_measuring(
                self.output_dir.value, self.init_checkpoint.value
            )
        # Early, because several hosts must find each other before TensorFlow is used.
        strategy = strategy_lib.build_strategy(self.tpu.value)
        batch_checks.check_jit_compile(self.jit_compile.value, strategy)
        batch_checks.check_batch_sizes(
            {flag.name: flag.value for flag in self.batch_sizes},
            strategy.num_replicas_in_sync,
        )
        with strategy_lib.keep_chiefs_files(
            strategy, self.output_dir.value
        ) as output_dir:
            body(strategy, output_dir)

    def find_checkpoint(
        self, otherwise: str = "a fine-tuned model by --init_checkpoint"
    ) -> str:
        """Return where weights come from: as the flags say, or the trained model.

        Args:
            otherwise: what else may be named where nothing was trained.

        Raises:
            ValueError: neither is there.
        """
        if self.do_train.value or self.init_checkpoint.value:
            return self.init_checkpoint.value
        folder = output_folder.model_folder(self.output_dir.value)
        if not export.has_model(folder):
            raise ValueError(
                f"{self.output_dir.value!r} holds no trained model: pass --do_train, "
                f"or name {otherwise}."
            )
        return folder

    def load_start(self, checkpoint: str) -> warm_start.StartingPoint:
        """Read encoder and tokenizer, and check --max_seq_length against them."""
        start = warm_start.load_starting_point(
            checkpoint,
            self.bert_config_file.value,
            self.vocab_file.value,
            self.do_lower_case.value,
        )
        start.check_length(self.max_seq_length.value)
        return start

    def build_trainer(
        self, strategy: tf.distribute.Strategy, build: Callable[[], Model]
    ) -> tuple[Model, training.Trainer]:
        """Build a model by the seed and under the strategy, and what trains it.

        Sets Keras's dtype policy, which is global.
        """
        keras.config.set_dtype_policy(self.precision.value)
        keras.utils.set_random_seed(self.random_seed.value)
        with strategy.scope():
            model = build()
        learner = model.build_learner()
        return model, training.Trainer(strategy, learner, self.jit_compile.value)

    def shape(self, batch_size: flags.FlagHolder) -> batches.Shape:
        """Return how batches are made; a TPU compiles for one width, XLA for few."""
        multiple = _WIDTH_MULTIPLE
        if self.jit_compile.value:
            multiple = self._defaults.compiled_multiple
        if self.tpu.value:
            multiple = self.max_seq_length.value
        return batches.Shape(batch_size.value, self.max_seq_length.value, multiple)

    def explain_memory(
        self, batch_size: flags.FlagHolder
    ) -> contextlib.ContextDecorator:
        """Name the batch that does not fit: `failure_report.explain_memory`.

        Args:
            batch_size: which sets it.

        Returns:
            A context, which is a decorator too.
        """
        return failure_report.explain_memory(
            batch_size.value,
            self.max_seq_length.value,
            "lower one of the two.",
            batch_size.name,
        )

    def make_output_dir(self, output_dir: str) -> None:
        """Make the folder, and raise ValueError if it cannot be written to.

        A model is written after an epoch: what hinders comes out before. Unlike in
        pretraining only this process opens files, whatever devices compute, so a folder
        on its disk will do and no other host is tried.

        Args:
            output_dir: as this host was given it by `run`.
        """
        this_process = tf.distribute.get_strategy()
        storage_checks.probe_folder(this_process, self.output_dir.name, output_dir)

    def train_and_report(
        self,
        trainer: training.Trainer,
        model: Model,
        features: Mapping[str, features_lib.Features],
        reporter: Reporter,
        output_dir: str,
    ) -> None:
        """Train, measure on dev and predict on test, as far as the flags say so.

        Args:
            trainer: of the model.
            model: what is trained.
            features: split name -> features.
            reporter: measures the splits dev and test.
            output_dir: folder of the model and the results.
        """
        self.make_output_dir(output_dir)
        eval_shape = self.shape(self.eval_batch_size)
        steps = 0
        if self.do_train.value:
            steps = self.train(
                trainer,
                model,
                features[tasks.TRAIN],
                self.explain_memory(self.eval_batch_size)(
                    lambda: reporter.measure(tasks.DEV, eval_shape)
                ),
                reporter.main_metric,
                output_dir,
            )
        results = {}
        if self.do_eval.value:
            with self.explain_memory(self.eval_batch_size):
                results |= reporter.report(tasks.DEV, eval_shape, False)
        if self.do_predict.value:
            shape = self.shape(self.predict_batch_size)
            with self.explain_memory(self.predict_batch_size):
                results |= reporter.report(tasks.TEST, shape, True)
        self.write_results(output_dir, results, steps)

    def write_results(
        self, output_dir: str, results: Mapping[str, float], steps: int
    ) -> None:
        """Write eval_results.txt, if anything was measured, and say where.

        What an earlier command measured with the model in the folder stays.

        Args:
            output_dir: its folder.
            results: what was measured, by Google's names.
            steps: updates made, if there were any now.
        """
        if not results:
            return
        if not (self.do_train.value or self.init_checkpoint.value):
            results = output_folder.merge_results(output_dir, results)
            steps = int(results.pop("global_step", steps))
        path = reporting.write_eval_results(output_dir, results, steps)
        print(f"Results: {path}")

    def train(
        self,
        trainer: training.Trainer,
        model: Model,
        features: features_lib.Features,
        evaluate: Callable[[], Mapping[str, float]],
        main_metric: str,
        output_dir: str,
    ) -> int:
        """Train, and leave the best weights in the model and in its folder.

        Args:
            trainer: of the model.
            model: what is trained.
            features: of the training examples.
            evaluate: measures on dev, if --do_eval says so.
            main_metric: which of its values decides.
            output_dir: gets the model's folder and TensorBoard's.

        Returns:
            The updates after which the weights were best.

        Raises:
            ValueError: out of memory.
        """
        folder = output_folder.model_folder(output_dir)

        def save() -> None:
            # First, so that they never stand beside a model that is not theirs.
            output_folder.remove_results(output_dir)
            model.save(folder)

        replaces = self.overwrite.value and export.has_model(folder)
        keeper = best_weights.BestKeeper(
            model.model,
            evaluate if self.do_eval.value else None,
            main_metric,
            save,
            folder,
            replaces,
        )
        recipe = training.Recipe(
            self.learning_rate.value,
            self.num_train_epochs.value,
            self.warmup_proportion.value,
            self.optimizer.value,
            self.weight_decay_rate.value,
            self.random_seed.value,
        )
        # Those of pretraining in the same folder stay.
        written = curves.Curves(output_dir, replaces)
        shape = self.shape(self.train_batch_size)
        with self.explain_memory(self.train_batch_size):
            training.train(trainer, features, shape, recipe, keeper, written)
        print(f"Model: {folder} (step {keeper.step})")
        return keeper.step


def no_model_error(checkpoint: str, wanted: str) -> ValueError:
    """Return the error for a checkpoint without the wanted head.

    Args:
        checkpoint: what was named.
        wanted: what it should hold.
    """
    found = export.read_architecture(checkpoint)
    found = f" (its config.json says {found})" if found else ""
    return ValueError(
        f"{checkpoint!r} holds no {wanted}{found}: pass --do_train, or name one that "
        "does; without --init_checkpoint the model in --output_dir is taken."
    )
