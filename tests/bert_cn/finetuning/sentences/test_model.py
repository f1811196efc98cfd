"""Sentence embeddings: equal to sentence-transformers', losses included."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, sentence_modules
from bert_cn.finetuning import batches, tables, training, warm_start
from bert_cn.finetuning.sentences import data as sentences_data
from bert_cn.finetuning.sentences import encoding, objectives, whitening
from bert_cn.finetuning.sentences import model as sentences_model

LENGTH = 16
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FIRST = ["国中北京首都是", "使用", "语言模型来预测下一个词的。", "国"]
SECOND = ["北京", "用语言", "词", "的，。国是首都北京中国使用语言模型来预测"]
THIRD = ["下一个", "京", "来预测词", "一"]
SCORES = np.array([1.0, 0.5, 0.2, 0.0], np.float32)
COLUMNS = {
    "cosine": {sentences_model.SCORE: SCORES},
    "softmax": {sentences_model.LABEL: np.array([2, 0, 1, 1], np.int32)},
    "ranking": {},
}


@pytest.fixture(scope="module")
def checkpoint(build_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tf1"
    formats.write_checkpoint(build_bert(**NO_DROPOUT), "tf1", str(path))
    return str(path)


@pytest.fixture(scope="module")
def their_library():
    pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    return pytest.importorskip(
        "sentence_transformers", reason="pip install 'bert_cn[torch]'"
    )


def build(checkpoint, pooling="mean", normalize=False, objective=None):
    keras.utils.set_random_seed(0)
    start = warm_start.load_starting_point(checkpoint)
    embedding = sentence_modules.Embedding(pooling, normalize)
    encoder = sentences_model.SentenceEncoder(start, embedding, objective, LENGTH)
    return start, encoder


def make_batch(start, first, second, third=None, columns=(), size=None):
    table = tables.Table(
        "pairs.tsv", first, second, None, [1] * len(first), [0] * len(first)
    )
    pairs = sentences_data.Pairs(table, dict(columns), third)
    features = sentences_data.encode_pairs(pairs, "train", start, LENGTH, "")
    shape = batches.Shape(size or len(first), LENGTH, 8)
    batch = batches.make_batch(features, np.arange(len(first)), shape)
    return {name: tf.constant(array) for name, array in batch.arrays.items()}


def compute_losses(encoder, batch):
    return encoder.build_learner().compute_losses(batch).numpy()


@pytest.mark.parametrize(
    ("pooling", "normalize"),
    [
        *(("mean", False), ("mean", True), ("cls", False), ("max", False)),
        *(("weighted_mean", False), ("first_last_mean", True)),
    ],
)
def test_sentence_transformers_makes_the_same_embeddings(
    pooling, normalize, checkpoint, their_library, tmp_path
):
    start, encoder = build(checkpoint, pooling, normalize)
    batch = make_batch(start, FIRST, SECOND)
    ours = tf.concat(encoder.embed(batch, ("a_", "b_"), training=False), axis=0)
    folder = str(tmp_path / "best")
    encoder.save(folder)

    model = their_library.SentenceTransformer(folder, device="cpu")
    theirs = model.encode(FIRST + SECOND)

    assert model.max_seq_length == LENGTH
    difference = np.abs(ours - theirs).max()
    print(f"{pooling}: largest absolute difference {difference:.1e}")
    assert difference <= 1e-4
    assert np.abs(theirs).max() > 0.1
    lengths = np.linalg.norm(theirs, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == normalize
    expected = sentence_modules.Embedding(pooling, normalize)
    assert sentence_modules.read_embedding(folder) == expected
    # The library writes the same in other words.
    model.save_pretrained(str(tmp_path / "theirs"))
    assert sentence_modules.read_embedding(str(tmp_path / "theirs")) == expected


@pytest.mark.parametrize(
    ("name", "third"),
    [("cosine", None), ("softmax", None), ("ranking", None), ("ranking", THIRD)],
)
def test_losses_are_those_of_sentence_transformers(
    name, third, checkpoint, their_library, tmp_path
):
    import torch
    from sentence_transformers import losses

    objective = objectives.Objective(name, num_labels=3)
    start, encoder = build(checkpoint, objective=objective)
    encoder.save(str(tmp_path / "best"))
    batch = make_batch(start, FIRST, SECOND, third, COLUMNS[name])
    ours = compute_losses(encoder, batch)
    model = their_library.SentenceTransformer(str(tmp_path / "best"), device="cpu")
    features = [
        {
            theirs: torch.from_numpy(batch[prefix + name].numpy()).long()
            for name, theirs in (
                ("token_ids", "input_ids"),
                ("segment_ids", "token_type_ids"),
                ("padding_mask", "attention_mask"),
            )
        }
        for prefix in (("a_", "b_", "c_") if third else ("a_", "b_"))
    ]
    labels = torch.zeros(4)
    if name == "cosine":
        loss, labels = losses.CosineSimilarityLoss(model), torch.from_numpy(SCORES)
    elif name == "softmax":
        loss, labels = losses.SoftmaxLoss(model, 12, 3), torch.tensor([2, 0, 1, 1])
        head = encoder.model.get_layer("classifier")
        head.kernel.assign(np.random.default_rng(0).normal(0, 1, (36, 3)))
        head.bias.assign([0.5, -0.5, 0.0])
        loss.classifier.weight.data = torch.from_numpy(head.kernel.numpy().T.copy())
        loss.classifier.bias.data = torch.from_numpy(head.bias.numpy())
        ours = compute_losses(encoder, batch)
    else:
        loss = losses.MultipleNegativesRankingLoss(model)
    with torch.no_grad():
        theirs = loss(features, labels).item()

    assert ours.shape == (4,)
    assert theirs > 0.01
    assert ours.mean() == pytest.approx(theirs, abs=1e-5)


def rank_by_hand(first, candidates, allowed):
    """Each row's cross entropy among the candidates it may have, its own the first."""
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    candidates = candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    found = []
    for row, columns in enumerate(allowed):
        logits = 20 * candidates[columns] @ first[row]
        found.append(np.log(np.exp(logits - logits[0]).sum()))
    return found


