"""The tf1 folder in google-research/bert's own modeling.py, under TensorFlow 1.15."""

import json

import numpy as np
import pytest

from bert_cn.conversion import formats, google_tf1

INTERPRETER = "BERT_CN_TF1_PYTHON"
RECIPE = (
    "python3.7 -m venv tf1 && tf1/bin/pip install tensorflow==1.15.5 'protobuf<3.21' "
    "six && tf1/bin/pip install --no-deps bert-tensorflow==1.0.4"
)

# Runs under TensorFlow 1.15: build Google's graph and heads (run_pretraining.py of
# bert-tensorflow imports no further), map the checkpoint as Google does, run, save; and
# restore the same checkpoint through its .meta.
_CLIENT = """
import json, sys
import numpy as np, tensorflow as tf
tf.compat.v1.logging.set_verbosity("ERROR")
from bert import modeling, tokenization
tf.compat.v1.flags.FLAGS(["client"])
folder, inputs, results = sys.argv[1:]
arrays = np.load(inputs)
config = modeling.BertConfig.from_json_file(folder + "/bert_config.json")
checkpoint = folder + "/bert_model.ckpt"
model = modeling.BertModel(
    config, False, tf.constant(arrays["token_ids"]), tf.constant(arrays["mask"]),
    tf.constant(arrays["segment_ids"]))
hidden = config.hidden_size
with tf.variable_scope("cls/predictions"):
    with tf.variable_scope("transform"):
        x = tf.layers.dense(model.get_sequence_output(), hidden,
                            activation=modeling.get_activation(config.hidden_act))
        x = modeling.layer_norm(x)
    bias = tf.get_variable("output_bias", [config.vocab_size])
    mlm = tf.einsum("blh,vh->blv", x, model.get_embedding_table()) + bias
with tf.variable_scope("cls/seq_relationship"):
    weights = tf.get_variable("output_weights", [2, hidden])
    nsp_bias = tf.get_variable("output_bias", [2])
    nsp = tf.matmul(model.get_pooled_output(), weights, transpose_b=True) + nsp_bias
variables = tf.trainable_variables()
mapped, names = modeling.get_assignment_map_from_checkpoint(variables, checkpoint)
tf.train.init_from_checkpoint(checkpoint, mapped)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    values = session.run({
        "sequence_output": model.get_sequence_output(),
        "pooled_output": model.get_pooled_output(),
        "mlm_logits": mlm, "nsp_logits": nsp})
np.savez(results, **values)
with tf.Graph().as_default(), tf.Session() as session:
    saver = tf.train.import_meta_graph(checkpoint + ".meta")
    saver.restore(session, checkpoint)
    restored = len(tf.global_variables())
tokenizer = tokenization.FullTokenizer(folder + "/vocab.txt", do_lower_case=False)
print(json.dumps({
    "version": tf.__version__,
    "not_mapped": [v.op.name for v in variables if v.op.name not in mapped],
    "not_used": [n for n, _ in tf.train.list_variables(checkpoint) if n not in mapped],
    "restored": restored,
    "ids": tokenizer.convert_tokens_to_ids(tokenizer.tokenize("\\u4e2d\\u56fd bert")),
}))
"""


@pytest.mark.tensorflow1
@pytest.mark.parametrize("most_bytes_at_once", [10**9, 5000])
def test_google_bert_loads_tf1_and_gives_our_outputs(
    most_bytes_at_once,
    build_bert,
    compute_outputs,
    model_input,
    assert_close,
    run_client,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(google_tf1, "_MOST_BYTES_AT_ONCE", most_bytes_at_once)
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))
    np.savez(tmp_path / "inputs.npz", **vars(model_input))
    paths = (tmp_path / "tf1", tmp_path / "inputs.npz", tmp_path / "results.npz")

    done = run_client(INTERPRETER, RECIPE, _CLIENT, *paths)

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["version"] == "1.15.5"
    assert said["not_mapped"] == said["not_used"] == []
    assert said["restored"] == 46
    assert said["ids"] == [bert.vocabulary.ids[t] for t in ("中", "国", "bert")]
    assert_close(compute_outputs(bert), dict(np.load(tmp_path / "results.npz")))
