"""One run of a fine-tuning command, as far as all commands do the same."""

import contextlib
import os
import typing
from collections.abc import Callable, Iterator, Mapping

import keras
import tensorflow as tf

from bert_cn.finetuning import (
    batches,
    best_weights,
    curves,
    model_card,
    output_folder,
    tables,
    training,
    warm_start,
)
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import flags as flags_lib
from bert_cn.training import batch_checks, folder_lock, reporting, storage_checks
from bert_cn.training import precision as precision_lib
from bert_cn.training import strategy as strategy_lib

# Widths of batches are multiples of it; fewer widths mean more padding.
_WIDTH_MULTIPLE = 16


class Model(typing.Protocol):
    """An encoder with a head, such as `classification.model.Classifier`."""

    model: keras.Model

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""

    def save(self, folder: str) -> None:
        """Write the model as it is now, whole or not at all."""


class Reporter(typing.Protocol):
    """Measures a model on splits, such as `results.Reporter`."""

    main_metric: str

    def measure(self, name: str, shape: batches.Shape) -> Mapping[str, float]:
        """Return the metrics of a split, `main_metric` among them."""

    def report(
        self, name: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure, print, perhaps write predictions; return values for the results."""


@contextlib.contextmanager
def open_run(args: flags_lib.FinetuningArgs) -> Iterator["Run"]:
    """Choose the devices and the folder of a run.

    Raises:
        ValueError: the folder holds another model, or the flags do not suit the
            devices.
    """
    if args.do_train:
        output_folder.check_for_training(args.output_dir, args.overwrite)
    else:
        output_folder.check_for_measuring(args.output_dir, args.init_checkpoint)
    # Before anything else, because several hosts must find each other before TensorFlow
    # is used.
    strategy = strategy_lib.build_strategy(args.tpu)
    batch_checks.check_jit_compile(args.jit_compile, strategy)
    batch_checks.check_batch_sizes(args.batch_sizes, strategy.num_replicas_in_sync)
    with (
        strategy_lib.keep_chiefs_files(strategy, args.output_dir) as output_dir,
        folder_lock.hold_folder(output_dir),
    ):
        yield Run(args, strategy, output_dir)


class Run:
    """One run of a fine-tuning command.

    Args:
        args: the command's flags.
        strategy: under which the model is built.
        output_dir: the folder that this host writes to.
    """

    def __init__(
        self,
        args: flags_lib.FinetuningArgs,
        strategy: tf.distribute.Strategy,
        output_dir: str,
    ):
        self.output_dir = output_dir
        self._args = args
        self._strategy = strategy

    def find_checkpoint(
        self, otherwise: str = "a fine-tuned model by --init_checkpoint"
    ) -> str:
        """Return where weights come from: as the flags say, or the trained model.

        Args:
            otherwise: what else may be named where nothing was trained.

        Raises:
            ValueError: neither exists.
        """
        args = self._args
        if args.do_train or args.init_checkpoint:
            return args.init_checkpoint
        folder = output_folder.model_folder(args.output_dir)
        if not output_folder.has_model(folder):
            raise ValueError(
                f"{args.output_dir!r} holds no trained model: pass --do_train, or name "
                f"{otherwise}."
            )
        return folder

    def load_start(self, checkpoint: str) -> warm_start.StartingPoint:
        """Read encoder and tokenizer, and check --max_seq_length against them."""
        args = self._args
        start = warm_start.load_starting_point(
            checkpoint, args.bert_config_file, args.vocab_file, args.do_lower_case
        )
        start.check_length(args.max_seq_length)
        return start

    def build_trainer(
        self, build: Callable[[], Model]
    ) -> tuple[Model, training.Trainer]:
        """Build a model with the run's seed and strategy, and its trainer.

        Sets Keras's dtype policy, which is global.
        """
        args = self._args
        keras.config.set_dtype_policy(
            precision_lib.choose_precision(args.precision, args.tpu, args.jit_compile)
        )
        keras.utils.set_random_seed(args.random_seed)
        with self._strategy.scope():
            model = build()
        learner = model.build_learner()
        return model, training.Trainer(self._strategy, learner, args.jit_compile)

    def shape(self, flag: str) -> batches.Shape:
        """Return the shape of batches: of one width for a TPU, of few for XLA.

        Args:
            flag: the batch size's, such as "train_batch_size".
        """
        args = self._args
        multiple = _WIDTH_MULTIPLE
        if args.jit_compile:
            multiple = args.compiled_multiple
        if args.tpu:
            multiple = args.max_seq_length
        return batches.Shape(args.batch_sizes[flag], args.max_seq_length, multiple)

    def explain_memory(self, flag: str) -> contextlib.ContextDecorator:
        """Name the batch that does not fit: `batch_checks.explain_memory`.

        Args:
            flag: the batch size's, such as "train_batch_size".

        Returns:
            A context, which is a decorator too.
        """
        return batch_checks.explain_memory(
            flag,
            self._args.batch_sizes[flag],
            self._args.max_seq_length,
            "lower one of the two.",
        )

    def make_output_dir(self) -> None:
        """Make the folder, and raise ValueError if it cannot be written to.

        The model is written after an epoch, and this finds out before it what would
        prevent that. Unlike in pretraining only this process opens files, even if other
        hosts compute: a folder on its disk is enough, and no other host is tried.
        """
        this_process = tf.distribute.get_strategy()
        storage_checks.probe_folder(this_process, "output_dir", self.output_dir)

    def train_and_report(
        self,
        trainer: training.Trainer,
        model: Model,
        features: Mapping[str, features_lib.Features],
        reporter: Reporter,
        finish: Callable[[], None] | None = None,
    ) -> None:
        """Train, measure on dev and predict on test, as far as the flags say so.

        Call `make_output_dir` first.

        Args:
            trainer: the model's.
            model: what is trained.
            features: split name -> features.
            reporter: measures the splits dev and test.
            finish: changes the model after training and before the last measuring;
                the model is written once more.
        """
        flag = self._args.eval_batch_flag
        explain_eval, eval_shape = self.explain_memory(flag), self.shape(flag)
        steps = 0
        if self._args.do_train:
            evaluate = explain_eval(lambda: reporter.measure(tables.DEV, eval_shape))
            steps = self.train(
                trainer, model, features[tables.TRAIN], evaluate, reporter.main_metric
            )
        if finish is not None:
            finish()
            self.save(model)
        results = {}
        if self._args.do_eval:
            results |= explain_eval(reporter.report)(tables.DEV, eval_shape, False)
        if self._args.do_predict:
            flag = "predict_batch_size"
            with self.explain_memory(flag):
                results |= reporter.report(tables.TEST, self.shape(flag), True)
        self.write_results(results, steps)
        if self._args.do_train:
            model_card.write_card(
                output_folder.model_folder(self.output_dir), self._trained_on, results
            )

    @property
    def _trained_on(self) -> str:
        """The name of the task, or of its file."""
        file = getattr(self._args, "train_file", "") or ""
        return getattr(self._args, "task_name", "") or os.path.basename(file)

    def train(
        self,
        trainer: training.Trainer,
        model: Model,
        features: features_lib.Features,
        evaluate: Callable[[], Mapping[str, float]],
        main_metric: str,
    ) -> int:
        """Train, and leave the best weights in the model and in its folder.

        Args:
            trainer: the model's.
            model: what is trained.
            features: the training examples.
            evaluate: measures on dev, if --do_eval says so.
            main_metric: which of its values decides.

        Returns:
            The updates after which the weights were best.

        Raises:
            ValueError: out of memory.
        """
        args, folder = self._args, output_folder.model_folder(self.output_dir)
        replaces = args.overwrite and output_folder.has_model(folder)
        keeper = best_weights.BestKeeper(
            model.model,
            evaluate if args.do_eval else None,
            main_metric,
            lambda: self.save(model),
            folder,
            replaces,
        )
        recipe = training.Recipe(
            args.learning_rate,
            args.num_train_epochs,
            args.warmup_proportion,
            args.optimizer,
            args.weight_decay_rate,
            args.random_seed,
        )
        # The curves of a pretraining run in the same folder stay.
        written = curves.Curves(self.output_dir, replaces)
        flag = "train_batch_size"
        with self.explain_memory(flag):
            training.train(trainer, features, self.shape(flag), recipe, keeper, written)
        print(f"Model: {folder} (step {keeper.step})")
        return keeper.step

    def save(self, model: Model) -> None:
        """Write the model as it is now into its folder."""
        # First, so that they never stand beside another model.
        output_folder.remove_results(self.output_dir)
        model.save(output_folder.model_folder(self.output_dir))

    def write_results(self, results: Mapping[str, float], steps: int) -> None:
        """Write eval_results.txt, if anything was measured, and say where.

        Results of an earlier command with the same model stay.

        Args:
            results: Google's name -> value.
            steps: the updates of this run's training; 0 if it did not train.
        """
        if not results:
            return
        if not (self._args.do_train or self._args.init_checkpoint):
            results = output_folder.merge_results(self.output_dir, results)
            steps = int(results.pop("global_step", steps))
        path = reporting.write_eval_results(self.output_dir, results, steps)
        print(f"Results: {path}")