def test_equal_texts_and_filling_are_no_negatives(checkpoint):
    start, encoder = build(checkpoint, objective=objectives.Objective("ranking"))
    # 0 and 1 have one anchor, 2 has the second text of 0, 3's is the anchor of 2.
    first, second = ["国", "国", "京", "使用"], ["首都", "中国", "首都", "京"]
    negatives = ["下一个", None, "中国", None]
    batch = make_batch(start, first, second, negatives, size=6)
    embed = encoder.embed(batch, ("a_", "b_", "c_"), training=False)
    a, b, c = (each.numpy()[:4] for each in embed)

    losses = compute_losses(encoder, batch)[:4]

    # Columns 0 to 3 are second texts, 4 and 6 the negatives of 0 and 2.
    allowed = [[0, 3, 4, 6], [1, 2, 3, 4], [2, 1, 4, 6], [3, 0, 1, 2, 4, 6]]
    expected = rank_by_hand(a, np.concatenate([b, c]), allowed)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


REPLICAS = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, devices)
from bert_cn.finetuning import batches, tables
from bert_cn.finetuning.sentences import data as sentences_data
from bert_cn.finetuning.sentences import model as sentences_model
from bert_cn.finetuning.sentences import objectives
from bert_cn.finetuning import training
from tests.bert_cn.finetuning.sentences import test_model as this

