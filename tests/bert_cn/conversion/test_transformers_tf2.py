"""tf_model.h5 in transformers 4 with TensorFlow, in an environment of its own."""

import json

import numpy as np
import pytest

from bert_cn.conversion import formats

_INTERPRETER = "BERT_CN_TRANSFORMERS4_PYTHON"
_RECIPE = (
    "python3.11 -m venv hf4 && hf4/bin/pip install 'transformers==4.57.*' "
    "'tensorflow-cpu==2.20.*' 'tf-keras==2.20.*'"
)

# Runs under transformers 4: load the folder, print what was not as expected, save the
# outputs and a file of its own to compare with.
_CLIENT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import h5py, json, numpy as np, transformers
folder, inputs, results = sys.argv[1:]
arrays = dict(np.load(inputs))
model, info = transformers.TFBertForPreTraining.from_pretrained(
    folder, output_loading_info=True
)
feed = {
    "input_ids": arrays["token_ids"],
    "attention_mask": arrays["mask"],
    "token_type_ids": arrays["segment_ids"],
}
heads = model(feed, training=False)
encoder = model.bert(feed, training=False)
np.savez(
    results,
    sequence_output=encoder.last_hidden_state.numpy(),
    pooled_output=encoder.pooler_output.numpy(),
    mlm_logits=heads.prediction_logits.numpy(),
    nsp_logits=heads.seq_relationship_logits.numpy(),
)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model.save_pretrained(folder + "_saved_again", safe_serialization=False)
print(json.dumps({
    "version": transformers.__version__,
    "info": {key: list(value) for key, value in info.items()},
    "ids": tokenizer("中国的bert")["input_ids"],
    "tokenizer": type(tokenizer).__name__,
}))
"""


@pytest.mark.transformers4
@pytest.mark.parametrize("activation", ["gelu", "gelu_erf"])
def test_transformers4_loads_tf_model_and_gives_our_outputs(
    activation,
    build_bert,
    compute_outputs,
    model_input,
    assert_close,
    assert_same_weights,
    run_client,
    tmp_path,
):
    bert = build_bert(hidden_act=activation)
    formats.write_checkpoint(bert, "tf2", str(tmp_path / "tf2"))
    np.savez(tmp_path / "inputs.npz", **vars(model_input))

    paths = (tmp_path / "tf2", tmp_path / "inputs.npz", tmp_path / "results.npz")
    done = run_client(_INTERPRETER, _RECIPE, _CLIENT, *paths, TF_USE_LEGACY_KERAS="1")

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["version"].startswith("4.")
    assert not any(said["info"].values()), said["info"]
    assert said["ids"] == [2, *(bert.vocabulary.ids[t] for t in "中国的"), 34, 3]
    assert_close(compute_outputs(bert), dict(np.load(tmp_path / "results.npz")))
    assert_same_layout(tmp_path / "tf2", tmp_path / "tf2_saved_again")
    theirs = formats.read_checkpoint(str(tmp_path / "tf2_saved_again"))
    assert_same_weights(theirs, bert)


def assert_same_layout(ours, theirs):
    """Check that two tf_model.h5 have the same groups, datasets and attributes."""
    import h5py

    def describe(folder):
        items = {}

        def visit(name, item):
            shape = getattr(item, "shape", None)
            items[name] = (shape, {k: list(v) for k, v in item.attrs.items()})

        with h5py.File(folder / "tf_model.h5") as file:
            file.visititems(visit)
            attributes = dict(file.attrs)
        attributes["layer_names"] = list(attributes["layer_names"])
        # visititems calls a dataset of two names once, so go by the lists of names.
        return attributes, {k: v for k, v in items.items() if "/" not in k}

    assert describe(ours) == describe(theirs)
