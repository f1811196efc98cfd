"""The reporter that all kinds of task share: measure, print, write predictions."""

import abc
import os
import typing
from collections.abc import Mapping, Sequence

from bert_cn.finetuning import batches, output_folder, tables, training
from bert_cn.finetuning import features as features_lib
from data_prep import storage

# Names of results begin with the split's name; for dev Google has another one.
_PREFIXES = {tables.DEV: "eval"}
Outputs = dict[str, typing.Any]


class Measured(typing.Protocol):
    """The examples of a split."""

    @property
    def path(self) -> str:
        """The file they come from."""

    @property
    def has_labels(self) -> bool:
        """Whether the right answers are known."""

    def __len__(self) -> int:
        """Return the number of examples."""


class Reporter(abc.ABC):
    """Measures a model on the splits of a run; each kind of task inherits from it.

    Args:
        trainer: its learner is the model's.
        data: split name -> examples.
        features: split name -> features.
        output_dir: the folder for predictions.

    Attributes:
        main_metric: the metric that decides which weights are best.
        noun: what messages call the examples.
    """

    main_metric: str
    noun = "examples"

    def __init__(
        self,
        trainer: training.Trainer,
        data: Mapping[str, Measured],
        features: Mapping[str, features_lib.Features],
        output_dir: str,
    ):
        self._trainer = trainer
        self._data = data
        self._features = features
        self._output_dir = output_dir

    @abc.abstractmethod
    def compute(self, data: Measured, outputs: Outputs) -> dict[str, float]:
        """Return the metrics of a split, `main_metric` among them."""

    def compute_more(self, data: Measured, outputs: Outputs) -> dict[str, float]:
        """Return what only the final report has; may print a line."""
        return {}

    @abc.abstractmethod
    def list_predictions(self, data: Measured, outputs: Outputs) -> Sequence[str]:
        """Return the lines of the file of predictions."""

    def describe(self, data: Measured, outputs: Outputs) -> str:
        """Return what is printed after the metrics; "" for nothing."""
        return ""

    def predict(self, name: str, shape: batches.Shape) -> Outputs:
        """Return the learner's outputs for a split, see `training.predict`."""
        return training.predict(self._trainer, self._features[name], shape, name)

    def measure(self, name: str, shape: batches.Shape) -> dict[str, float]:
        """Return the metrics of one split."""
        return self.compute(self._data[name], self.predict(name, shape))

    def report(
        self, split: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure all files of a split and print; return the values as eval_... .

        Args:
            split: dev or test; a second file is called dev_2 or test_2.
            shape: of the batches.
            with_predictions: write them; a file without labels is not measured.
        """
        results = {}
        for name in (split, f"{split}_2"):
            if name not in self._data:
                continue
            data, outputs = self._data[name], self.predict(name, shape)
            if with_predictions:
                self._write_predictions(name, self.list_predictions(data, outputs))
            if not data.has_labels:
                continue
            values = self.compute(data, outputs) | self.compute_more(data, outputs)
            print_values(f"{data.path}, {len(data)} {self.noun}:", values)
            if text := self.describe(data, outputs):
                print(text, flush=True)
            prefix = _PREFIXES.get(split, split) + name.removeprefix(split)
            results |= {f"{prefix}_{key}": value for key, value in values.items()}
        return results

    def _write_predictions(self, name: str, lines: Sequence[str]) -> None:
        path = os.path.join(self._output_dir, output_folder.TABLE_FILE.format(name))
        storage.write_whole(path, "".join(f"{line}\n" for line in lines))
        print(f"Predictions: {path}", flush=True)


def print_values(title: str, values: Mapping[str, float]) -> None:
    """Print a title, and a line for each metric."""
    print(title)
    for key, value in values.items():
        print(f"  {key} = {value:.4f}", flush=True)
