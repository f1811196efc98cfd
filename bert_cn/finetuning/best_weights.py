"""Measure a model while it is trained, and keep the weights that did best."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tqdm


class BestKeeper:
    """Keeps the best weights of a run, in memory and where `save` puts them.

    Args:
        model: its weights are kept.
        evaluate: returns the metrics of the present weights, by name; None if there is
            nothing to measure on, so that the last weights are the best.
        main_metric: the metric that decides; higher is better.
        save: writes the present weights to disk, whole or not at all.
        place: where `save` writes, for messages.
        replaces: whether that place has a model of an earlier run, which weights that
            were not measured do not replace.
    """

    def __init__(
        self,
        model: keras.Model,
        evaluate: Callable[[], Mapping[str, float]] | None,
        main_metric: str,
        save: Callable[[], None],
        place: str,
        replaces: bool = False,
    ):
        self._model = model
        self._evaluate = evaluate
        self._main_metric = main_metric
        self._save = save
        self._place = place
        self._replaces = replaces
        self._weights: list[np.ndarray] | None = None
        self.step = 0
        self.metrics: dict[str, float] = {}

    @property
    def kept(self) -> str:
        """A phrase that says which weights are kept; "" if none are."""
        if not self.step:
            return ""
        return f"the weights of step {self.step} stay in {self._place}"

    def measure(self, step: int, progress: str) -> dict[str, float]:
        """Evaluate, print one line, and keep the weights if none were better.

        Args:
            step: updates made so far.
            progress: for the line.

        Returns:
            The metrics; {} if there is nothing to measure on.
        """
        if self._evaluate is None:
            tqdm.tqdm.write(progress)  # Above a progress bar.
            self._keep(step, {})
            return {}
        try:
            metrics = dict(self._evaluate())
        except Exception:
            self.keep_unless_kept(step)
            raise
        better = not self.step or (
            metrics[self._main_metric] > self.metrics.get(self._main_metric, -np.inf)
        )
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        tqdm.tqdm.write(f"{progress}; dev: {shown}{' (best)' if better else ''}")
        if better:
            self._keep(step, metrics)
        return metrics

    def keep_unless_kept(self, step: int) -> None:
        """Keep the weights, unmeasured, if none were kept so far."""
        if self.step:
            return
        if self._replaces:
            tqdm.tqdm.write(f"The earlier model stays in {self._place}.")
            return
        self._keep(step, {})

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        if self._weights is not None:
            for variable, array in zip(self._variables(), self._weights, strict=True):
                variable.assign(array)

    def _keep(self, step: int, metrics: dict[str, float]) -> None:
        self._save()
        self._weights = [variable.numpy() for variable in self._variables()]
        self.step, self.metrics = step, metrics

    def _variables(self) -> list[keras.Variable]:
        # Dropout's random states are variables too, and must not be put back.
        return [v for v in self._model.variables if "seed_generator" not in v.path]
