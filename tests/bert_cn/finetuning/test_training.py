"""The loop, with updates whose results are made up."""

import dataclasses
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.finetuning import batches, best_weights, training
from bert_cn.finetuning import features as features_lib

SHAPE = batches.Shape(batch_size=2, max_seq_length=4, width_multiple=4)
RECIPE = training.Recipe(1e-3, 3, 0.1, "adamw", 0.01, 0)


class MadeUpTrainer:
    """Sets the only weight to the number of the update."""

    agree = staticmethod(bool)

    def __init__(self, result=lambda step: (1.0, 1.0)):
        self.model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        self.seen = []
        self._result = result

    def start(self, recipe, num_train_steps):
        self.num_train_steps = num_train_steps

    def train_step(self, batch):
        self.seen.append(batch.examples.tolist())
        self.model.layers[0].bias.assign([len(self.seen)])
        return tf.constant(self._result(len(self.seen)))

    @property
    def weight(self):
        return float(self.model.layers[0].bias.numpy()[0])


@pytest.fixture
def features():
    rows = [{"token_ids": np.ones(length, int)} for length in (1, 2, 3, 4, 2)]
    return features_lib.Features({"": features_lib.join_sequences(rows)})


def run(trainer, features, scores=None, replaces=False, **settings):
    """Train; the evaluations find `scores`.

    Returns whether training came to its end, what was saved, and the keeper.
    """
    saved, left = [], iter(scores or ())
    keeper = best_weights.BestKeeper(
        trainer.model,
        scores and (lambda: {"accuracy": next(left)}),
        "accuracy",
        lambda: saved.append(trainer.weight),
        "out/best",
        replaces,
    )
    recipe = dataclasses.replace(RECIPE, **settings)
    try:
        training.train(trainer, features, SHAPE, recipe, keeper)
        is_whole = True
    except KeyboardInterrupt:
        is_whole = False
    return is_whole, saved, keeper


def test_best_weights_of_an_epoch_are_kept_and_restored(features, capsys):
    trainer = MadeUpTrainer()

    is_whole, saved, keeper = run(trainer, features, [0.5, 0.75, 0.75])

    # 5 examples in batches of 2: 3 updates an epoch; a tie goes to the earlier.
    assert is_whole
    assert len(trainer.seen) == trainer.num_train_steps == 9
    assert saved == [3.0, 6.0]
    assert (keeper.step, keeper.metrics) == (6, {"accuracy": 0.75})
    assert trainer.weight == 6.0
    for epoch in range(3):
        batches_seen = trainer.seen[3 * epoch : 3 * epoch + 3]
        assert sorted(sum(batches_seen, [])) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1, step 3, loss 1.0000; dev: accuracy 0.5000 (best)",
        "epoch 2, step 6, loss 1.0000; dev: accuracy 0.7500 (best)",
        "epoch 3, step 9, loss 1.0000; dev: accuracy 0.7500",
    ]


def test_without_dev_the_last_weights_are_kept(features):
    trainer = MadeUpTrainer()
    _, saved, keeper = run(trainer, features, num_train_epochs=1.5)
    # 1.5 epochs are 4.5 updates, and round() goes to the even one.
    assert (len(trainer.seen), saved, keeper.step) == (4, [3.0, 4.0], 4)


def test_order_depends_on_the_seed_alone(features):
    orders = []
    for seed in (0, 0, 1):
        trainer = MadeUpTrainer()
        run(trainer, features, seed=seed)
        orders.append(trainer.seen)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("bad", [(float("nan"), 1.0), (1.0, float("inf"))])
def test_result_that_is_not_finite_stops_training(features, bad):
    trainer = MadeUpTrainer(lambda step: bad if step == 5 else (1.0, 1.0))
    message = "not finite in step 5; the weights of step 3 stay in out/best. Lower"
    with pytest.raises(FloatingPointError, match=message):
        run(trainer, features, [0.5, 0.6, 0.7])
    first = MadeUpTrainer(lambda step: bad)
    with pytest.raises(FloatingPointError, match="in step 1; nothing was saved. Lower"):
        run(first, features, [0.5])


@pytest.mark.parametrize(("when", "kept"), [(2, 2), (5, 3)])
def test_signal_ends_training_and_leaves_the_best_weights(features, when, kept):
    def interrupt(step):
        if step == when:
            signal.raise_signal(signal.SIGINT)
        return (1.0, 1.0)

    trainer = MadeUpTrainer(interrupt)
    is_whole, saved, keeper = run(trainer, features, [0.5, 0.6, 0.7])
    assert not is_whole
    assert len(trainer.seen) == when
    # Before the first evaluation the present weights are kept, or else the best.
    assert (saved, keeper.step) == ([float(kept)], kept)


def test_early_signal_leaves_the_model_of_an_earlier_run(features, capsys):
    trainer = MadeUpTrainer(lambda _: signal.raise_signal(signal.SIGINT) or (1.0, 1.0))
    is_whole, saved, _ = run(trainer, features, [0.5], replaces=True)
    assert (is_whole, saved) == (False, [])
    assert "The earlier model stays in out/best." in capsys.readouterr().out


@pytest.mark.parametrize(("replaces", "kept"), [(False, [3.0]), (True, [])])
def test_weights_survive_a_first_evaluation_that_fails(features, replaces, kept):
    trainer, saved = MadeUpTrainer(), []

    def fail():
        raise ValueError("out of memory")

    keeper = best_weights.BestKeeper(
        trainer.model,
        fail,
        "accuracy",
        lambda: saved.append(trainer.weight),
        "out/best",
        replaces,
    )
    with pytest.raises(ValueError, match="out of memory"):
        training.train(trainer, features, SHAPE, RECIPE, keeper)
    assert saved == kept


def test_another_host_ends_training(features):
    trainer = MadeUpTrainer()
    # The other host was told after its second update.
    trainer.agree = lambda flag: flag or len(trainer.seen) == 2
    is_whole, saved, _ = run(trainer, features, [0.5])
    assert (is_whole, saved) == (False, [2.0])
