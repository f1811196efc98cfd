"""RoBERTa and XLM-R: read, computed, written, judged by transformers."""

import json
import shutil

import keras_hub
import numpy as np
import pytest
import torch
import transformers

from bert_cn.conversion import (
    formats,
    keras_weights,
    mask_filling,
    tokenizer_files,
    weight_map,
)
from bert_cn.model import config as config_lib
from bert_cn.model import pretraining_model
from tests.bert_cn import roberta_folders
from tests.conftest import REPOSITORY

TEXTS = roberta_folders.TEXTS


@pytest.fixture(scope="module", params=roberta_folders.MODEL_TYPES)
def written(request, tmp_path_factory):
    """A folder of each family and the model in it."""
    folder = tmp_path_factory.mktemp("roberta")
    return folder, roberta_folders.write(folder, request.param)


@pytest.fixture(scope="module", params=roberta_folders.MODEL_TYPES)
def written_lm(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("roberta_lm")
    return folder, roberta_folders.write(folder, request.param, "ForMaskedLM")


def encode(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer(TEXTS, return_tensors="pt", padding=True)


def test_encoder_equals_transformers(written):
    folder, model = written
    batch = encode(folder)
    with torch.no_grad():
        expected = model(batch.input_ids, batch.attention_mask)
    bert = formats.read_checkpoint(str(folder))
    encoder = pretraining_model.build_encoder(bert.config)
    keras_weights.assign_to_model(encoder, bert.weights, bert.parts)
    mask = batch.attention_mask.numpy().astype(np.int32)
    got = encoder(
        {
            "token_ids": batch.input_ids.numpy().astype(np.int32),
            "segment_ids": np.zeros_like(mask),
            "padding_mask": mask,
        }
    )
    difference = got["sequence_output"].numpy() - expected.last_hidden_state.numpy()
    assert np.abs(difference * mask[..., None]).max() < 1e-4
    pooled = got["pooled_output"].numpy() - expected.pooler_output.numpy()
    assert np.abs(pooled).max() < 1e-4


def test_fillers_equal_transformers(written_lm):
    folder, model = written_lm
    bert = formats.read_checkpoint(str(folder))
    assert bert.parts == (weight_map.Part.ENCODER, weight_map.Part.MLM)
    text = "We go to the [MASK] today."
    token_ids = mask_filling.encode_text(text, bert)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    expected_ids = tokenizer(text.replace("[MASK]", "<mask>")).input_ids
    assert token_ids.tolist() == expected_ids
    with torch.no_grad():
        logits = model(torch.tensor([expected_ids])).logits[0]
    place = expected_ids.index(tokenizer.mask_token_id)
    shares, ids = logits[place].softmax(-1).topk(3)
    filled = mask_filling.fill(mask_filling.build_model(bert), token_ids, bert, 3)
    assert [token for token, _ in filled[0]] == ids.tolist()
    np.testing.assert_allclose([x for _, x in filled[0]], shares.numpy(), atol=1e-4)


def test_written_folder_is_the_same_model_for_transformers(written_lm, tmp_path):
    folder, model = written_lm
    bert = formats.read_checkpoint(str(folder))
    formats.write_checkpoint(bert, "pt", str(tmp_path / "out"))
    again, info = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert type(again) is type(model)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    batch, new = encode(folder), encode(tmp_path / "out")
    assert new.input_ids.tolist() == batch.input_ids.tolist()
    with torch.no_grad():
        difference = again(**new).logits - model(**batch).logits
    assert difference.abs().max() == 0
    state = torch.load(tmp_path / "out" / "pytorch_model.bin", weights_only=True)
    assert "lm_head.decoder.weight" in state
    assert all(name.startswith(("roberta.", "lm_head.")) for name in state)


def test_bin_file_without_safetensors_is_read(written_lm, tmp_path):
    folder, model = written_lm
    shutil.copytree(folder, tmp_path / "bin")
    (tmp_path / "bin" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "bin" / "pytorch_model.bin")
    bert = formats.read_checkpoint(str(tmp_path / "bin"))
    expected = formats.read_checkpoint(str(folder))
    for name in expected.weights:
        np.testing.assert_array_equal(bert.weights[name], expected.weights[name])


@pytest.mark.slow
def test_onnx_equals_transformers(written, tmp_path):
    onnxruntime = pytest.importorskip(
        "onnxruntime", reason="pip install 'bert_cn[onnx]'"
    )
    folder, model = written
    bert = formats.read_checkpoint(str(folder))
    formats.write_checkpoint(bert, "onnx", str(tmp_path / "onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    batch = encode(folder)
    mask = batch.attention_mask.numpy()
    got = session.run(
        None,
        {
            "input_ids": batch.input_ids.numpy(),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        },
    )
    with torch.no_grad():
        expected = model(batch.input_ids, batch.attention_mask)
    difference = got[0] - expected.last_hidden_state.numpy()
    assert np.abs(difference * mask[..., None]).max() < 1e-4
    assert np.abs(got[1] - expected.pooler_output.numpy()).max() < 1e-4


def test_keras_hub_computes_the_same_and_is_read_back(written, tmp_path):
    folder, model = written
    bert = formats.read_checkpoint(str(folder))
    formats.write_checkpoint(bert, "keras", str(tmp_path / "preset"))
    kind = keras_hub.models.RobertaBackbone
    if bert.config.model_type == "xlm-roberta":
        kind = keras_hub.models.XLMRobertaBackbone
    backbone = kind.from_preset(str(tmp_path / "preset"))
    batch = encode(folder)
    mask = batch.attention_mask.numpy().astype(np.int32)
    ids = batch.input_ids.numpy().astype(np.int32)
    got = np.asarray(backbone({"token_ids": ids, "padding_mask": mask}))
    with torch.no_grad():
        expected = model(batch.input_ids, batch.attention_mask)
    difference = got - expected.last_hidden_state.numpy()
    assert np.abs(difference * mask[..., None]).max() < 1e-4

    # Back again: transformers sees the same model, pooler and tokenizer included.
    back = formats.read_checkpoint(str(tmp_path / "preset"))
    formats.write_checkpoint(back, "pt", str(tmp_path / "pt"))
    again = transformers.AutoModel.from_pretrained(tmp_path / "pt").eval()
    with torch.no_grad():
        got = again(batch.input_ids, batch.attention_mask)
    difference = (got.last_hidden_state - expected.last_hidden_state).numpy()
    assert np.abs(difference * mask[..., None]).max() < 1e-5
    assert (got.pooler_output - expected.pooler_output).abs().max() < 1e-5
    assert encode(tmp_path / "pt").input_ids.tolist() == batch.input_ids.tolist()


def test_keras_hubs_tokenizer_gives_the_same_ids(tmp_path):
    roberta_folders.write(tmp_path / "start", "roberta")
    bert = formats.read_checkpoint(str(tmp_path / "start"))
    formats.write_checkpoint(bert, "keras", str(tmp_path / "preset"))
    theirs = keras_hub.models.RobertaTokenizer.from_preset(str(tmp_path / "preset"))
    ours = tokenizer_files.build_tokenizer(bert.vocabulary, False)
    for text in TEXTS[:2]:
        assert np.asarray(theirs(text)).tolist() == ours.tokenize([text]).ids.tolist()
    # A preset that KerasHub alone wrote has its assets.
    (tmp_path / "preset" / "fast_tokenizer.json").unlink()
    again = formats.read_checkpoint(str(tmp_path / "preset")).vocabulary
    for text in TEXTS[:2]:
        assert again.tokenizer.encode(text, add_special_tokens=False).ids == (
            ours.tokenize([text]).ids.tolist()
        )


def test_tokens_and_places_equal_transformers(written):
    folder, _ = written
    vocabulary = formats.read_checkpoint(str(folder)).vocabulary
    tokenizer = tokenizer_files.build_tokenizer(vocabulary, False)
    lines = [*TEXTS, "", " ", "a\ud800b"]
    got = tokenizer.tokenize(lines)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for number, line in enumerate(lines[:-1]):
        place = slice(*got.line_starts[number : number + 2])
        expected = theirs(line, add_special_tokens=False, return_offsets_mapping=True)
        assert got.ids[place].tolist() == expected.input_ids
        offsets = zip(got.char_starts[place], got.char_ends[place], strict=True)
        for (start, end), (begin, stop) in zip(
            offsets, expected.offset_mapping, strict=True
        ):
            # Without the white space before a token that theirs may count.
            space = line[begin:stop]
            assert (start, end) == (stop - len(space.lstrip()), stop)


@pytest.mark.shared_data
def test_ids_of_real_lines_equal_transformers(written, shared_folder):
    folder, _ = written
    vocabulary = formats.read_checkpoint(str(folder)).vocabulary
    tokenizer = tokenizer_files.build_tokenizer(vocabulary, False)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    texts = []
    for name in ("zh_news_xwlb/train.txt", "glue/SST-2/train.tsv"):
        content = (shared_folder / "data" / name).read_text(encoding="utf-8")
        pieces = content.replace(". ", ".\n").splitlines()
        texts.append([piece[:300] for piece in pieces if piece][:5000])
    mixed = [a + b for a, b in zip(*texts, strict=True)]
    for lines in (*texts, mixed):
        got = tokenizer.tokenize(lines)
        expected = theirs(lines, add_special_tokens=False).input_ids
        assert got.ids.tolist() == [x for row in expected for x in row]


def test_older_tokenizer_files_are_converted(tmp_path):
    folder = tmp_path / "old"
    roberta_folders.write(folder, "roberta")
    expected = formats.read_checkpoint(str(folder)).vocabulary.tokenizer
    expected.model.save(str(folder))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    got = formats.read_checkpoint(str(folder)).vocabulary
    for text in TEXTS:
        assert got.tokenizer.encode(text).ids == expected.encode(text).ids
    assert "tokenizer.json" in got.files


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("bert_base_uncased_en", 109_482_240),
        ("roberta_base_en", 124_645_632),
        ("roberta_large_en", 355_359_744),
        ("xlm_roberta_base", 278_043_648),
    ],
)
def test_parameters_of_the_collections_sentence_berts(name, count):
    path = REPOSITORY / "configs" / "models" / f"{name}.json"
    assert weight_map.count_parameters(config_lib.load_config(str(path))) == count


def change(folder, name, **values):
    path = folder / name
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps(content))


def test_bad_folders_are_named_in_one_sentence(tmp_path):
    roberta_folders.write(tmp_path / "good", "roberta")

    def refuse(name: str, damage, message: str) -> None:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "good", folder)
        damage(folder)
        with pytest.raises(ValueError, match=message):
            formats.read_checkpoint(str(folder))

    refuse(
        "no tokenizer",
        lambda x: (x / "tokenizer.json").unlink(),
        r"has no tokenizer: put its tokenizer.json there, or vocab.json and",
    )
    refuse(
        "damaged tokenizer",
        lambda x: (x / "tokenizer.json").write_text("{"),
        r"tokenizer.json is no tokenizer \(",
    )
    refuse(
        "unknown type",
        lambda x: change(x, "config.json", model_type="deberta"),
        r"model_type is 'deberta', and only bert, roberta, xlm-roberta can be conv",
    )
    refuse(
        "short table",
        lambda x: change(x, "config.json", max_position_embeddings=2),
        r"max_position_embeddings must leave positions after pad_token_id",
    )
    roberta_folders.write(tmp_path / "small", "roberta", vocab_size=300)
    with pytest.raises(ValueError, match=r"has \d+ tokens, but the model in .* 300"):
        formats.read_checkpoint(str(tmp_path / "small"))


@pytest.mark.parametrize("output_format", ["tf1", "tf2", "model_garden"])
def test_formats_of_berts_alone_refuse_others(written, tmp_path, output_format):
    bert = formats.read_checkpoint(str(written[0]))
    with pytest.raises(ValueError, match=r"cannot hold: choose an --output_format of"):
        formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
