import numpy as np
import pytest


@pytest.mark.parametrize(
    ("names", "frozen"),
    [
        ("embeddings", ("_embedding/", "embeddings_layer_norm")),
        ("layers:1", ("transformer_layer_1/",)),
        ("layers:0-1,embeddings", ("transformer_layer_", "embedding")),
    ],
)
def test_frozen_parts_keep_their_weights_and_others_learn(start_run, names, frozen):
    run = start_run(freeze=names)
    model = run.trainer.model
    before = {variable.path: variable.numpy() for variable in model.weights}
    run.train()
    for variable in model.weights:
        if "seed" in variable.path:
            continue
        kept = np.array_equal(before[variable.path], variable.numpy())
        expected = any(part in variable.path for part in frozen)
        assert kept == expected, variable.path


@pytest.mark.parametrize(
    ("names", "saying"),
    [
        ("embedding", "'embedding' is no part of the encoder: write embeddings"),
        ("layers:0-", "'layers:0-' is no part"),
        ("layers:1-2", "layers:1-2 are no layers of this model, which has 0 to 1"),
        ("layers:1-0", "layers:1-0 are no layers"),
    ],
)
def test_parts_that_are_not_there_are_refused(start_run, names, saying):
    with pytest.raises(ValueError, match=f"--freeze={names}: {saying}"):
        start_run(freeze=names)
