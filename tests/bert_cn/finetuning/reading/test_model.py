"""A reader from start to end: trained, exported, read again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats
from bert_cn.finetuning import batches, output_folder, training, warm_start
from bert_cn.finetuning.reading import data, results, windows
from bert_cn.finetuning.reading import model as reading_model

LETTERS = "使用语言模型来预测下一个词的。，国中北京首都是"
SHAPE = batches.Shape(4, 16, 8)


@pytest.fixture
def checkpoint(build_bert, tmp_path):
    """Without dropout, so that training computes what prediction does."""
    bert = build_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    path = str(tmp_path / "tf1")
    formats.write_checkpoint(bert, "tf1", path)
    return path


def build(source):
    keras.utils.set_random_seed(0)
    start = warm_start.load_starting_point(source)
    reader = reading_model.Reader(start)
    trainer = training.Trainer(tf.distribute.get_strategy(), reader.build_learner())
    contexts = [LETTERS[number:] for number in range(12)]
    questions = [
        data.Question(str(number), "首都", number, (data.Answer(context[2:4], 2),))
        for number, context in enumerate(contexts)
    ]
    dataset = data.Dataset("a.json", b"", contexts, questions)
    targets = data.find_targets(dataset, skip_bad_answers=False)
    limits = windows.Limits(16, 8, 4)
    return reader, trainer, windows.encode(dataset, targets, start, limits)


def test_loss_is_the_mean_of_both_positions_over_real_tokens(checkpoint):
    reader, trainer, features = build(checkpoint)
    reader.model.get_layer("qa_outputs").kernel.assign(
        np.random.default_rng(0).normal(0, 1, (12, 2))
    )
    # The last window is shorter than the first, so that its batch has padding.
    rows = np.array([0, len(features) - 1])
    batch = batches.make_batch(features, rows, batches.Shape(2, 16, 1))
    assert features.lengths[rows].tolist() == [16, 9]
    outputs = trainer.compute_outputs(batch)
    wanted = []
    for row, index in enumerate(rows):
        length = features.lengths[index]
        losses = []
        for kind in ("start", "end"):
            logits = outputs[f"{kind}_logits"][row, :length].astype(np.float64)
            place = features.columns[f"{kind}_position"][index]
            losses.append(np.log(np.exp(logits).sum()) - logits[place])
        wanted.append(np.mean(losses))

    found = trainer.learner.compute_losses(
        {name: tf.constant(array) for name, array in batch.arrays.items()}
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_transformers_computes_the_same_logits(checkpoint, tmp_path):
    torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'bert_cn[torch]'"
    )
    reader, trainer, features = build(checkpoint)
    reader.model.get_layer("qa_outputs").kernel.assign(
        np.random.default_rng(0).normal(0, 1, (12, 2))
    )
    reader.model.get_layer("qa_outputs").bias.assign([0.5, -0.5])
    reader.threshold = 1.5
    folder = str(tmp_path / "best")
    reader.save(folder)
    batch = next(batches.iterate_eval_batches(features, SHAPE))

    model, info = transformers.AutoModelForQuestionAnswering.from_pretrained(
        folder, output_loading_info=True
    )
    with torch.no_grad():
        theirs = model.eval()(
            input_ids=torch.from_numpy(batch.arrays["token_ids"]).long(),
            token_type_ids=torch.from_numpy(batch.arrays["segment_ids"]).long(),
            attention_mask=torch.from_numpy(batch.arrays["padding_mask"]).long(),
        )

    assert type(model).__name__ == reading_model.Reader.architecture
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = trainer.compute_outputs(batch)
    for name in ("start_logits", "end_logits"):
        assert np.abs(ours[name]).max() > 0.5
        difference = np.abs(ours[name] - theirs[name].numpy()).max()
        print(f"{name}: largest absolute difference {difference:.1e}")
        assert difference <= 1e-4
    assert np.abs(ours["start_logits"] - ours["end_logits"]).max() > 0.5
    assert reading_model.read_threshold(folder) == 1.5

    # Read again, head and all.
    _, again, _ = build(folder)
    for name, array in again.compute_outputs(batch).items():
        np.testing.assert_allclose(array, ours[name], atol=1e-5)


def test_folder_of_a_classifier_has_no_reader(checkpoint, build_bert, tmp_path):
    assert not reading_model.has_reader(checkpoint)
    folder = str(tmp_path / "pt")
    formats.write_checkpoint(build_bert(), "pt", folder)
    assert output_folder.has_model(folder)
    assert not reading_model.has_reader(folder)


def test_answers_of_an_earlier_run_are_removed_with_it(tmp_path):
    problems = [("a", "国\t京", 3, "not at its offset")]
    results.write_problems(problems, str(tmp_path))
    path = tmp_path / results.ANSWERS_FILE
    assert path.read_text().splitlines()[1] == "a\t国 京\t3\tnot at its offset"
    results.write_problems([], str(tmp_path))
    assert not path.exists()
