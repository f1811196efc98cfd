"""Fine-tune a BERT for named entities, or any other spans that BIO tags mark.

    python -m bert_cn.run_ner --data_dir=data/msra --init_checkpoint=out/mini \
        --do_train --do_eval --do_predict --output_dir=out/msra

Files have a word (for Chinese a character) and its tag on each line, between them a tab
or spaces, and a blank line between sentences: BIO as TSV, and CoNLL's columns.

Leaves in --output_dir: best/, a folder that transformers'
AutoModelForTokenClassification loads, with the weights that did best on dev;
eval_results.txt; tensorboard/; and with --do_predict test_results.tsv: the word, its
tag if the file has one, and the predicted tag.
"""

import os

import tensorflow as tf
from absl import flags

from bert_cn.finetuning import command
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.tagging import data as tagging_data
from bert_cn.finetuning.tagging import model as tagging_model
from bert_cn.finetuning.tagging import results
from data_prep import command_line, storage

_COMMAND = command.Command(
    flags_lib.Defaults("Longer sentences are cut, and words behind the cut count as O.")
)
_ENDINGS = (".txt", ".tsv", ".conll", ".bio")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of the files.")
_TRAIN_FILE = flags.DEFINE_string(
    "train_file", "", f"Default: train with one of {', '.join(_ENDINGS)}."
)
_DEV_FILE = flags.DEFINE_string("dev_file", "", "Likewise: default dev.txt, ...")
_TEST_FILE = flags.DEFINE_string("test_file", "", "Likewise: default test.txt, ...")
_WORD_COLUMN = flags.DEFINE_integer(
    "word_column", 0, "The column of the word, from 0; negative from the end."
)
_TAG_COLUMN = flags.DEFINE_integer(
    "tag_column", -1, "The column of the tag; CoNLL's files have it last."
)


def main(arguments: list[str]) -> None:
    """Check the flags, then run."""
    command_line.refuse_arguments(arguments)
    _check_flags()
    _COMMAND.run(_run)


def _run(strategy: tf.distribute.Strategy, output_dir: str) -> None:
    """Read data and checkpoint, build, train, measure, predict."""
    data = _read_data()
    checkpoint = _COMMAND.find_checkpoint()
    labels = _find_labels(data, checkpoint)
    classes = {
        name: tagging_data.number_tags(each, labels) for name, each in data.items()
    }
    start = _COMMAND.load_start(checkpoint)
    features = {
        name: _encode(name, data[name], classes[name], labels, start) for name in data
    }
    tagger, trainer = _COMMAND.build_trainer(
        strategy, lambda: tagging_model.Tagger(start, labels)
    )
    reporter = results.Reporter(trainer, labels, data, features, output_dir)
    _COMMAND.train_and_report(trainer, tagger, features, reporter, output_dir)


def _check_flags() -> None:
    _COMMAND.check_flags(((_DATA_DIR, "name the folder of the files"),))


def _read_data() -> dict[str, tagging_data.Sentences]:
    """Read the splits that the flags ask for; only test may lack tags."""
    data = {}
    for name, flag, file in (
        (tasks.TRAIN, _COMMAND.do_train, _TRAIN_FILE),
        (tasks.DEV, _COMMAND.do_eval, _DEV_FILE),
        (tasks.TEST, _COMMAND.do_predict, _TEST_FILE),
    ):
        if flag.value:
            data[name] = tagging_data.read_sentences(
                _find_file(name, file),
                _WORD_COLUMN.value,
                _TAG_COLUMN.value,
                needs_tags=name != tasks.TEST,
            )
    return data


def _find_file(name: str, flag: flags.FlagHolder) -> str:
    folder = _DATA_DIR.value
    if flag.value:
        return os.path.join(folder, flag.value)
    paths = [os.path.join(folder, name + ending) for ending in _ENDINGS]
    for path in paths:
        if storage.exists(path):
            return path
    raise ValueError(
        f"{folder!r} holds no {name}{_ENDINGS[0]} (nor {', '.join(_ENDINGS[1:])}): "
        f"name the file by --{flag.name}, or another folder by --data_dir."
    )


def _find_labels(data, checkpoint: str) -> tuple[str, ...]:
    if _COMMAND.do_train.value:
        return tagging_data.find_labels(data[tasks.TRAIN])
    trained = tagging_model.read_labels(checkpoint)
    if trained is None:
        raise command.no_model_error(checkpoint, "fine-tuned token classifier")
    return trained


def _encode(name, sentences, classes, labels, start) -> features_lib.Features:
    fingerprint = features_lib.compute_fingerprint(
        storage.read_bytes(sentences.path),
        columns=[_WORD_COLUMN.value, _TAG_COLUMN.value],
        labels=labels if classes is not None else [],
        max_seq_length=_COMMAND.max_seq_length.value,
        task="tagging",
        **start.settings,
    )
    return features_lib.load_or_encode(
        _COMMAND.cache_dir.value,
        f"{name}-tagging",
        fingerprint,
        lambda: tagging_data.encode_sentences(
            sentences, classes, start, _COMMAND.max_seq_length.value
        ),
    )


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
