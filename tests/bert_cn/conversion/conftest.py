"""The same random input for our model and for every client."""

import dataclasses
import os
import subprocess

import numpy as np
import pytest

from bert_cn.conversion import keras_weights
from bert_cn.model import pretraining_model

MOST_DIFFERENCE = 1e-4


@dataclasses.dataclass
class ModelInput:
    """int32 [batch, length] each; the second sequence is padded."""

    token_ids: np.ndarray
    mask: np.ndarray
    segment_ids: np.ndarray


@pytest.fixture(scope="session")
def model_input():
    generator = np.random.default_rng(5)
    mask = np.ones((2, 16), np.int32)
    mask[1, 11:] = 0
    segment_ids = np.zeros((2, 16), np.int32)
    segment_ids[:, 7:] = 1
    # No [PAD] where there is no padding: bert4keras masks by the ids alone.
    token_ids = generator.integers(1, 30, (2, 16), dtype=np.int32)
    return ModelInput(token_ids * mask, mask, segment_ids * mask)


@pytest.fixture(scope="session")
def run_client():
    """Run a script with the Python of another environment; returns CompletedProcess."""

    def run(
        variable: str, recipe: str, script: str, *arguments, **environment: str
    ) -> subprocess.CompletedProcess:
        interpreter = os.environ.get(variable)
        if not interpreter:
            pytest.skip(
                f"set {variable} to the python of an environment made by: {recipe}"
            )
        # TensorFlow 2 sets the second in this process, and TensorFlow 1.15 obeys it.
        ours = ("PYTHONPATH", "TF2_BEHAVIOR")
        inherited = {k: v for k, v in os.environ.items() if k not in ours}
        return subprocess.run(
            [interpreter, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=inherited | environment,
        )

    return run


@pytest.fixture(scope="session")
def compute_outputs(model_input):
    """Our Keras model's outputs, the MLM logits at every position."""

    def compute(bert) -> dict[str, np.ndarray]:
        model = pretraining_model.build_pretraining_model(bert.config)
        keras_weights.assign_to_model(model, bert.weights, bert.parts)
        positions = np.tile(np.arange(16, dtype=np.int32), (2, 1))
        outputs = pretraining_model.predict(
            model,
            {
                "input_ids": model_input.token_ids,
                "input_mask": model_input.mask,
                "segment_ids": model_input.segment_ids,
                "masked_lm_positions": positions,
            },
        )
        return {name: np.asarray(array) for name, array in outputs.items()}

    return compute


@pytest.fixture(scope="session")
def assert_close(model_input):
    """Check that the largest difference over positions that are no padding is small."""

    def check(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]):
        assert theirs, "nothing to compare"
        for name, array in theirs.items():
            difference = np.abs(ours[name] - np.asarray(array))
            if array.ndim == 3:
                difference = difference[model_input.mask == 1]
            print(f"{name}: largest absolute difference {difference.max():.1e}")
            assert difference.max() <= MOST_DIFFERENCE, name
            # Outputs of no size would agree with anything.
            assert np.abs(ours[name]).max() > 0.1, name

    return check
