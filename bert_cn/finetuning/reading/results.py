"""The answers of a reader, their metrics, and the files of both."""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from bert_cn.finetuning import batches, output_folder, results, tables, training
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.reading import data, flags, metrics, model, spans, windows
from data_prep import storage
from data_prep.text import tokenization

ANSWERS_FILE = "answers.tsv"


@dataclasses.dataclass(frozen=True)
class Split:
    """Questions to answer.

    Attributes:
        dataset: the questions.
        features: their windows.
        tokenizer: finds the characters of the contexts' tokens.
    """

    dataset: data.Dataset
    features: features_lib.Features
    tokenizer: tokenization.Tokenizer

    @functools.cached_property
    def contexts(self) -> tokenization.TokenizedLines:
        """The tokens of all contexts, found once for all evaluations."""
        return self.tokenizer.tokenize(self.dataset.contexts)

    @property
    def answers(self) -> list[list[str]]:
        """The right answers to each question; none to one without an answer."""
        return [
            [answer.text for answer in question.answers]
            for question in self.dataset.questions
        ]


def choose_definition(
    args: flags.ReaderArgs, datasets: Mapping[str, data.Dataset]
) -> metrics.Definition:
    """Return the definition that the flags ask for or the texts need, and print it.

    Args:
        args: the flags.
        datasets: path -> dataset, of all files that are read.
    """
    definition = metrics.DEFINITIONS.get(args.metric)
    if definition is None:
        # The files that are measured come first: a model may have learned from another
        # language.
        paths = (args.dev_file, args.predict_file, args.train_file)
        measured = next(datasets[path] for path in paths if path in datasets)
        definition = metrics.choose_definition(
            measured.contexts, args.version_2_with_negative
        )
    print(f"Exact match and F1 as {definition.name} defines them.", flush=True)
    return definition


