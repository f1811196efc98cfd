"""The sentence_transformers folder in sentence-transformers itself."""

import json
import os
import stat

import numpy as np
import pytest

from bert_cn.conversion import formats
from bert_cn.conversion.weight_map import Part

torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
transformers = pytest.importorskip(
    "transformers", reason="pip install 'bert_cn[torch]'"
)
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="pip install 'bert_cn[torch]'"
)

# 8 tokens, 1, and more than the model's 16.
SENTENCES = ["北京是中国的首都", "国", "使用语言模型来预测下一个词的。" * 3]


@pytest.fixture(scope="module")
def folder(build_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("sentences") / "out"
    formats.write_checkpoint(build_bert(), "sentence_transformers", str(path))
    return path


def mean_over_tokens(folder):
    """The embeddings by transformers alone; the mask leaves padding out."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()[:, :, None]
    return (states * mask).sum(1) / mask.sum(1)


def test_encode_gives_the_mean_over_tokens(folder):
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")

    embeddings = model.encode(SENTENCES)

    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling"]
    assert model.max_seq_length == 16
    assert embeddings.shape == (3, 12)
    difference = np.abs(embeddings - mean_over_tokens(folder)).max()
    print(f"embeddings: largest absolute difference {difference:.1e}")
    assert difference <= 1e-5
    assert np.abs(embeddings).max() > 0.1


def test_encoder_is_read_back_without_heads(folder, build_bert):
    back = formats.read_checkpoint(str(folder))

    assert formats.find_format(str(folder)) == "sentence_transformers"
    assert back.parts == (Part.ENCODER, Part.POOLER)
    for name, array in back.weights.items():
        assert np.array_equal(array, build_bert().weights[name]), name
    (warning,) = formats.FORMATS["sentence_transformers"].describe_differences(
        build_bert()
    )
    assert "no place for the masked-LM head, next-sentence head" in warning
    assert json.loads((folder / "config.json").read_text())["architectures"] == [
        "BertModel"
    ]


def test_folder_saved_by_sentence_transformers_is_read(folder, build_bert, tmp_path):
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))

    back = formats.read_checkpoint(str(tmp_path / "saved"))

    assert all(
        np.array_equal(build_bert().weights[k], v) for k, v in back.weights.items()
    )
    # transformers 5 writes no vocab.txt.
    assert not (tmp_path / "saved" / "vocab.txt").exists()
    assert back.vocabulary.data == build_bert().vocabulary.data


def test_files_are_readable_by_others(folder):
    umask = os.umask(0)
    os.umask(umask)

    for path in folder.rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_model_without_vocabulary_is_refused(build_bert, tmp_path):
    bert = build_bert()
    bert.vocabulary = None

    with pytest.raises(
        ValueError, match="has no vocabulary, and sentence-transformers"
    ):
        formats.write_checkpoint(bert, "sentence_transformers", str(tmp_path / "out"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("{}", "is no list of modules that sentence-tr"),
        ('[{"path": "0_BoW"}]', "0_BoW as its first module, which has no"),
    ],
    ids=["damaged", "no Transformer"],
)
def test_modules_that_cannot_be_read_are_refused(modules, message, tmp_path):
    (tmp_path / "modules.json").write_text(modules)

    with pytest.raises(ValueError, match=message):
        formats.read_checkpoint(str(tmp_path))


def test_tokenizer_json_without_bert_tokens_is_refused(folder, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        text = (folder / name).read_bytes().replace(b"[MASK]", b"[MUSK]")
        (tmp_path / "out" / name).write_bytes(text)

    with pytest.raises(ValueError, match="holds no BERT vocabulary, whose ids are 0"):
        formats.read_checkpoint(str(tmp_path / "out"))
