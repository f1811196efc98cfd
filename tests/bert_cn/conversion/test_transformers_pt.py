"""The pt folder in transformers itself; other people's pt folders in our reader."""

import json

import numpy as np
import pytest

from bert_cn.conversion import formats, mask_filling, transformers_pt
from bert_cn.conversion.weight_map import Part
from data_prep.text import tokenization

torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
transformers = pytest.importorskip(
    "transformers", reason="pip install 'bert_cn[torch]'"
)

TEXTS = [
    "使用语言模型来预测下一个词的probability。",
    "Bert 是 bert，[国] café Café 龘 <S> a" + "b" * 150,
    "中\u3000国\t北京\u200b首都　ｂｅｒｔ",
]


@pytest.fixture(scope="module")
def folder(build_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("pt") / "out"
    formats.write_checkpoint(build_bert(), "pt", str(path))
    return path


def run_transformers(model, model_input):
    with torch.no_grad():
        return model.eval()(
            input_ids=torch.from_numpy(model_input.token_ids).long(),
            attention_mask=torch.from_numpy(model_input.mask).long(),
            token_type_ids=torch.from_numpy(model_input.segment_ids).long(),
        )


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf"])
@pytest.mark.parametrize("use_safetensors", [True, False])
def test_outputs_equal_transformers(
    activation,
    use_safetensors,
    build_bert,
    compute_outputs,
    model_input,
    assert_close,
    tmp_path,
):
    bert = build_bert(hidden_act=activation)
    formats.write_checkpoint(bert, "pt", str(tmp_path / "out"))

    model, info = transformers.BertForPreTraining.from_pretrained(
        tmp_path / "out", use_safetensors=use_safetensors, output_loading_info=True
    )
    theirs = run_transformers(model, model_input)
    encoded = run_transformers(model.bert, model_input)

    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_close(
        compute_outputs(bert),
        {
            "sequence_output": encoded.last_hidden_state,
            "pooled_output": encoded.pooler_output,
            "mlm_logits": theirs.prediction_logits,
            "nsp_logits": theirs.seq_relationship_logits,
        },
    )


def test_the_two_activations_differ_by_more_than_the_bound(build_bert, compute_outputs):
    tanh = compute_outputs(build_bert(hidden_act="gelu"))["mlm_logits"]
    exact = compute_outputs(build_bert(hidden_act="gelu_erf"))["mlm_logits"]

    assert np.abs(tanh - exact).max() > 1e-3


def test_auto_model_gives_our_sequence_output(
    folder, build_bert, compute_outputs, model_input, assert_close
):
    model = transformers.AutoModel.from_pretrained(folder)

    theirs = run_transformers(model, model_input)

    assert type(model).__name__ == "BertModel"
    ours = compute_outputs(build_bert())
    assert_close(ours, {"sequence_output": theirs.last_hidden_state})


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_auto_tokenizer_gives_the_ids_of_the_data_stage(
    do_lower_case, build_bert, tmp_path
):
    bert = build_bert()
    bert.do_lower_case = do_lower_case
    formats.write_checkpoint(bert, "pt", str(tmp_path / "out"))
    lines = tokenization.Tokenizer(bert.vocabulary, do_lower_case).tokenize(TEXTS)

    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")

    for number, text in enumerate(TEXTS):
        start, end = lines.line_starts[number : number + 2]
        expected = [2, *lines.ids[start:end].tolist(), 3]
        assert tokenizer(text)["input_ids"] == expected, text
    assert tokenizer.mask_token_id == bert.vocabulary.mask_id
    assert tokenizer.model_max_length == 16


def test_fill_mask_pipeline_gives_our_probabilities(folder, build_bert):
    bert = build_bert()
    text = "中国的首都是[MASK]京。"
    token_ids = mask_filling.encode_text(text, bert)
    ours = mask_filling.fill(mask_filling.build_model(bert), token_ids, bert, 5)[0]

    theirs = transformers.pipeline("fill-mask", model=str(folder), top_k=5)(text)

    assert [entry["token"] for entry in theirs] == [token for token, _ in ours]
    for entry, (_, share) in zip(theirs, ours, strict=True):
        assert entry["score"] == pytest.approx(share, abs=1e-5)


def test_tied_decoder_stands_in_the_bin_and_not_in_the_safetensors(folder):
    from safetensors import safe_open

    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    with safe_open(folder / "model.safetensors", "np") as file:
        names = set(file.keys())
        assert file.metadata() == {"format": "pt"}

    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    assert set(state) == names | tied
    word_embeddings = state["bert.embeddings.word_embeddings.weight"]
    assert state["cls.predictions.decoder.weight"].data_ptr() == (
        word_embeddings.data_ptr()
    )


def test_bin_alone_is_read(folder, build_bert, assert_same_weights, tmp_path):
    for name in ("pytorch_model.bin", "config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())

    assert_same_weights(formats.read_checkpoint(str(tmp_path)), build_bert())


def test_bin_with_foreign_code_is_refused_and_not_run(folder, tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}))

    with pytest.raises(ValueError, match="no plain PyTorch state dict"):
        formats.read_checkpoint(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_other_spellings_are_read(build_bert, assert_same_weights, tmp_path):
    # As BertModel.save_pretrained and as transformers of 2019 named them.
    from safetensors.numpy import save_file

    bert = build_bert(parts=(Part.ENCODER, Part.POOLER))
    state = {}
    for name, array in transformers_pt.build_state(bert).items():
        name = name.removeprefix("bert.")
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        state[name.replace("LayerNorm.bias", "LayerNorm.beta")] = array
    state["embeddings.position_ids"] = np.arange(16)[None]
    formats.write_checkpoint(bert, "tf2", str(tmp_path / "out"))
    (tmp_path / "out" / "tf_model.h5").unlink()
    save_file(state, tmp_path / "out" / "model.safetensors")

    assert_same_weights(formats.read_checkpoint(str(tmp_path / "out")), bert)


def test_untied_decoder_is_refused(folder, tmp_path):
    from safetensors.numpy import load_file, save_file

    state = load_file(folder / "model.safetensors")
    decoder = state["bert.embeddings.word_embeddings.weight"] + 1
    state["cls.predictions.decoder.weight"] = decoder
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(state, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match="decoder.weight differs from"):
        formats.read_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("parts", "architecture"),
    [
        ((Part.ENCODER, Part.POOLER), "BertModel"),
        ((Part.ENCODER, Part.MLM), "BertForMaskedLM"),
    ],
)
def test_architecture_is_that_of_the_parts(parts, architecture, build_bert, tmp_path):
    formats.write_checkpoint(build_bert(parts=parts), "pt", str(tmp_path / "out"))

    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["architectures"] == [architecture]
    _, info = getattr(transformers, architecture).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