recipe = training.Recipe(1e-2, 1, 0.0, "adamw", 0.0, 1)
for strategy in (
    tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
):
    with strategy.scope():
        name, _, mini_batch_size = sys.argv[2].partition(" ")
        size = int(mini_batch_size or 0)
        objective = objectives.Objective(name, mini_batch_size=size)
        start, encoder = this.build(sys.argv[1], objective=objective)
    table = tables.Table("", this.FIRST[:3], this.SECOND[:3], None, [1] * 3, [0] * 3)
    is_ranking = name == "ranking"
    columns = {} if is_ranking else {"score": this.SCORES[:3]}
    thirds = this.THIRD[:3] if is_ranking else None
    pairs = sentences_data.Pairs(table, columns, thirds)
    features = sentences_data.encode_pairs(pairs, "train", start, this.LENGTH, "")
    trainer = training.Trainer(strategy, encoder.build_learner())
    trainer.start(recipe, 10)
    shape = batches.Shape(4, this.LENGTH, 8)
    # Both replicas have a part of it, the second one a filling.
    batch = batches.make_batch(features, [0, 1, 2], shape)
    losses = [trainer.train_step(batch).numpy().tolist() for _ in range(3)]
    print(json.dumps(losses + [trainer.compute_outputs(batch)["cosine"].tolist()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["ranking", "cosent", "ranking 1"])
def test_two_replicas_compare_the_texts_of_both(warm, checkpoint, objective):
    done = warm.run("replicas", [checkpoint, objective], program=REPLICAS)
    assert done.returncode == 0, done.stderr
    one, two = (
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")
    )
    assert one[0][0] > 0.1  # loss
    assert one[2][0] < one[0][0]
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_training_leaves_the_pooler_as_it_was(checkpoint, build_bert, tmp_path):
    start, encoder = build(checkpoint, objective=objectives.Objective("cosine"))
    trainer = training.Trainer(tf.distribute.get_strategy(), encoder.build_learner())
    trainer.start(training.Recipe(1e-2, 1, 0.0, "adamw", 0.1, 1), 10)
    table = tables.Table("pairs.tsv", FIRST, SECOND, None, [1] * 4, [0] * 4)
    pairs = sentences_data.Pairs(table, COLUMNS["cosine"])
    features = sentences_data.encode_pairs(pairs, "train", start, LENGTH, "")
    batch = batches.make_batch(features, np.arange(4), batches.Shape(4, LENGTH, 8))
    losses = [float(trainer.train_step(batch)[0]) for _ in range(3)]
    assert losses[2] < losses[0]

    encoder.save(str(tmp_path / "best"))
    back = formats.read_checkpoint(str(tmp_path / "best"))
    for name, array in build_bert().weights.items():
        if "pooler" in name:
            assert back.weights[name].tobytes() == array.tobytes()
    name = "bert/embeddings/word_embeddings"
    assert np.abs(back.weights[name] - build_bert().weights[name]).max() > 1e-3


def test_ways_of_pooling_are_read_and_more_modules_refused(tmp_path):
    (tmp_path / "p").mkdir()
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "p", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    keys = {
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_lasttoken": True,
    }
    (tmp_path / "p" / "config.json").write_text(json.dumps(keys))
    found = sentence_modules.read_embedding(str(tmp_path))
    assert found == sentence_modules.Embedding("cls+lasttoken", False)

    modules.append({"path": "d", "type": "sentence_transformers.models.Asym"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="has a module Asym after the encoder, and"):
        sentence_modules.read_embedding(str(tmp_path))


def test_whitening_uncorrelates_and_is_exported(checkpoint, their_library, tmp_path):
    start, model = build(checkpoint, normalize=True)
    batch = make_batch(start, FIRST, SECOND)
    shape = batches.Shape(4, LENGTH, 8)
    texts = [a + b for a in start.vocabulary.tokens[7:17] for b in FIRST + SECOND]
    trainer = training.Trainer(tf.distribute.get_strategy(), model.build_learner())
    before = encoding.Encoder(model, start, shape, pools_only=True).encode(texts, "")

    whitening.whiten(trainer, model, start, shape, texts, 5)

    projection = whitening.fit(before)
    # The last LayerNorm takes a direction away.
    assert projection.kernel.shape == (12, 11)
    whitened = before @ projection.kernel + projection.bias
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(11), atol=1e-3)
    ours = tf.concat(model.embed(batch, ("a_", "b_"), training=False), axis=0)
    assert ours.shape == (8, 5)
    model.save(str(tmp_path / "best"))
    theirs = their_library.SentenceTransformer(str(tmp_path / "best"), device="cpu")
    assert [type(module).__name__ for module in theirs] == [
        *("Transformer", "Pooling", "Dense", "Normalize")
    ]
    np.testing.assert_allclose(theirs.encode(FIRST + SECOND), ours, atol=1e-4)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    for name in ("best", "theirs"):
        found = sentence_modules.read_embedding(str(tmp_path / name))
        assert (found.pooling, found.normalize) == ("mean", True)
        np.testing.assert_array_equal(found.projection.kernel, projection.kernel[:, :5])
        np.testing.assert_array_equal(found.projection.bias, projection.bias[:5])


def test_whitening_of_sentences_that_are_all_alike_is_refused():
    with pytest.raises(ValueError, match="fitted to 3 sentence.s. that are all alike"):
        whitening.fit(np.ones((3, 4), np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "has activation_function torch.nn.modules.activation.Tanh or use_res"),
        (
            {"activation_function": "torch.nn.modules.linear.Identity"},
            "model.safetensors cannot be read as the module's weights",
        ),
    ],
    ids=["activation", "no weights"],
)
def test_dense_layers_of_another_kind_are_refused(settings, message, tmp_path):
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "d", "type": "sentence_transformers.models.Dense"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=message):
        sentence_modules.read_embedding(str(tmp_path))
