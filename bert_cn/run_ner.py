r"""Fine-tune a BERT for named entities, or any other spans that BIO tags mark.

    python -m bert_cn.run_ner --data_dir=data/msra --init_checkpoint=out/mini \
        --do_train --do_eval --do_predict --output_dir=out/msra

Files have a word (for Chinese a character) and its tag on each line, with a tab or
spaces between, and a blank line between sentences: BIO as TSV, and CoNLL's columns.

Leaves in --output_dir: best/, a folder that transformers'
AutoModelForTokenClassification loads, with the weights that did best on dev;
eval_results.txt; tensorboard/; and with --do_predict test_results.tsv: the word, its
tag if the file has one, and the predicted tag.
"""

from bert_cn.finetuning.tagging import flags
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Read data and checkpoint, build, train, measure, predict."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.finetuning import command, tables
    from bert_cn.finetuning.tagging import data, model, results

    with command.open_run(args) as run:
        # Data
        sentences = {name: data.read_split(args, name) for name in args.splits}
        checkpoint = run.find_checkpoint()
        if args.do_train:
            labels = data.find_labels(sentences[tables.TRAIN])
        else:
            labels = model.load_labels(checkpoint)
        classes = {
            name: data.number_tags(each, labels) for name, each in sentences.items()
        }
        start = run.load_start(checkpoint)
        features = {
            name: data.encode_split(args, name, each, classes[name], labels, start)
            for name, each in sentences.items()
        }

        # Model
        tagger, trainer = run.build_trainer(lambda: model.Tagger(start, labels))

        # Loop and results
        run.make_output_dir()
        reporter = results.Reporter(
            labels, trainer, sentences, features, run.output_dir
        )
        run.train_and_report(trainer, tagger, features, reporter)


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
