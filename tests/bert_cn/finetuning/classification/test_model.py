"""A classifier from start to end: trained, kept, exported, read again."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats
from bert_cn.conversion.weight_map import Part
from bert_cn.finetuning import batches, best_weights, training, warm_start
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.classification import model as classification_model

LENGTH = 16
SHAPE = batches.Shape(8, LENGTH, 8)
LETTERS = "使用语言模型来预测下一个词的。，国中北京首都是"
RECIPE = training.Recipe(
    learning_rate=1e-2,
    num_train_epochs=8,
    warmup_proportion=0.1,
    optimizer="adamw",
    weight_decay_rate=0.01,
    seed=1,
)


@pytest.fixture(scope="module")
def checkpoint(build_bert, tmp_path_factory):
    """A TF1 checkpoint, the folder's path."""
    path = tmp_path_factory.mktemp("checkpoint") / "tf1"
    formats.write_checkpoint(build_bert(), "tf1", str(path))
    return str(path)


def make_features(start, labels, examples=45):
    """Random texts; class 1 begins with 国, and a score is the share of 国."""
    rng = np.random.default_rng(3)
    texts = [
        "".join(rng.choice(list(LETTERS), rng.integers(2, 14))) for _ in range(examples)
    ]
    texts = [("国" if n % 2 else "京") + text for n, text in enumerate(texts)]
    sequences, _ = features_lib.encode_texts(
        texts, texts[::-1], start.tokenizer, start.vocabulary, LENGTH
    )
    values = np.arange(examples) % 2
    kind = np.float32 if labels.is_regression else np.int32
    column = {classification_model.LABEL: values.astype(kind)}
    return features_lib.Features({"": sequences}, column)


def build(checkpoint, labels):
    keras.utils.set_random_seed(0)
    start = warm_start.load_starting_point(checkpoint)
    classifier = classification_model.Classifier(start, labels)
    trainer = training.Trainer(tf.distribute.get_strategy(), classifier.build_learner())
    return classifier, trainer, make_features(start, labels)


def build_keeper(classifier, trainer, features, folder, accuracies=None):
    """Keep what measures best on the training examples; add to `accuracies`."""

    def evaluate():
        outputs = training.predict(trainer, features, SHAPE)
        right = outputs["logits"].argmax(axis=1) == features.columns["label"]
        if accuracies is not None:
            accuracies.append(right.mean())
        return {"accuracy": right.mean(), "loss": outputs["loss"].mean()}

    return best_weights.BestKeeper(
        classifier.model,
        evaluate,
        "accuracy",
        lambda: classifier.save(folder),
        folder,
    )


@pytest.fixture(scope="module")
def trained(checkpoint, tmp_path_factory):
    """Accuracies, features, outputs of the best weights, and their folder."""
    labels = classification_model.Labels(("京", "国"))
    classifier, trainer, features = build(checkpoint, labels)
    folder = str(tmp_path_factory.mktemp("trained") / "best")
    accuracies = []
    keeper = build_keeper(classifier, trainer, features, folder, accuracies)
    training.train(trainer, features, SHAPE, RECIPE, keeper)
    assert keeper.metrics["accuracy"] == max(accuracies)
    return accuracies, features, training.predict(trainer, features, SHAPE), folder


def test_training_learns_and_keeps_the_best_weights(trained):
    accuracies, features, outputs, _ = trained

    assert len(accuracies) == RECIPE.num_train_epochs
    assert max(accuracies) > 0.9
    right = outputs["logits"].argmax(axis=1) == features.columns["label"]
    assert right.mean() == max(accuracies)


