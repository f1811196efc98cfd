r"""Fine-tune a BERT for reading comprehension: answers that are spans of a text.

    python -m bert_cn.run_squad --init_checkpoint=out/mini \
        --train_file=data/cmrc2018_train.json --predict_file=data/cmrc2018_dev.json \
        --do_train --do_eval --do_predict --max_answer_length=80 --output_dir=out/cmrc

Reads SQuAD 1.1, SQuAD 2.0 (--version_2_with_negative), CMRC 2018 and DRCD, and anything
else in SQuAD's layout. Leaves in --output_dir: best/, a folder that transformers'
AutoModelForQuestionAnswering loads, with the weights that did best on dev;
eval_results.txt; tensorboard/; answers.tsv, the training answers that differ from
their file; and with --do_predict predictions.json, nbest_predictions.json and
null_odds.json.
"""

from bert_cn.finetuning.reading import flags
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Read data and checkpoint, build, train, measure, answer."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.finetuning import command, tables
    from bert_cn.finetuning.reading import data, model, results, windows

    with command.open_run(args) as run:
        # Data
        datasets, targets = data.read_files(args)
        checkpoint = run.find_checkpoint()
        threshold = model.choose_threshold(args, checkpoint)
        start = run.load_start(checkpoint)
        features, problems = {}, []
        if args.do_train:
            dataset = datasets[args.train_file]
            problems = data.list_problems(dataset, targets)
            encoded = windows.load_or_encode(args, dataset, targets, start)
            features[tables.TRAIN] = encoded
            problems += windows.list_inexact(
                dataset, targets, encoded, args.max_answer_length
            )
        held_out = {
            path: results.Split(
                datasets[path],
                windows.load_or_encode(args, datasets[path], None, start),
                start.tokenizer,
            )
            for path in sorted(set(args.held_out_files.values()))
        }

        # Model
        reader, trainer = run.build_trainer(lambda: model.Reader(start))
        reader.threshold = threshold

        # Loop and results
        run.make_output_dir()
        if args.do_train:
            results.write_problems(problems, run.output_dir)
        reporter = results.Reporter(
            trainer,
            reader,
            args,
            results.choose_definition(args, datasets),
            {split: held_out[path] for split, path in args.held_out_files.items()},
            run.output_dir,
        )
        run.train_and_report(trainer, reader, features, reporter)


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
