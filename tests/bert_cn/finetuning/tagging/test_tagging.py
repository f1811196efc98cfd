"""Tagged text and its model: read, encoded, cut, measured; transformers' logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats
from bert_cn.finetuning import batches, training, warm_start
from bert_cn.finetuning.tagging import data, results
from bert_cn.finetuning.tagging import model as tagging_model

LENGTH = 16
LABELS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
CONLL = """\
-DOCSTART- -X- -X- O

probability NN B-NP B-ORG
Bert NNP I-NP I-ORG
是 V O O

北 N O B-LOC
京 N O M-LOC

"""


@pytest.fixture(scope="module")
def start(build_bert, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("checkpoint") / "tf1")
    bert = build_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    formats.write_checkpoint(bert, "tf1", path)
    return warm_start.load_starting_point(path)


def read(tmp_path, text, needs_tags=True, word_column=0, tag_column=-1):
    path = tmp_path / "train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return data.read_sentences(str(path), word_column, tag_column, needs_tags)


def test_conll_columns_are_read(tmp_path):
    sentences = read(tmp_path, CONLL)
    assert sentences.words == [["probability", "Bert", "是"], ["北", "京"]]
    assert sentences.tags == [["B-ORG", "I-ORG", "O"], ["B-LOC", "I-LOC"]]
    assert sentences.lines == [3, 7]


def test_in_tsv_a_space_a_wide_space_and_a_line_separator_are_words(tmp_path):
    table = "\ufeff北\tS-LOC\r\n \tO\r\n\u3000\tO\r\n\r\n\r\n\u2028\tO"
    sentences = read(tmp_path, table)
    assert sentences.words == [["北", " ", "\u3000"], ["\u2028"]]
    assert sentences.tags == [["S-LOC", "O", "O"], ["O"]]


def test_other_columns_are_read(tmp_path):
    swapped = read(tmp_path, "O 北\nB-LOC 京", word_column=1, tag_column=0)
    assert (swapped.words, swapped.tags) == ([["北", "京"]], [["O", "B-LOC"]])


def test_file_without_tags_is_read(tmp_path):
    assert read(tmp_path, "北\n京\n", needs_tags=False).tags is None


def test_every_type_gets_the_tags_that_some_type_has(tmp_path):
    assert data.find_labels(read(tmp_path, CONLL)) == LABELS
    single = read(tmp_path, "北\tS-LOC\n京\tO\n")
    assert data.find_labels(single) == ("O", "B-LOC", "I-LOC", "S-LOC")
    more = read(tmp_path, "北\tS-LOC\n京\tE-ORG\n")
    kinds = [f"{prefix}-{kind}" for kind in ("LOC", "ORG") for prefix in "BIES"]
    assert data.find_labels(more) == ("O", *kinds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \n", "train.txt is empty: put one word and its tag on each line"),
        ("北 O\n京\n", "line 2: there is no tag in column -1, the line has 1 .'京'"),
        ("北 O\n京 LOC\n", "line 2: 'LOC' is no tag: write O, or B- or I-"),
        ("北 B-\n", "line 1: 'B-' is no tag"),
        ("北 B-LOC".encode("gb18030"), "train.txt is not UTF-8 at byte 0: convert it"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_unknown_tag_is_refused(tmp_path):
    sentences = read(tmp_path, "北 B-LOC\n京 I-LOC\n")
    with pytest.raises(ValueError, match="line 2: the tag 'I-LOC' is unknown; the tag"):
        data.number_tags(sentences, ("O", "B-LOC"))


def test_file_without_spans_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no tag but O, and nothing can be learn"):
        data.find_labels(read(tmp_path, "北 O\n"))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no\.txt cannot be read \(its folder hol"):
        data.read_sentences(str(tmp_path / "no.txt"), 0, -1, True)


@pytest.fixture
def cut_sentences(start, tmp_path, capsys):
    """Sentences with a wide space, their features in 5 tokens, and what was said."""
    sentences = read(tmp_path, CONLL.replace("是 V", "\u3000 V"))
    classes = data.number_tags(sentences, LABELS)
    features = data.encode_sentences(sentences, classes, start, 5)
    return sentences, features, capsys.readouterr().out


def test_first_token_of_each_word_is_labelled(start, cut_sentences):
    ids = start.vocabulary.ids
    _, features, _ = cut_sentences
    first, second = features.sequences[""].lengths
    assert (first, second) == (5, 4)
    tokens = features.sequences[""].tokens
    # pro ##ba ##bility | Bert is cut off by 5; the wide space has no token.
    pieces = ["[CLS]", "pro", "##ba", "##bility", "[SEP]", "[CLS]", "北", "京", "[SEP]"]
    assert tokens["token_ids"].tolist() == [ids[piece] for piece in pieces]
    assert tokens[data.TAG].tolist() == [0, 4, 0, 0, 0, 0, 2, 3, 0]
    assert tokens[data.WORD].tolist() == [0, 1, 0, 0, 0, 0, 1, 2, 0]
    assert tokens["segment_ids"].tolist() == [0] * 9


def test_words_that_are_cut_off_or_have_no_token_are_counted(cut_sentences):
    said = cut_sentences[2]
    cut = "2 sentences, 1 of them cut to 5 tokens, whose other words count as O"
    assert cut in said
    assert "1 words have no token and count as O." in said


def test_words_without_a_prediction_are_outside(cut_sentences):
    sentences, features, _ = cut_sentences
    predictions = [np.array([0, 3, 1, 1, 1]), np.array([1, 1, 2, 0])]
    found = data.decode_tags(features, predictions, sentences.words, LABELS)
    assert found == [["B-ORG", "O", "O"], ["B-LOC", "I-LOC"]]


@pytest.fixture(scope="module")
def saved(start, tmp_path_factory):
    """A tagger, its folder, its features, and a batch with a row of filling."""
    keras.utils.set_random_seed(0)
    tagger = tagging_model.Tagger(start, LABELS)
    tagger.model.get_layer("classifier").kernel.assign(
        np.random.default_rng(0).normal(0, 1, (12, 5))
    )
    path = tmp_path_factory.mktemp("tagger")
    tagger.save(str(path / "best"))
    sentences = read(path, CONLL)
    classes = data.number_tags(sentences, LABELS)
    features = data.encode_sentences(sentences, classes, start, LENGTH)
    batch = batches.make_batch(features, np.arange(2), batches.Shape(3, LENGTH, 8))
    return tagger, str(path / "best"), features, batch.arrays


@pytest.fixture(scope="module")
def logits_and_losses(saved):
    """The logits and losses of the two real rows."""
    tagger, _, _, arrays = saved
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    logits = tagger.compute_logits(tensors, training=False).numpy()[:2]
    losses = tagger.build_learner().compute_losses(tensors).numpy()[:2]
    return logits, losses


def test_logits_and_loss_are_those_of_transformers(saved, logits_and_losses):
    torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'bert_cn[torch]'"
    )
    _, folder, _, arrays = saved
    arrays = {name: torch.from_numpy(a[:2]) for name, a in arrays.items()}

    model, info = transformers.AutoModelForTokenClassification.from_pretrained(
        folder, output_loading_info=True
    )
    with torch.no_grad():
        theirs = model.eval()(
            input_ids=arrays["token_ids"].long(),
            token_type_ids=arrays["segment_ids"].long(),
            attention_mask=arrays["padding_mask"].long(),
            labels=torch.where(arrays[data.TAG] > 0, arrays[data.TAG] - 1, -100).long(),
        )

    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.id2label == dict(enumerate(LABELS))
    ours, losses = logits_and_losses
    difference = np.abs(ours - theirs.logits.numpy()).max()
    print(f"logits: largest absolute difference {difference:.1e}")
    assert difference <= 1e-4
    assert np.abs(ours).max() > 0.1
    assert losses.mean() == pytest.approx(theirs.loss.item(), abs=1e-5)


def test_saved_tagger_is_read_with_its_head_and_predicts_the_same(
    saved, logits_and_losses
):
    _, folder, features, _ = saved
    logits, losses = logits_and_losses
    assert tagging_model.read_labels(folder) == LABELS
    tagger = tagging_model.Tagger(warm_start.load_starting_point(folder), LABELS)
    trainer = training.Trainer(tf.distribute.get_strategy(), tagger.build_learner())
    outputs = training.predict(trainer, features, batches.Shape(2, LENGTH, 8))
    for row, length in enumerate(features.lengths):
        expected = logits[row, :length].argmax(axis=1)
        assert outputs["class"][row].tolist() == expected.tolist()
    assert outputs["count"].tolist() == [3, 2]
    total = outputs["loss"].sum() / 5
    assert total == pytest.approx(losses.mean(), abs=1e-5)


def test_folder_of_another_task_has_no_labels(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "tf1"))
    assert tagging_model.read_labels(str(tmp_path / "tf1")) is None


def test_table_of_a_file_without_spans_says_so():
    nothing = [["O", "O"], ["O"]]
    assert "no span" in results.make_table(nothing, nothing)
    assert "PER" in results.make_table(nothing, [["B-PER", "O"], ["O"]])
