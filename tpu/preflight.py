r"""Compile the real training step for a TPU slice, on a machine without a TPU.

    pip install -e '.[preflight]'
    python -m tpu.preflight --topology=v3-8 \
        --flagfile=configs/pretrain/bert_wwm_phase2.flags

takes the flags of bert_cn.run_pretraining, compiles the step with a TPU VM's compiler,
and prints whether it fits, its best possible speed, and the hours of the run. Nothing
is run. Exit code 0: it fits; 3: it does not.
"""

import dataclasses
import json
import sys

from absl import flags

from bert_cn.pretraining import flags as pretraining_flags
from bert_cn.pretraining import settings as settings_lib
from data_prep import command_line
from tpu.compiler import slices

DOES_NOT_FIT = 3

pretraining_flags.define_flags()
flags.DEFINE_string(
    "topology", None, "The slice: v3-8, v3-32, v4-8, v5litepod-16, v6e-8, ..."
)
flags.DEFINE_bool("find_batch", False, "Also look for the largest batch that fits.")
flags.DEFINE_bool("json", False, "Print one JSON object instead of lines.")
flags.DEFINE_enum(
    "sentence_task",
    "nsp",
    ["nsp", "sop", "none"],
    "The sentence task of the records, as in create_pretraining_data: with none, the "
    "step has the masked-LM loss alone.",
)
flags.DEFINE_integer(
    "pack_sequences",
    1,
    "Sequences of a record, as in create_pretraining_data.",
    lower_bound=1,
)
flags.DEFINE_string(
    "program_file", "", "Write the compiled program (HLO text) here, to read it."
)


@dataclasses.dataclass(frozen=True)
class PreflightArgs:
    """The step to compile, and the slice."""

    recipe: settings_lib.PretrainingArgs
    """The flags of run_pretraining; the shape of its records is filled in."""

    where: slices.Slice
    """The slice of --topology."""

    sentence_task: str
    """The sentence task of the records."""

    pack_sequences: int
    """Sequences of a record, at most."""

    find_batch: bool
    """Look for the largest batch that fits."""

    json: bool
    """Print one JSON object."""

    program_file: str
    """Where the compiled program is written; "" for nowhere."""


def main(arguments: list[str]) -> None:
    """Read the recipe, compile its step, print the report."""
    command_line.refuse_arguments(arguments)
    args = read_flags()
    # These import TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from tpu.compiler import recipe as recipe_lib
    from tpu.compiler import tpu_compiler

    tpu_compiler.check_installed()
    recipe = recipe_lib.Recipe(
        args.recipe,
        args.where,
        args.sentence_task,
        args.program_file,
        args.pack_sequences,
    )
    report = recipe_lib.check_recipe(recipe, args.find_batch)
    if args.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(report.to_lines()))
    if report.program is None:
        sys.exit(DOES_NOT_FIT)


def read_flags() -> PreflightArgs:
    """Return the values of the parsed flags.

    Raises:
        ValueError: there is no such slice.
    """
    recipe, values = pretraining_flags.read_flags(), flags.FLAGS
    return PreflightArgs(
        # No records are read here, so no manifest gives their shape.
        settings_lib.fill_in_shape(recipe),
        slices.parse_slice(values.topology or ""),
        values.sentence_task,
        values.pack_sequences,
        values.find_batch,
        values.json,
        values.program_file,
    )


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="nothing, as nothing is written,")
