r"""Compile the real training step for a TPU slice, on a machine without a TPU.

    pip install -e '.[preflight]'
    python -m tpu.preflight --topology=v3-8 \
        --flagfile=configs/pretrain/bert_wwm_phase2.flags

takes the flags of bert_cn.run_pretraining, compiles the step with a TPU VM's compiler,
and prints whether it fits, its best possible speed, and the hours of the run. Nothing
is run. Exit code 0: it fits; 3: it does not.
"""

import json
import sys

from absl import flags

from bert_cn import run_pretraining

# Its flags are the recipe's: their names and defaults are defined there and only there.
from bert_cn.model import config as config_lib
from bert_cn.pretraining import step_settings
from bert_cn.training import batch_checks, optimization
from data_prep import command_line
from tpu.compiler import (
    batch_search,
    graph_checks,
    preflight_report,
    slice_strategy,
    slices,
    step_lowering,
    tpu_compiler,
)

DOES_NOT_FIT = 3

_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "The slice: v3-8, v3-32, v4-8, v5litepod-16, v6e-8, ..."
)
_FIND_BATCH = flags.DEFINE_bool(
    "find_batch", False, "Also look for the largest batch that fits."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of lines.")
_SENTENCE_TASK = flags.DEFINE_enum(
    "sentence_task",
    "nsp",
    ["nsp", "sop", "none"],
    "What the records are for, as in create_pretraining_data: with none, the step has "
    "the masked-LM loss alone.",
)
_PROGRAM_FILE = flags.DEFINE_string(
    "program_file", "", "Write the compiled program (HLO text) here, to read it."
)


def main(arguments: list[str]) -> None:
    """Read the recipe, compile its step, print the report."""
    command_line.refuse_arguments(arguments)
    where = slices.parse_slice(_TOPOLOGY.value or "")
    tpu_compiler.check_installed()
    recipe = Recipe(where)
    report = check_recipe(recipe, _FIND_BATCH.value)
    if _JSON.value:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(report.to_lines()))
    if report.program is None:
        sys.exit(DOES_NOT_FIT)


class Recipe:
    """The step that the flags describe, for batches of any size.

    Args:
        where: the slice.
    """

    def __init__(self, where: slices.Slice):
        values = flags.FLAGS
        self.where = where
        self.values = values
        self.per_replica_batch = _share_batch(where)
        self._warned = False
        self._strategy = slice_strategy.SliceStrategy(where.num_replicas)
        config = config_lib.load_config(values.bert_config_file)
        batch_checks.check_positions(values.max_seq_length, config)
        self.settings = step_settings.StepSettings(
            config,
            values.optimizer,
            optimization.WarmupPolynomialDecay(
                values.learning_rate,
                values.num_train_steps,
                values.num_warmup_steps,
                values.decay_power,
            ),
            values.weight_decay_rate,
            values.precision,
            values.gradient_accumulation_steps,
            values.recompute_layers,
            sentence_task=_SENTENCE_TASK.value,
        )
        self._trainer = step_settings.build_trainer(self.settings, self._strategy)

    def describe(self) -> str:
        """Return the step in words."""
        values, config = self.values, self.settings.config
        count = values.gradient_accumulation_steps
        return (
            f"{values.bert_config_file}, length {values.max_seq_length}, "
            f"{values.max_predictions_per_seq} predictions, {values.precision}, "
            f"{values.optimizer}, dropout {config.hidden_dropout_prob:g}"
            + (f", {count} micro-batches" if count > 1 else "")
            + (", layers recomputed" if values.recompute_layers else "")
            + (", masked-LM loss alone" if _SENTENCE_TASK.value == "none" else "")
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
        program = self._compile(per_replica_batch, False, _PROGRAM_FILE.value)
        count = self.settings.accumulation_steps
        if count == 1:
            return program
        micro_batch = self._compile(per_replica_batch // count, True)
        return tpu_compiler.add_micro_batches(program, micro_batch, count)

    def _compile(self, batch_size: int, micro_batch_only: bool, text_file: str = ""):
        features = step_lowering.make_features(
            batch_size,
            self.values.max_seq_length,
            self.values.max_predictions_per_seq,
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
            recipe.settings.accumulation_steps,
        )
    return preflight_report.Report(
        recipe.where,
        recipe.describe(),
        batch,
        recipe.values.num_train_steps,
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


def _share_batch(where: slices.Slice) -> int:
    """Return the sequences of one replica, checked as run_pretraining checks them."""
    values = flags.FLAGS
    multiple = where.num_replicas * values.gradient_accumulation_steps
    if values.train_batch_size % multiple:
        raise ValueError(
            f"--train_batch_size={values.train_batch_size} cannot be shared by the "
            f"{where.num_replicas} replicas of {where.name}"
            f"{_in_micro_batches(values.gradient_accumulation_steps)}: make it a "
            f"multiple of {multiple}."
        )
    return values.train_batch_size // where.num_replicas


def _in_micro_batches(accumulation_steps: int) -> str:
    if accumulation_steps == 1:
        return ""
    return f" in --gradient_accumulation_steps={accumulation_steps} micro-batches"


assert run_pretraining  # Imported for its flags.

if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="nothing, as nothing is written,")
