"""What a reader answers, how it is measured, and the files that say it."""

import dataclasses
import json
import os
from collections.abc import Sequence

import numpy as np

from bert_cn.finetuning import batches, output_folder, training, warm_start
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.reading import data, metrics, model, spans, windows
from data_prep import storage

ANSWERS_FILE = "answers.tsv"


@dataclasses.dataclass(frozen=True)
class Split:
    """Questions that are to be answered.

    Attributes:
        dataset: the questions.
        features: their windows.
    """

    dataset: data.Dataset
    features: features_lib.Features


@dataclasses.dataclass(frozen=True)
class Rules:
    """How answers are chosen and measured.

    Attributes:
        definition: the metric's.
        n_best_size: the most answers in the n-best file.
        max_answer_length: the most tokens of an answer.
        with_negative: whether questions may have no answer.
        threshold: see `spans.Prediction.decide`; None: found on dev.
    """

    definition: metrics.Definition
    n_best_size: int
    max_answer_length: int
    with_negative: bool
    threshold: float | None


class Reporter:
    """Answers and measures with a reader.

    Args:
        trainer: whose learner is the reader's.
        reader: keeps the threshold that is found.
        start: its tokenizer, which finds the characters of tokens.
        rules: how.
        shape: of the batches.
    """

    def __init__(
        self,
        trainer: training.Trainer,
        reader: model.Reader,
        start: warm_start.StartingPoint,
        rules: Rules,
        shape: batches.Shape,
    ):
        self._trainer = trainer
        self._reader = reader
        self._start = start
        self._rules = rules
        self._shape = shape

    def measure(self, split: Split) -> dict[str, float]:
        """Measure on dev, the threshold found there if none was given."""
        return self._measure_dev(split, self._answer(split, n_best_size=1))

    def evaluate(self, split: Split) -> dict[str, float]:
        """Measure on dev, print, and return Google's keys (eval_...)."""
        return _print_values(split, "eval", self.measure(split))

    def predict(
        self, split: Split, output_dir: str, is_dev: bool = False
    ) -> dict[str, float]:
        """Write the files of predictions; measure if the answers are known.

        Args:
            split: the questions.
            output_dir: folder of the files.
            is_dev: whether this is the split that `measure` measures on.

        Returns:
            predict_... or, for dev, eval_...
        """
        predictions = self._answer(split, self._rules.n_best_size)
        values = {}
        if is_dev:
            values = self._measure_dev(split, predictions)
        elif split.dataset.has_answers:
            values = self._measure(split, predictions)
        printed = _print_values(split, "eval" if is_dev else "predict", values)
        self._write(split, predictions, output_dir)
        return printed

    def _answer(self, split: Split, n_best_size: int) -> list[spans.Prediction]:
        outputs = training.predict(
            self._trainer, split.features, self._shape, "Answering"
        )
        starts = outputs[model.START_LOGITS]
        ends = outputs[model.END_LOGITS]
        dataset, columns = split.dataset, split.features.columns
        contexts = self._start.tokenizer.tokenize(dataset.contexts)
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
                    self._rules.max_answer_length,
                )
            )
        return predictions

    def _measure_dev(self, split: Split, predictions) -> dict[str, float]:
        rules = self._rules
        if not rules.with_negative:
            return self._measure(split, predictions)
        self._reader.threshold = rules.threshold
        if rules.threshold is None:
            self._reader.threshold = metrics.find_threshold(
                rules.definition,
                _list_answers(split),
                [prediction.best_text for prediction in predictions],
                [prediction.null_diff for prediction in predictions],
            )
        values = self._measure(split, predictions)
        return {**values, "null_threshold": self._reader.threshold}

    def _measure(self, split: Split, predictions) -> dict[str, float]:
        texts = [
            prediction.decide(self._reader.threshold) for prediction in predictions
        ]
        return metrics.measure(self._rules.definition, _list_answers(split), texts)

    def _write(self, split: Split, predictions, output_dir: str) -> None:
        rules, threshold = self._rules, self._reader.threshold
        names = [question.id for question in split.dataset.questions]
        files = {
            output_folder.PREDICTIONS_FILE: [
                each.decide(threshold) for each in predictions
            ],
            output_folder.N_BEST_FILE: [
                each.describe(rules.with_negative, rules.n_best_size)
                for each in predictions
            ],
        }
        if rules.with_negative:
            files[output_folder.NULL_ODDS_FILE] = [
                each.null_diff for each in predictions
            ]
        for file_name, values in files.items():
            path = os.path.join(output_dir, file_name)
            text = json.dumps(
                dict(zip(names, values, strict=True)), indent=1, ensure_ascii=False
            )
            _write_text(path, text + "\n")
            print(f"Predictions: {path}", flush=True)


def write_problems(
    problems: Sequence[tuple[str, str, int, str]], output_dir: str
) -> None:
    """Write answers.tsv: the training answers that are not what their file says.

    Args:
        problems: from `data.list_problems` and `windows.list_inexact`.
        output_dir: its folder. If there are no problems nothing is written, and the
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
    print(f"All {len(problems)} answers that are not as the file says: {path}")


def _write_text(path: str, text: str) -> None:
    # JSON may hold one half of a surrogate pair, which UTF-8 cannot: written as JSON
    # escapes it.
    with storage.open(path + ".tmp", "wb") as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    storage.rename(path + ".tmp", path, overwrite=True)


def _cut_window(columns, starts, ends, row: int) -> spans.Window:
    """Cut the part of the context out of a window; the [SEP] behind it goes too."""
    part = slice(int(columns[windows.DOCUMENT_START][row]), -1)
    return spans.Window(
        int(columns[windows.CONTEXT_START][row]),
        starts[row][part],
        ends[row][part],
        float(starts[row][0]),
        float(ends[row][0]),
    )


def _list_answers(split: Split) -> list[list[str]]:
    return [
        [answer.text for answer in question.answers]
        for question in split.dataset.questions
    ]


def _print_values(split: Split, prefix: str, values) -> dict[str, float]:
    if values:
        print(f"{split.dataset.path}, {len(split.dataset.questions)} questions:")
    for name, value in values.items():
        print(f"  {name} = {value:.4f}", flush=True)
    return {f"{prefix}_{name}": value for name, value in values.items()}
