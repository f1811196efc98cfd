r"""Fine-tune a BERT for classification or regression of texts and pairs.

    python -m bert_cn.run_classifier --task_name=chnsenticorp \
        --data_dir=data/chnsenticorp --init_checkpoint=out/mini \
        --do_train --do_eval --do_predict --output_dir=out/chnsenticorp

    python -m bert_cn.run_classifier --task=tsv --columns=text_a:question,label:intent \
        --data_dir=mine --init_checkpoint=out/mini --do_train --do_eval \
        --output_dir=out/mine

Leaves in --output_dir: best/, a folder that transformers'
AutoModelForSequenceClassification loads, with the weights that did best on dev;
eval_results.txt; tensorboard/; and with --do_predict test_results.tsv.
"""

from bert_cn.finetuning.classification import flags
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Read data and checkpoint, build, train, measure, predict."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.finetuning import command, tables
    from bert_cn.finetuning.classification import data, model, results

    with command.open_run(args) as run:
        # Data
        task = args.find_task()
        read = data.read_tables(task, args.data_dir, args.splits)
        checkpoint = run.find_checkpoint()
        if args.do_train:
            labels = data.find_labels(task, read)
        else:
            labels = data.load_labels(task, checkpoint)
        splits = {
            name: data.number_labels(name, table, labels)
            for name, table in read.items()
        }
        start = run.load_start(checkpoint)
        features = {
            name: data.encode_split(split, start, args.max_seq_length, args.cache_dir)
            for name, split in splits.items()
        }
        if not args.do_train and (seen := data.read_seen(task, args.data_dir)):
            splits[tables.TRAIN] = seen

        # Model
        classifier, trainer = run.build_trainer(lambda: model.Classifier(start, labels))

        # Loop and results
        run.make_output_dir()
        reporter = results.Reporter(
            task, labels, trainer, splits, features, run.output_dir
        )
        run.train_and_report(trainer, classifier, features, reporter)


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