def test_predictions_stand_in_the_order_of_the_examples(trained, checkpoint):
    _, features, outputs, folder = trained
    start = warm_start.load_starting_point(folder)
    classifier = classification_model.Classifier(
        start, classification_model.Labels(("京", "国"))
    )
    trainer = training.Trainer(tf.distribute.get_strategy(), classifier.build_learner())
    one_by_one = [
        trainer.compute_outputs(
            batches.make_batch(features, np.array([n]), batches.Shape(1, LENGTH, 1))
        )["logits"][0]
        for n in range(5)
    ]
    np.testing.assert_allclose(outputs["logits"][:5], one_by_one, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "names"), [("gelu", ("a", "b", "c")), ("gelu_erf", ())]
)
def test_transformers_computes_the_same_logits(activation, names, build_bert, tmp_path):
    torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'bert_cn[torch]'"
    )
    source, folder = str(tmp_path / "tf1"), str(tmp_path / "best")
    formats.write_checkpoint(build_bert(hidden_act=activation), "pt", source)
    labels = classification_model.Labels(names)
    classifier, trainer, features = build(source, labels)
    classifier.model.get_layer("classifier").kernel.assign(
        np.random.default_rng(0).normal(0, 1, (12, labels.num_outputs))
    )
    classifier.save(folder)
    batch = next(batches.iterate_eval_batches(features, SHAPE))

    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    with torch.no_grad():
        theirs = model.eval()(
            input_ids=torch.from_numpy(batch.arrays["token_ids"]).long(),
            token_type_ids=torch.from_numpy(batch.arrays["segment_ids"]).long(),
            attention_mask=torch.from_numpy(batch.arrays["padding_mask"]).long(),
        ).logits.numpy()

    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = trainer.compute_outputs(batch)["logits"]
    assert np.abs(ours).max() > 0.1
    difference = np.abs(ours - theirs).max()
    print(f"logits: largest absolute difference {difference:.1e}")
    assert difference <= 1e-4
    if names:
        assert model.config.id2label == dict(enumerate(names))
        assert model.config.problem_type == "single_label_classification"
    else:
        assert model.config.problem_type == "regression"
        assert model.num_labels == 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("国京")["input_ids"] == [
        2,
        *(7 + LETTERS.index(c) for c in "国京"),
        3,
    ]


@pytest.mark.parametrize(
    "names",
    [{"0": "a"}, {"0": "a", "2": "b"}, ["a", "b"], {"0": "a", "1": "b", "2": "c"}],
)
def test_classes_that_do_not_fit_the_head_are_refused(trained, tmp_path, names):
    folder = tmp_path / "best"
    shutil.copytree(trained[-1], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": names}))
    said = (
        r"best/config\.json: id2label must name the 2 outputs of the classifier, from"
    )
    with pytest.raises(ValueError, match=said):
        classification_model.read_labels(str(folder))


def test_fine_tuned_folder_is_read_with_its_head(trained, capsys):
    _, features, outputs, folder = trained
    labels = classification_model.read_labels(folder)
    assert labels.names == ("京", "国")
    _, trainer, _ = build(folder, labels)
    again = training.predict(trainer, features, SHAPE)
    np.testing.assert_allclose(again["logits"], outputs["logits"], atol=1e-6)
    assert "Its classifier predicts the same and is kept." in capsys.readouterr().out

    # Other labels: the encoder alone.
    _, trainer, _ = build(folder, classification_model.Labels(("国", "京")))
    other = training.predict(trainer, features, SHAPE)
    assert np.abs(other["logits"] - outputs["logits"]).max() > 0.1


@pytest.mark.parametrize(("num_labels", "names"), [(2, ("0", "1")), (1, ())])
def test_classes_that_transformers_does_not_name_are_numbered(
    build_bert, tmp_path, num_labels, names
):
    pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'bert_cn[torch]'"
    )
    formats.write_checkpoint(build_bert(), "pt", str(tmp_path / "pt"))
    model = transformers.BertForSequenceClassification.from_pretrained(
        str(tmp_path / "pt"), num_labels=num_labels
    )
    folder = tmp_path / "theirs"
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_bytes((tmp_path / "pt" / "vocab.txt").read_bytes())

    labels = classification_model.read_labels(str(folder))

    assert labels.names == names
    classifier, _, _ = build(str(folder), labels)
    kernel = classifier.model.get_layer("classifier").kernel.numpy()
    theirs = model.classifier.weight.detach().numpy()
    np.testing.assert_array_equal(kernel, theirs.T)


def test_bfloat16_computes_nearly_the_same_from_float32_variables(trained):
    _, features, outputs, folder = trained
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        classifier, trainer, _ = build(folder, classification_model.read_labels(folder))
    finally:
        keras.config.set_dtype_policy("float32")
    model = classifier.model
    assert model.get_layer("bert").compute_dtype == "bfloat16"
    half = training.predict(trainer, features, SHAPE)
    assert half["logits"].dtype == half["loss"].dtype == np.float32
    # bfloat16 has 8 binary digits.
    difference = np.abs(half["logits"] - outputs["logits"]).max()
    assert 1e-5 < difference < np.abs(outputs["logits"]).max() / 2**4

    trainer.start(RECIPE, 4)
    result = trainer.train_step(next(batches.iterate_eval_batches(features, SHAPE)))
    assert np.isfinite(result.numpy()).all()
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_missing_pooler_starts_from_random_weights(build_bert, tmp_path, capsys):
    bert = build_bert((Part.ENCODER, Part.MLM))
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "mlm"))

    start = warm_start.load_starting_point(str(tmp_path / "mlm"))
    encoder = warm_start.build_encoder(start)

    said = "It has no pooler, which starts from random weights."
    assert said in capsys.readouterr().out
    warm_start.build_encoder(start, uses_pooler=False)
    assert "It has no" not in capsys.readouterr().out
    back = warm_start.read_back(encoder, start)
    name = "bert/embeddings/word_embeddings"
    assert back.weights[name].tobytes() == bert.weights[name].tobytes()
    kernel = back.weights["bert/pooler/dense/kernel"]
    assert 0.005 < kernel.std() < 0.03
    without = warm_start.read_back(encoder, start, with_pooler=False)
    assert without.parts == (Part.ENCODER,)


