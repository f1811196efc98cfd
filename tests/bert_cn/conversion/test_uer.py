import pickle

import numpy as np
import pytest

from bert_cn.conversion import formats, pretrained, weight_map
from bert_cn.model import config as config_lib

torch = pytest.importorskip("torch", reason="pip install '.[torch]' brings it")

# transformers' name, with {} for the layer -> TencentPretrain's.
NAMES = {
    "bert.embeddings.word_embeddings.weight": "embedding.word.embedding.weight",
    "bert.embeddings.position_embeddings.weight": "embedding.pos.embedding.weight",
    "bert.embeddings.token_type_embeddings.weight": "embedding.seg.embedding.weight",
    "bert.embeddings.LayerNorm.weight": "embedding.layer_norm.gamma",
    "bert.embeddings.LayerNorm.bias": "embedding.layer_norm.beta",
    "bert.pooler.dense": "target.sp.linear_1",
    "cls.seq_relationship": "target.sp.linear_2",
    "cls.predictions.transform.dense": "target.mlm.linear_1",
    "cls.predictions.transform.LayerNorm.weight": "target.mlm.layer_norm.gamma",
    "cls.predictions.transform.LayerNorm.bias": "target.mlm.layer_norm.beta",
    "cls.predictions.bias": "target.mlm.linear_2.bias",
}
LAYER_NAMES = {
    "attention.self.query": "self_attn.linear_layers.0",
    "attention.self.key": "self_attn.linear_layers.1",
    "attention.self.value": "self_attn.linear_layers.2",
    "attention.output.dense": "self_attn.final_linear",
    "attention.output.LayerNorm.weight": "layer_norm_1.gamma",
    "attention.output.LayerNorm.bias": "layer_norm_1.beta",
    "intermediate.dense": "feed_forward.linear_1",
    "output.dense": "feed_forward.linear_2",
    "output.LayerNorm.weight": "layer_norm_2.gamma",
    "output.LayerNorm.bias": "layer_norm_2.beta",
}
# As files from before 2023 spell them.
OLDER = {
    "embedding.word.embedding.": "embedding.word_embedding.",
    "embedding.pos.embedding.": "embedding.position_embedding.",
    "embedding.seg.embedding.": "embedding.segment_embedding.",
    "target.mlm.linear_": "target.mlm_linear_",
    "target.mlm.layer_norm.": "target.layer_norm.",
    "target.sp.linear_": "target.nsp_linear_",
}


def rename(name: str) -> str:
    """Return TencentPretrain's name of one of transformers'."""
    table, prefix = NAMES, ""
    if name.startswith("bert.encoder.layer."):
        number, name = name.removeprefix("bert.encoder.layer.").split(".", 1)
        table, prefix = LAYER_NAMES, f"encoder.transformer.{number}."
    for theirs, ours in table.items():
        if name == theirs:
            return prefix + ours
        if name.startswith(theirs + "."):
            return prefix + ours + name.removeprefix(theirs)
    raise KeyError(name)


@pytest.fixture
def bert(build_bert):
    """Two heads of 64."""
    return build_bert(
        hidden_size=128, num_attention_heads=2, hidden_act=config_lib.GELU_EXACT
    )


@pytest.fixture
def save(bert, tmp_path):
    """Returns a function: changes to the state -> a file with the model."""

    def build(older: bool = False, **changes):
        state = {}
        for weight in weight_map.list_weights(bert.config, bert.parts):
            array = weight_map.to_layout(
                bert.weights[weight.name], weight.pt_layout, weight.shape
            )
            state[rename(weight.pt)] = torch.tensor(np.ascontiguousarray(array))
        table = state["embedding.seg.embedding.weight"]
        padding = torch.zeros(1, table.shape[1])
        state["embedding.seg.embedding.weight"] = torch.cat([padding, table])
        words = state["embedding.word.embedding.weight"]
        state["target.mlm.linear_2.weight"] = words.clone()
        state |= {name.replace("__", "."): value for name, value in changes.items()}
        if older:
            for new, old in OLDER.items():
                state = {name.replace(new, old): v for name, v in state.items()}
        path = tmp_path / "cluecorpussmall_tiny_seq512_model.bin-250000"
        torch.save(state, path, _use_new_zipfile_serialization=not older)
        (tmp_path / "vocab.txt").write_bytes(bert.vocabulary.data)
        return path

    return build


@pytest.mark.parametrize("older", [False, True])
def test_file_is_recognised_and_read(bert, save, assert_same_weights, older):
    path = str(save(older))
    assert formats.find_format(path) == "uer"
    back = formats.read_checkpoint(path)
    assert_same_weights(back, bert)
    assert back.config == bert.config
    assert back.vocabulary.tokens == bert.vocabulary.tokens


def test_number_of_heads_comes_from_the_configuration(bert, save, tmp_path):
    (tmp_path / "config.json").write_text('{"heads_num": 4, "emb_size": 128}')
    options = pretrained.ReadOptions(bert_config_file=str(tmp_path / "config.json"))
    back = formats.read_checkpoint(str(save()), options=options)
    assert back.config.num_attention_heads == 4


def test_output_matrix_of_its_own_is_left_out_on_request(bert, save):
    other = torch.ones(bert.config.vocab_size, 128)
    path = str(save(target__mlm__linear_2__weight=other))
    with pytest.raises(ValueError, match="is not its embedding table.*--allow_partial"):
        formats.read_checkpoint(path)
    back = formats.read_checkpoint(
        path, options=pretrained.ReadOptions(allow_partial=True)
    )
    assert not back.has(weight_map.Part.MLM)
    assert back.has(weight_map.Part.NSP)


def test_other_files_are_refused_and_no_code_runs(tmp_path):
    other = tmp_path / "other.bin"
    torch.save({"weight": torch.ones(2)}, other)
    with pytest.raises(ValueError, match="holds no BERT of UER-py or TencentPretrain"):
        formats.read_checkpoint(str(other))

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    other.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ValueError, match="is no plain PyTorch state dict"):
        formats.read_checkpoint(str(other))
    assert not (tmp_path / "ran").exists()
