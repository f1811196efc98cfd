"""The tf1 folder in bert4keras, under TensorFlow 1.15 and Keras 2.3."""

import numpy as np
import pytest

from bert_cn.conversion import formats
from tests.bert_cn.conversion.test_google_bert import INTERPRETER, RECIPE

_MISSING = 77

# bert4keras's own GELU is the exact one; its NSP output is always a softmax.
_CLIENT = f"""
import sys
try:
    import bert4keras
except ImportError:
    sys.exit({_MISSING})
import numpy as np
from bert4keras.backend import set_gelu
from bert4keras.models import build_transformer_model
folder, inputs, results = sys.argv[1:]
arrays = np.load(inputs)
set_gelu("tanh")
kinds = {{
    "sequence_output": {{}},
    "pooled_output": {{"with_pool": "tanh"}},
    "mlm_logits": {{"with_mlm": "linear"}},
    "nsp_probabilities": {{"with_nsp": True}},
}}
feed = [arrays["token_ids"], arrays["segment_ids"]]
outputs = {{
    name: build_transformer_model(
        folder + "/bert_config.json", folder + "/bert_model.ckpt", **kind
    ).predict(feed)
    for name, kind in kinds.items()
}}
np.savez(results, **outputs)
"""


@pytest.mark.tensorflow1
def test_bert4keras_loads_tf1_and_gives_our_outputs(
    build_bert, compute_outputs, model_input, assert_close, run_client, tmp_path
):
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))
    np.savez(tmp_path / "inputs.npz", **vars(model_input))
    paths = (tmp_path / "tf1", tmp_path / "inputs.npz", tmp_path / "results.npz")

    done = run_client(INTERPRETER, RECIPE, _CLIENT, *paths)

    if done.returncode == _MISSING:
        pytest.skip(
            "needs bert4keras there: pip install --no-deps bert4keras==0.11.5 "
            "keras==2.3.1 scipy==1.7.3 pyyaml==6.0.1"
        )
    assert done.returncode == 0, done.stderr
    ours = compute_outputs(bert)
    shares = np.exp(ours["nsp_logits"])
    ours["nsp_probabilities"] = shares / shares.sum(axis=1, keepdims=True)
    assert_close(ours, dict(np.load(tmp_path / "results.npz")))