class Reporter:
    """Answers and measures with a reader.

    Args:
        trainer: its learner is the reader's.
        reader: keeps the threshold that is found.
        args: say how answers are chosen.
        definition: says how they are compared with the right ones.
        splits: dev, which is measured, and test, which is answered. If both are one
            split, it is answered and measured at once.
        output_dir: the folder for answers.
    """

    main_metric = metrics.F1

    def __init__(
        self,
        trainer: training.Trainer,
        reader: model.Reader,
        args: flags.ReaderArgs,
        definition: metrics.Definition,
        splits: Mapping[str, Split],
        output_dir: str,
    ):
        self._trainer = trainer
        self._reader = reader
        self._args = args
        self._definition = definition
        self._splits = splits
        self._output_dir = output_dir

    def measure(self, name: str, shape: batches.Shape) -> dict[str, float]:
        """Measure on dev, with the threshold found there if none was given."""
        split = self._splits[name]
        return self._measure_dev(split, self._answer(split, shape, n_best_size=1))

    def report(
        self, name: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure if the answers are known, print, perhaps write the answers.

        Args:
            name: dev or test.
            shape: of the batches.
            with_predictions: write the files of answers.

        Returns:
            eval_... for dev, predict_... for test; nothing for dev if test is the same
            split, and eval_... for that.
        """
        split = self._splits[name]
        is_dev = split is self._splits.get(tables.DEV)
        if not with_predictions:
            if split is self._splits.get(tables.TEST):
                return {}
            return _print_values(split, "eval", self.measure(name, shape))
        predictions = self._answer(split, shape, self._args.n_best_size)
        values = {}
        if is_dev:
            values = self._measure_dev(split, predictions)
        elif split.dataset.has_answers:
            values = self._measure(split, predictions)
        printed = _print_values(split, "eval" if is_dev else "predict", values)
        self._write(split, predictions)
        return printed

    def _answer(
        self, split: Split, shape: batches.Shape, n_best_size: int
    ) -> list[spans.Prediction]:
        outputs = training.predict(self._trainer, split.features, shape, "Answering")
        starts, ends = outputs[model.START_LOGITS], outputs[model.END_LOGITS]
        dataset, columns = split.dataset, split.features.columns
        contexts = split.contexts
        rows = np.searchsorted(
            columns[windows.QUESTION], np.arange(len(dataset.questions) + 1)
        )
        predictions = []
        for number, question in enumerate(dataset.questions):
            parts = [
                _cut_window(columns, starts, ends, row)
                for row in range(rows[number], rows[number + 1])
            ]
            tokens = slice(
                *contexts.line_starts[question.context : question.context + 2]
            )
            predictions.append(
                spans.predict(
                    dataset.contexts[question.context],
                    contexts.char_starts[tokens],
                    contexts.char_ends[tokens],
                    parts,
                    n_best_size,
                    self._args.max_answer_length,
                )
            )
        return predictions

    def _measure_dev(self, split: Split, predictions) -> dict[str, float]:
        if not self._args.version_2_with_negative:
            return self._measure(split, predictions)
        self._reader.threshold = self._args.null_score_diff_threshold
        if self._reader.threshold is None:
            self._reader.threshold = metrics.find_threshold(
                self._definition,
                split.answers,
                [prediction.best_text for prediction in predictions],
                [prediction.null_diff for prediction in predictions],
            )
        values = self._measure(split, predictions)
        return {**values, "null_threshold": self._reader.threshold}

    def _measure(self, split: Split, predictions) -> dict[str, float]:
        threshold = self._reader.threshold
        texts = [prediction.decide(threshold) for prediction in predictions]
        return metrics.measure(self._definition, split.answers, texts)

    def _write(self, split: Split, predictions) -> None:
        args, threshold = self._args, self._reader.threshold
        names = [question.id for question in split.dataset.questions]
        files = {
            output_folder.PREDICTIONS_FILE: [
                each.decide(threshold) for each in predictions
            ],
            output_folder.N_BEST_FILE: [
                each.describe(args.version_2_with_negative, args.n_best_size)
                for each in predictions
            ],
        }
        if args.version_2_with_negative:
            files[output_folder.NULL_ODDS_FILE] = [
                each.null_diff for each in predictions
            ]
        for file_name, values in files.items():
            path = os.path.join(self._output_dir, file_name)
            text = json.dumps(
                dict(zip(names, values, strict=True)), indent=1, ensure_ascii=False
            )
            _write_text(path, text + "\n")
            print(f"Predictions: {path}", flush=True)


def write_problems(
    problems: Sequence[tuple[str, str, int, str]], output_dir: str
) -> None:
    """Write answers.tsv: the training answers that differ from their file.

    Args:
        problems: from `data.list_problems` and `windows.list_inexact`.
        output_dir: its folder. If there are no problems, nothing is written, and the
            file of an earlier run is removed.
    """
    path = os.path.join(output_dir, ANSWERS_FILE)
    if not problems:
        if storage.exists(path):
            storage.remove(path)
        return
    rows = [("id", "answer", "answer_start", "problem"), *problems]
    # A tab or the end of a line in an answer would end its cell.
    lines = ["\t".join(" ".join(str(cell).split()) for cell in row) for row in rows]
    _write_text(path, "\n".join(lines) + "\n")
    print(f"All {len(problems)} answers that differ from the file: {path}")


def _write_text(path: str, text: str) -> None:
    # JSON may hold one half of a surrogate pair, which UTF-8 cannot: it is written as
    # JSON escapes it.
    storage.write_whole(path, text.encode("utf-8", "backslashreplace"))


def _cut_window(columns, starts, ends, row: int) -> spans.Window:
    """Cut the part of the context out of a window, without the [SEP] after it."""
    part = slice(int(columns[windows.DOCUMENT_START][row]), -1)
    return spans.Window(
        int(columns[windows.CONTEXT_START][row]),
        starts[row][part],
        ends[row][part],
        float(starts[row][0]),
        float(ends[row][0]),
    )


def _print_values(split: Split, prefix: str, values) -> dict[str, float]:
    if values:
        title = f"{split.dataset.path}, {len(split.dataset.questions)} questions:"
        results.print_values(title, values)
    return {f"{prefix}_{name}": value for name, value in values.items()}