def test_what_the_loss_does_not_reach_is_left_alone(checkpoint):
    start = warm_start.load_starting_point(checkpoint)
    encoder = warm_start.build_encoder(start)
    inputs = warm_start.encoder_inputs()
    score = keras.layers.Dense(1, name="score")(encoder(inputs)["sequence_output"])
    model = keras.Model(inputs, score)
    learner = training.Learner(
        model,
        lambda batch: tf.reduce_sum(
            model({name: batch[name] for name in inputs}, training=True), axis=(1, 2)
        ),
        lambda batch: {"scores": model({name: batch[name] for name in inputs})[..., 0]},
        unused=warm_start.pooler_paths(start),
        token_outputs=frozenset({"scores"}),
    )
    trainer = training.Trainer(tf.distribute.get_strategy(), learner)
    features = make_features(start, classification_model.Labels(("a", "b")))
    before = warm_start.read_back(encoder, start)
    pooler = before.weights["bert/pooler/dense/kernel"].copy()
    query = "bert/encoder/layer_0/attention/self/query/kernel"
    first = before.weights[query].copy()
    trainer.start(RECIPE, 10)
    batch = batches.make_batch(features, np.arange(8), SHAPE)
    trainer.train_step(batch)
    trainer.train_step(batch)

    after = warm_start.read_back(encoder, start)
    assert after.weights["bert/pooler/dense/kernel"].tobytes() == pooler.tobytes()
    assert np.abs(after.weights[query] - first).max() > 1e-4

    outputs = training.predict(trainer, features, SHAPE)
    assert [len(row) for row in outputs["scores"]] == features.lengths.tolist()


REPLICAS = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, devices)
import dataclasses
import keras
from bert_cn.finetuning.classification import model as classification_model
from bert_cn.finetuning import heads, training, warm_start
from tests.bert_cn.finetuning.classification import test_model as this

start = warm_start.load_starting_point(sys.argv[1])
config = dataclasses.replace(
    start.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
)
start = dataclasses.replace(start, config=config)
labels = classification_model.Labels(("0", "1"))
recipe = dataclasses.replace(this.RECIPE, num_train_epochs=2)
# 21 examples in batches of 8: the last batch has filling on the second replica.
features = this.make_features(start, labels, examples=21)
for strategy in (
    tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        classifier = classification_model.Classifier(start, labels)
    trainer = training.Trainer(strategy, classifier.build_learner())
    keeper = this.build_keeper(classifier, trainer, features, sys.argv[2])
    training.train(trainer, features, this.SHAPE, recipe, keeper)
    outputs = training.predict(trainer, features, this.SHAPE)
    print(json.dumps(outputs["logits"].tolist()))

(dropout,) = (
    layer for layer in classifier.model.layers if isinstance(layer, heads.Dropout)
)
dropout.rate = 0.5
ones = tf.ones([64])
drop = tf.function(lambda: strategy.run(lambda: dropout(ones, training=True)))
calls = [strategy.experimental_local_results(drop()) for _ in range(2)]
print(json.dumps([[y.numpy().tolist() for y in call] for call in calls]))
"""


@pytest.mark.slow
def test_two_replicas_compute_what_one_does(warm, checkpoint, tmp_path):
    done = warm.run("replicas", [checkpoint, tmp_path / "best"], program=REPLICAS)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[[")]
    *logits, calls = map(json.loads, lines)
    one, two = map(np.array, logits)
    assert one.shape == (21, 2)
    assert np.abs(one).max() > 0.02
    np.testing.assert_allclose(one, two, atol=1e-5)
    # Dropout of the head has another mask in each call, and on each replica.
    masks = [tuple(mask) for call in calls for mask in call]
    assert len(masks) == len(set(masks)) == 4
    for mask in masks:
        assert set(mask) == {0.0, 2.0}
        assert 16 < mask.count(0.0) < 48
