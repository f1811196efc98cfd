"""Fine-tune a BERT for classification or regression of texts and pairs.

    python -m bert_cn.run_classifier --task_name=chnsenticorp \
        --data_dir=data/chnsenticorp --init_checkpoint=out/mini \
        --do_train --do_eval --do_predict --output_dir=out/chnsenticorp

    python -m bert_cn.run_classifier --task=tsv --text_a=question --label=intent \
        --data_dir=mine --init_checkpoint=out/mini --do_train --do_eval \
        --output_dir=out/mine

Leaves in --output_dir: best/, a folder that transformers'
AutoModelForSequenceClassification loads, with the weights that did best on dev;
eval_results.txt; tensorboard/; and with --do_predict test_results.tsv.
"""

import tensorflow as tf
from absl import flags

from bert_cn.finetuning import command, tables
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import model as classification_model
from bert_cn.finetuning.classification import results, tasks
from data_prep import command_line

_COMMAND = command.Command(flags_lib.Defaults("Longer examples are cut."))
_TASK_NAME = flags.DEFINE_string(
    "task_name",
    "",
    f"One of {', '.join(tasks.TASKS)}; or tsv or jsonl for files of your own.",
)
flags.DEFINE_alias("task", "task_name")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of the task's files.")
_TEXT_A = flags.DEFINE_string(
    "text_a",
    "",
    "With tsv or jsonl: the column of the text, by its name in the first line, or by "
    "number from 0 where the file has no such line.",
)
_TEXT_B = flags.DEFINE_string("text_b", "", "The column of the second text, if any.")
_LABEL = flags.DEFINE_string("label", "", "The column of the label or score.")
_REGRESSION = flags.DEFINE_bool(
    "regression", False, "With tsv or jsonl: the label is a score and not a class."
)
_TRAIN_FILE = flags.DEFINE_string(
    "train_file", "", "With tsv or jsonl: default train.tsv, train.jsonl."
)
_DEV_FILE = flags.DEFINE_string("dev_file", "", "Likewise: default dev.tsv, ...")
_TEST_FILE = flags.DEFINE_string("test_file", "", "Likewise: default test.tsv, ...")


def main(arguments: list[str]) -> None:
    """Check the flags, then run."""
    command_line.refuse_arguments(arguments)
    _check_flags()
    _COMMAND.run(_run)


def _run(strategy: tf.distribute.Strategy, output_dir: str) -> None:
    """Read data and checkpoint, build, train, measure, predict."""
    task = _find_task()
    read = classification_data.read_tables(task, _DATA_DIR.value, _needed_splits())
    checkpoint = _COMMAND.find_checkpoint()
    labels = _find_labels(task, read, checkpoint)
    data = {
        name: classification_data.number_labels(name, table, labels)
        for name, table in read.items()
    }
    start = _COMMAND.load_start(checkpoint)
    features = {
        name: classification_data.encode_split(
            split, start, _COMMAND.max_seq_length.value, _COMMAND.cache_dir.value
        )
        for name, split in data.items()
    }
    if not _COMMAND.do_train.value:
        seen = classification_data.read_seen(task, _DATA_DIR.value)
        data |= {tasks.TRAIN: seen} if seen else {}
    classifier, trainer = _COMMAND.build_trainer(
        strategy, lambda: classification_model.Classifier(start, labels)
    )
    reporter = results.Reporter(trainer, task, labels, data, features, output_dir)
    _COMMAND.train_and_report(trainer, classifier, features, reporter, output_dir)


def _check_flags() -> None:
    names = ", ".join((*tasks.TASKS, *tasks.OWN))
    _COMMAND.check_flags(
        (
            (_TASK_NAME, f"name one of {names}"),
            (_DATA_DIR, "name the folder of the task's files"),
        )
    )


def _find_task() -> tasks.Task:
    kind = _TASK_NAME.value.lower()
    files = (_TRAIN_FILE, _DEV_FILE, _TEST_FILE)
    own = (_TEXT_A, _TEXT_B, _LABEL, _REGRESSION, *files)
    if kind not in tasks.OWN:
        for flag in own:
            if flag.value:
                raise ValueError(
                    f"--{flag.name} is for --task_name=tsv or jsonl, and the files and "
                    f"labels of {_TASK_NAME.value} are known: leave it out."
                )
        return tasks.find_task(_TASK_NAME.value)
    if not _TEXT_A.value or not _LABEL.value:
        raise ValueError(
            f"--task_name={kind} needs --text_a and --label: name the columns, or give "
            "their numbers from 0."
        )
    columns = tables.Columns(
        *(
            int(flag.value) if flag.value.isdecimal() else flag.value or None
            for flag in (_TEXT_A, _TEXT_B, _LABEL)
        )
    )
    files = (
        _TRAIN_FILE.value or f"train.{kind}",
        _DEV_FILE.value or f"dev.{kind}",
        _TEST_FILE.value or f"test.{kind}",
    )
    return tasks.build_own_task(kind, columns, files, _REGRESSION.value)


def _needed_splits() -> list[str]:
    return [
        name
        for name, flag in zip(
            tasks.SPLITS,
            (_COMMAND.do_train, _COMMAND.do_eval, _COMMAND.do_predict),
            strict=True,
        )
        if flag.value
    ]


def _find_labels(task, read, checkpoint: str) -> classification_model.Labels:
    if _COMMAND.do_train.value:
        return classification_data.find_labels(task, read)
    trained = classification_model.read_labels(checkpoint)
    if trained is None:
        raise command.no_model_error(checkpoint, "fine-tuned classifier")
    if task.labels is not None and trained.names != task.labels:
        raise ValueError(
            f"{checkpoint!r} predicts {', '.join(trained.names) or 'a score'}, and "
            f"--task_name={task.name} has {', '.join(task.labels) or 'a score'}: name "
            "a model of this task, or pass --do_train."
        )
    if task.labels is None and trained.is_regression:
        raise ValueError(
            f"{checkpoint!r} predicts a score: pass --regression, or name a model that "
            "predicts classes."
        )
    return trained


if __name__ == "__main__":
    command_line.run_command(
        main, kept_on_interrupt="the best model so far", needs_overwrite=True
    )
