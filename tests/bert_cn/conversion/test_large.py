"""Large models: one weight at a time in memory, several files."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import (
    formats,
    google_tf1,
    lazy_weights,
    pretrained,
    transformers_pt,
)

SMALL_SHARDS = pretrained.WriteOptions(max_shard_size="4KB")


@pytest.fixture(scope="module")
def sharded(build_bert, tmp_path_factory):
    pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    folder = tmp_path_factory.mktemp("large") / "out"
    formats.write_checkpoint(build_bert(), "pt", str(folder), options=SMALL_SHARDS)
    return folder


def test_shards_are_small_and_their_index_names_every_weight(sharded, build_bert):
    for kind, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        assert not (sharded / f"{kind}.{suffix}").exists()
        index = json.loads((sharded / f"{kind}.{suffix}.index.json").read_text())
        names = set(index["weight_map"])
        tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        assert names - tied == set(transformers_pt.build_state(build_bert()))
        assert (names >= tied) is (suffix == "bin")
        # 3,516 parameters of 4 bytes.
        assert index["metadata"]["total_size"] == 14064
        shards = set(index["weight_map"].values())
        assert len(shards) == 4
        assert f"{kind}-00001-of-00004.{suffix}" in shards
    for shard in sharded.glob("*.safetensors"):
        header = int.from_bytes(shard.read_bytes()[:8], "little")
        assert shard.stat().st_size - header - 8 <= 4000


def test_shards_are_read_and_overwritten(
    sharded, build_bert, assert_same_weights, tmp_path
):
    bert = formats.read_checkpoint(str(sharded))
    assert_same_weights(bert, build_bert())

    folder = tmp_path / "out"
    formats.write_checkpoint(bert, "pt", str(folder), options=SMALL_SHARDS)
    for path in folder.glob("*model*safetensors*"):
        path.unlink()
    assert_same_weights(formats.read_checkpoint(str(folder)), bert)
    formats.write_checkpoint(bert, "tf2", str(folder), overwrite=True)
    assert not list(folder.glob("*-of-*"))


@pytest.mark.parametrize("use_safetensors", [True, False])
def test_transformers_loads_shards(sharded, build_bert, use_safetensors):
    transformers = pytest.importorskip("transformers")

    model, info = transformers.BertForPreTraining.from_pretrained(
        sharded, use_safetensors=use_safetensors, output_loading_info=True
    )

    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    state = model.state_dict()
    for name, array in transformers_pt.build_state(build_bert()).items():
        assert np.array_equal(state[name].numpy(), array), name


def test_missing_shard_is_refused(sharded, tmp_path):
    for name in ("config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_bytes((sharded / name).read_bytes())

    with pytest.raises(ValueError, match="model-00001-of-00004.safetensors cannot be"):
        formats.read_checkpoint(str(tmp_path))


def test_index_without_shards_is_refused(sharded, tmp_path):
    (tmp_path / "config.json").write_bytes((sharded / "config.json").read_bytes())
    (tmp_path / "model.safetensors.index.json").write_text("{}")

    with pytest.raises(ValueError, match="names no shards in its weight_map"):
        formats.read_checkpoint(str(tmp_path))


@pytest.mark.parametrize("size", ["0GB", "5", "5 apples", "-1GB"])
def test_shard_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="must be a whole number of KB, MB, GB or TB"):
        transformers_pt.check_shard_size(size)


@pytest.fixture
def without_torch(monkeypatch):
    """Make PyTorch look as if it were not installed."""
    monkeypatch.setattr(transformers_pt, "has_torch", lambda: False)


@pytest.mark.usefixtures("without_torch")
def test_safetensors_are_written_without_pytorch(
    build_bert, assert_same_weights, tmp_path
):
    bert = build_bert()

    formats.write_checkpoint(bert, "pt", str(tmp_path / "out"))

    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    assert_same_weights(formats.read_checkpoint(str(tmp_path / "out")), bert)
    (warning,) = formats.FORMATS["pt"].describe_differences(bert)
    assert "is left out, because PyTorch is not installed" in warning


@pytest.mark.usefixtures("without_torch")
def test_bin_is_not_read_without_pytorch(build_bert, tmp_path):
    folder = tmp_path / "out"
    formats.write_checkpoint(build_bert(), "pt", str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(ValueError, match="PyTorch is not installed, and .*bin needs"):
        formats.read_checkpoint(str(folder))


def test_tf1_of_many_bytes_is_split_among_data_files(
    build_bert, assert_same_weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(google_tf1, "_MOST_BYTES_AT_ONCE", 5000)
    bert = build_bert()

    formats.write_checkpoint(bert, "tf1", str(tmp_path / "out"))

    data = sorted(path.name for path in (tmp_path / "out").glob("*.data*"))
    assert data == [f"bert_model.ckpt.data-0000{i}-of-00003" for i in range(3)]
    assert not (tmp_path / "out" / "parts").exists()
    assert_same_weights(formats.read_checkpoint(str(tmp_path / "out")), bert)
    prefix = str(tmp_path / "out" / "bert_model.ckpt")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        saver = tf.compat.v1.train.import_meta_graph(f"{prefix}.meta")
        saver.restore(session, prefix)
        assert len(tf.compat.v1.global_variables()) == 46
    formats.write_checkpoint(bert, "tf2", str(tmp_path / "out"), overwrite=True)


@pytest.mark.parametrize("output_format", ["tf1", "tf2"])
def test_weights_are_read_only_when_asked_for(output_format, build_bert, tmp_path):
    loaded = []

    def load(name, array):
        loaded.append(name)
        return array

    bert = build_bert()
    bert.weights = lazy_weights.LazyWeights(
        {
            name: lazy_weights.LazyWeight(
                array.shape, lambda n=name, a=array: load(n, a)
            )
            for name, array in bert.weights.items()
        }
    )
    assert bert.count_parameters() == 3516
    assert loaded == []

    formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))

    assert sorted(loaded) == sorted(bert.weights)


def test_half_precision_is_read_as_float32(build_bert, tmp_path):
    torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "out"
    formats.write_checkpoint(build_bert(), "pt", str(folder))
    state = load_file(folder / "model.safetensors")
    for kind in (torch.float16, torch.bfloat16):
        halves = {name: tensor.to(kind) for name, tensor in state.items()}
        save_file(halves, folder / "model.safetensors")

        weights = formats.read_checkpoint(str(folder)).weights

        expected = halves["bert.pooler.dense.bias"].float().numpy()
        assert weights["bert/pooler/dense/bias"].dtype == np.float32
        assert np.array_equal(weights["bert/pooler/dense/bias"], expected)


def test_damaged_bytes_are_noticed_when_they_are_read(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "out"))
    path = tmp_path / "out" / "bert_model.ckpt.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    bert = formats.read_checkpoint(str(tmp_path / "out"))

    with pytest.raises(ValueError, match=r"bert_model.ckpt' cannot be read \("):
        formats.write_checkpoint(bert, "tf2", str(tmp_path / "tf2"))
    assert not (tmp_path / "tf2").exists()
