"""Fine-tune a checkpoint on every task of a suite, and write one honest table.

    python -m bert_cn.benchmark_suite --checkpoint=out/mini --suite=glue,clue \
        --data_dir=data --random_baseline --output_dir=out/benchmark

Runs run_classifier, run_sentence_bert and run_squad, one at a time, on the data that is
there. Leaves in --output_dir: table.md, table.csv and table.png, with the majority
class beside every figure; and for each run ROW/TASK/seed_N/ with its log and results.
Another checkpoint with the same --output_dir becomes another row of the table.
"""

import signal

from absl import flags

from data_prep import command_line

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "What to fine-tune: anything that convert_checkpoint reads."
)
_SUITE = flags.DEFINE_list(
    "suite",
    "glue",
    "glue: CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI; clue: ChnSentiCorp, "
    "AFQMC, LCQMC, BQ, OCNLI, THUCNews, Chinese STS-B, CMRC 2018; squad: SQuAD 1.1 and "
    "2.0, CMRC 2018, DRCD. Several with commas between them.",
)
_TASKS = flags.DEFINE_list("tasks", [], "Only these tasks of the suites.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "The folder that holds a folder for each data set."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Folder of the table and of all runs; finished runs are kept."
)
_NAME = flags.DEFINE_string(
    "name", "", "Of the checkpoint in the table; else its folder's."
)
_RECIPE = flags.DEFINE_string(
    "recipe",
    "seed",
    "Settings of fine-tuning: NAME of configs/finetune/NAME_classification.flags and "
    "NAME_squad.flags, or the same with the path of your own before it.",
)
_RUN_FLAGS = flags.DEFINE_string(
    "run_flags",
    "",
    "More flags for every run, which override the recipe's: "
    "--run_flags='--num_train_epochs=2 --tpu=local'.",
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 3, "Runs of each task: seeds 12345, 12346, ...", lower_bound=1
)
_RANDOM_BASELINE = flags.DEFINE_bool(
    "random_baseline",
    False,
    "Run the same model from random weights too, as a row of its own: what pretraining "
    "is worth.",
)
_KEEP_MODELS = flags.DEFINE_bool(
    "keep_models", False, "Keep the fine-tuned models, not only their results."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Run again what was finished with other settings, data or weights.",
)
_BERT_CONFIG_FILE = flags.DEFINE_string(
    "bert_config_file",
    "",
    "Sizes of the model, where the checkpoint's folder does not say them.",
)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", "", "The vocabulary, where the checkpoint's folder has none."
)


def main(arguments: list[str]) -> None:
    """Find data and settings, run what is left, write the table."""
    command_line.refuse_arguments(arguments)
    _check_flags()
    # Here, because they take seconds to import.
    from bert_cn.suite import recipes, results, runs, tasks

    recipe = recipes.load_recipe(_RECIPE.value, _RUN_FLAGS.value.split())
    chosen = tasks.choose_tasks(_SUITE.value, _TASKS.value)
    found, missing = tasks.find_tasks(chosen, _DATA_DIR.value)
    for title, what in missing.items():
        print(f"Left out: {title} ({what}).")
    rows = _find_rows()
    plan = runs.plan_runs(rows, found, recipe, _NUM_SEEDS.value, _OUTPUT_DIR.value)
    left = runs.leave_out_finished(plan, _OVERWRITE.value)
    runs.refuse_mixtures(plan, left, _OUTPUT_DIR.value)
    for row in rows:
        results.write_row(_OUTPUT_DIR.value, row, _CHECKPOINT.value)
    seeds = ", ".join(map(str, runs.list_seeds(_NUM_SEEDS.value)))
    print(
        f"{len(plan)} runs: {len(found)} tasks, {len(rows)} rows, seeds {seeds}; "
        f"{len(plan) - len(left)} are finished.",
        flush=True,
    )
    _run(plan, left, missing)


def _run(plan, left, missing: dict[str, str]) -> None:
    """Run what is left and write the table, also after Ctrl-C."""
    from bert_cn.suite import runs

    # So that what a scheduler ends is ended as by Ctrl-C, with the run it waits for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failures = runs.run_all(
            left,
            keep_models=_KEEP_MODELS.value,
            num_finished=len(plan) - len(left),
        )
    finally:
        _write_table(missing, runs.list_unfinished(plan))
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(left)} runs failed ({'; '.join(failures)}): "
            "correct what they say; the same command makes them again."
        )


def _check_flags() -> None:
    for flag, advice in (
        (_CHECKPOINT, "name what to fine-tune"),
        (_DATA_DIR, "name the folder that holds the data sets"),
        (_OUTPUT_DIR, "name a folder for the table and the runs"),
    ):
        if not flag.value:
            raise ValueError(f"--{flag.name} is empty: {advice}.")
    if "/" in _NAME.value or _NAME.value in ("cache", ".", ".."):
        raise ValueError(
            f"--name={_NAME.value} cannot be a row's folder: give a plain name."
        )


def _find_rows():
    """Read the checkpoint; returns its row, and that of its random twin."""
    from bert_cn.suite import model

    given = (_CHECKPOINT.value, _BERT_CONFIG_FILE.value, _VOCAB_FILE.value)
    read = model.read_model(*given)
    name = _NAME.value or model.name_checkpoint(_CHECKPOINT.value)
    rows = [model.build_row(name, read, *given)]
    if _RANDOM_BASELINE.value:
        rows.append(model.build_random_row(name, read, _OUTPUT_DIR.value))
    if read.lower_case(is_english=True) != read.do_lower_case:
        print(
            "The vocabulary has no token with A-Z: English texts are lower-cased, "
            "though the checkpoint asks for their case."
        )
    return rows


def _write_table(missing: dict[str, str], unfinished: list[str]) -> None:
    """Write the table of all rows in the folder, earlier ones included."""
    from bert_cn.suite import plot, results, tables

    output_dir = _OUTPUT_DIR.value
    rows, found = results.read_all(output_dir)
    if not found:
        return
    notes = []
    if missing:
        notes.append(f"Left out, as their data was not there: {', '.join(missing)}.")
    if unfinished:
        notes.append(f"Failed or not run yet: {'; '.join(unfinished)}.")
    notes.append(f"Last command: `{command_line.command_again()}`")
    paths = tables.write_tables(output_dir, rows, found, notes)
    picture = plot.write_plot(output_dir, rows, found)
    print(f"Table: {', '.join(paths)}. Plot: {picture}")


if __name__ == "__main__":
    command_line.run_command(main, kept_on_interrupt="every finished run")
