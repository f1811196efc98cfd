r"""Train sentence embeddings, or measure those of any BERT.

    python -m bert_cn.run_sentence_bert --task_name=sts-b-zh --data_dir=data/zh_sts_b \
        --init_checkpoint=out/mini --do_train --do_eval --do_predict \
        --output_dir=out/sentences

    python -m bert_cn.run_sentence_bert --objective=ranking --train_task_name=ocnli \
        --train_data_dir=data/ocnli --task_name=sts-b-zh --data_dir=data/zh_sts_b \
        --init_checkpoint=out/mini --do_train --do_eval --output_dir=out/nli

    python -m bert_cn.run_sentence_bert --objective=simcse --train_lines=lines.txt \
        --task_name=sts-b-zh --data_dir=data/zh_sts_b \
        --init_checkpoint=out/mini --do_train --do_eval --output_dir=out/simcse

Leaves in --output_dir: best/, a folder that SentenceTransformer("best") loads, with the
weights that did best on dev; eval_results.txt; tensorboard/; and with --do_predict
test_results.tsv.
"""

import functools

from bert_cn.finetuning.sentences import flags
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Read data and checkpoint, build, train, measure."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()
    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.finetuning import command, output_folder, tables
    from bert_cn.finetuning.sentences import data, model, results, sources, whitening

    if args.whitening and not args.do_train:
        output_folder.check_for_training(args.output_dir, args.overwrite)
    with command.open_run(args) as run:
        # Data
        pairs, objective = None, None
        if args.do_train:
            pairs, objective = sources.read_training_pairs(args)
        splits = sources.read_measured(args, pairs)
        checkpoint = run.find_checkpoint(
            "the checkpoint to measure by --init_checkpoint"
        )
        embedding = model.choose_embedding(
            checkpoint,
            args.pooling,
            args.normalize,
            changes=args.do_train or args.whitening,
        )
        start = run.load_start(checkpoint)
        if objective is not None:
            objective = sources.fit_objective(objective, start)
        encoded = {
            name: data.Pairs(split.table, {})
            for name, split in splits.items()
            if name != tables.TRAIN
        }
        if pairs is not None:
            encoded[tables.TRAIN] = pairs
        features = {
            name: data.encode_pairs(
                each, name, start, args.max_seq_length, args.cache_dir
            )
            for name, each in encoded.items()
        }

        # Model
        encoder, trainer = run.build_trainer(
            lambda: model.SentenceEncoder(
                start, embedding, objective, args.max_seq_length
            )
        )

        # Loop and results
        run.make_output_dir()
        finish = None
        if args.whitening:
            finish = functools.partial(
                whitening.whiten,
                *(trainer, encoder, start, run.shape(args.eval_batch_flag)),
                *(sources.list_texts(args, splits, pairs), args.whitening_dims),
            )
        reporter = results.Reporter(trainer, splits, features, run.output_dir)
        run.train_and_report(trainer, encoder, features, reporter, finish)


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
