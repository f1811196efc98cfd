"""The training step of a recipe, compiled for a slice at one batch size or several."""

import dataclasses
import sys

import numpy as np

from bert_cn.conversion import formats
from bert_cn.model import config as config_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining import train_step
from bert_cn.training import batch_checks
from bert_cn.training import precision as precision_lib
from tpu.compiler import (
    batch_search,
    graph_checks,
    preflight_report,
    slice_strategy,
    slices,
    step_lowering,
    tpu_compiler,
)


class Recipe:
    """The step that the flags describe, for batches of any size.

    Args:
        args: the flags of run_pretraining, with the shape of the records.
        where: the slice.
        sentence_task: of the records; with "none" the step has the masked-LM loss
            alone.
        program_file: where the compiled program (HLO text) is written; "" for nowhere.
        pack_sequences: sequences of a record, at most.

    Raises:
        ValueError: the batch or the sequences do not suit the slice or the model.
    """

    def __init__(
        self,
        args: settings_lib.PretrainingArgs,
        where: slices.Slice,
        sentence_task: str,
        program_file: str = "",
        pack_sequences: int = 1,
    ):
        precision = precision_lib.choose_precision(args.precision, where.name)
        args = dataclasses.replace(args, precision=precision)
        self.args = args
        self.where = where
        self.per_replica_batch = _share_batch(args, where)
        self._sentence_task = sentence_task
        self._program_file = program_file
        self._pack_sequences = pack_sequences
        self._warned = False
        self._strategy = slice_strategy.SliceStrategy(where.num_replicas)
        self._config = config_lib.load_config(args.bert_config_file)
        batch_checks.check_positions(args.max_seq_length, self._config)
        self._trainer = train_step.build_trainer(
            args,
            self._config,
            self._strategy,
            sentence_task,
            output_ids=_choose_outputs(args, self._config),
            teacher_config=_read_teacher_config(args),
            takes_parts=pack_sequences > 1,
        )

    def describe(self) -> str:
        """Return the step in words."""
        args, count = self.args, self.args.gradient_accumulation_steps
        packed = self._pack_sequences
        dropout = args.pretraining_dropout
        if dropout is None:
            dropout = self._config.hidden_dropout_prob
        return (
            f"{args.bert_config_file}, length {args.max_seq_length}, "
            f"{self._count_predictions()} predictions, {args.precision}, "
            f"{args.optimizer}, dropout {dropout:g}"
            + (f", {count} micro-batches" if count > 1 else "")
            + (", with a teacher" if args.teacher_checkpoint else "")
            + (", layers recomputed" if args.recompute_layers else "")
            + (", masked-LM loss alone" if self._sentence_task == "none" else "")
            + (f", {packed} sequences a record" if packed > 1 else "")
        )

    def _count_predictions(self) -> int:
        return settings_lib.count_training_predictions(
            self.args, self.args.max_seq_length, self.args.max_predictions_per_seq
        )

    def _warn_of(self, violations: list[graph_checks.Violation]) -> None:
        for violation in violations if not self._warned else ():
            print(f"Slow or impossible on a TPU: {violation}", file=sys.stderr)
        self._warned = True

    def compile(self, per_replica_batch: int) -> tpu_compiler.Program:
        """Compile the step for a batch.

        Raises:
            tpu_compiler.OutOfMemory: it does not fit.
            ValueError: a TPU cannot run it.
        """
        program = self._compile(per_replica_batch, False, self._program_file)
        count = self.args.gradient_accumulation_steps
        if count == 1:
            return program
        micro_batch = self._compile(per_replica_batch // count, True)
        return tpu_compiler.add_micro_batches(program, micro_batch, count)

    def _compile(self, batch_size: int, micro_batch_only: bool, text_file: str = ""):
        features = step_lowering.make_features(
            batch_size,
            self.args.max_seq_length,
            self._count_predictions(),
            self._pack_sequences,
        )
        step = step_lowering.TracedStep(
            self._trainer, self._strategy, features, micro_batch_only
        )
        self._warn_of(graph_checks.find_violations(step.graph))
        try:
            return tpu_compiler.compile_module(
                step.lower(), self.where, self.where.num_replicas, text_file
            )
        except tpu_compiler.OutOfMemory:
            raise
        except tpu_compiler.CompilerRefusal as error:
            raise ValueError(step.describe_refusal(error)) from error


def _choose_outputs(
    args: settings_lib.PretrainingArgs, config: config_lib.BertConfig
) -> np.ndarray | None:
    """Return the tokens of the training softmax; all of them where none are counted.

    So a step over the tokens seen is never larger than the one that is compiled.
    """
    return None if args.output_vocabulary == "all" else np.arange(config.vocab_size)


def _read_teacher_config(
    args: settings_lib.PretrainingArgs,
) -> config_lib.BertConfig | None:
    """Return the sizes of the teacher, whose weights do not matter here."""
    if not args.teacher_checkpoint:
        return None
    return formats.read_checkpoint(args.teacher_checkpoint).config


def check_recipe(recipe: Recipe, find_batch: bool) -> preflight_report.Report:
    """Compile a recipe's step; with `find_batch`, look for the largest batch, too."""
    programs = {}

    def compile_batch(batch: int) -> tpu_compiler.Program:
        if batch not in programs:
            try:
                programs[batch] = recipe.compile(batch)
            except tpu_compiler.OutOfMemory as error:
                programs[batch] = error
            _show_progress(recipe, batch, programs[batch])
        if isinstance(programs[batch], tpu_compiler.OutOfMemory):
            raise programs[batch]
        return programs[batch]

    batch = recipe.per_replica_batch
    program = refusal = largest = largest_program = None
    try:
        program = compile_batch(batch)
    except tpu_compiler.OutOfMemory as error:
        refusal = error
    if find_batch:
        largest, largest_program = batch_search.find_largest_batch(
            compile_batch,
            batch,
            recipe.where.chip.usable_bytes,
            recipe.args.gradient_accumulation_steps,
        )
    return preflight_report.Report(
        recipe.where,
        recipe.describe(),
        batch,
        recipe.args.num_train_steps,
        program,
        refusal,
        largest,
        largest_program,
    )


def _show_progress(recipe: Recipe, batch: int, result) -> None:
    fits = isinstance(result, tpu_compiler.Program)
    print(
        f"Compiled for {batch} sequences a replica: {'fits' if fits else result}.",
        file=sys.stderr,
        flush=True,
    )


def _share_batch(args: settings_lib.PretrainingArgs, where: slices.Slice) -> int:
    """Return the sequences of one replica, checked as run_pretraining checks them."""
    multiple = where.num_replicas * args.gradient_accumulation_steps
    if args.train_batch_size % multiple:
        raise ValueError(
            f"--train_batch_size={args.train_batch_size} cannot be shared by the "
            f"{where.num_replicas} replicas of {where.name}"
            f"{_in_micro_batches(args.gradient_accumulation_steps)}: make it a "
            f"multiple of {multiple}."
        )
    return args.train_batch_size // where.num_replicas


def _in_micro_batches(accumulation_steps: int) -> str:
    if accumulation_steps == 1:
        return ""
    return f" in --gradient_accumulation_steps={accumulation_steps} micro-batches"
