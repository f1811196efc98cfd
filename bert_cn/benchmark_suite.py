r"""Fine-tune a checkpoint on every task of a suite, and write one honest table.

    python -m bert_cn.benchmark_suite --checkpoint=out/mini --suite=glue,clue \
        --data_dir=data --random_baseline --output_dir=out/benchmark

Runs run_classifier, run_sentence_bert and run_squad, one at a time, on the data that it
finds. Writes table.md, table.csv and table.png into --output_dir, with the majority
class beside every figure, and for each run ROW/TASK/seed_N/ with its log and results.
Another checkpoint with the same --output_dir becomes another row of the table.
"""

import signal

from bert_cn.suite import flags
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Find data and settings, run what is left, write the table."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    # Here, because NumPy and scikit-learn take a second: --help does not wait for them.
    from bert_cn.suite import recipes, results, runs, tasks

    # Data and settings
    recipe = recipes.load_recipe(args.recipe, args.run_flags)
    chosen = tasks.choose_tasks(args.suite, args.tasks)
    found, missing = tasks.find_tasks(chosen, args.data_dir)
    for title, what in missing.items():
        print(f"Left out: {title} ({what}).")

    # Model
    rows = _find_rows(args)

    # Runs
    plan = runs.plan_runs(rows, found, recipe, args.num_seeds, args.output_dir)
    left = runs.leave_out_finished(plan, args.overwrite)
    runs.refuse_mixtures(plan, left, args.output_dir)
    for row in rows:
        results.write_row(args.output_dir, row, args.checkpoint)
    seeds = ", ".join(map(str, runs.list_seeds(args.num_seeds)))
    print(
        f"{len(plan)} runs: {len(found)} tasks, {len(rows)} rows, seeds {seeds}; "
        f"{len(plan) - len(left)} are finished.",
        flush=True,
    )
    # A scheduler's SIGTERM ends the suite, and the run it waits for, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failures = runs.run_all(
            left, keep_models=args.keep_models, num_finished=len(plan) - len(left)
        )
    finally:
        _write_table(args.output_dir, missing, runs.list_unfinished(plan))
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(left)} runs failed ({'; '.join(failures)}): "
            "correct what they say; the same command makes them again."
        )


def _find_rows(args: flags.SuiteArgs):
    """Read the checkpoint; returns its row, and that of its random twin."""
    from bert_cn.suite import model

    given = (args.checkpoint, args.bert_config_file, args.vocab_file)
    read = model.read_model(*given)
    name = args.name or model.name_checkpoint(args.checkpoint)
    rows = [model.build_row(name, read, *given)]
    if args.random_baseline:
        rows.append(model.build_random_row(name, read, args.output_dir))
    if read.lower_case(is_english=True) != read.do_lower_case:
        print(
            "The vocabulary has no token with A-Z: English texts are lower-cased, "
            "though the checkpoint asks for their case."
        )
    return rows


def _write_table(
    output_dir: str, missing: dict[str, str], unfinished: list[str]
) -> None:
    """Write the table of all rows in the folder, earlier ones included."""
    from bert_cn.suite import plot, results, tables

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
