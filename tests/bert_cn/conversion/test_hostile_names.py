"""Names that a file gives to others stay in its folder."""

import json
import os
import shutil

import pytest

from bert_cn.conversion import formats, pretrained

SHARDED = pretrained.WriteOptions(max_shard_size="2KB")


@pytest.fixture
def victim(tmp_path):
    """A readable file outside of every folder of a test."""
    path = tmp_path / "victim.safetensors"
    path.write_text("secret")
    return path


@pytest.mark.parametrize("name", ["../victim.safetensors", "/etc/passwd", "a/b", ".."])
def test_index_of_shards_names_files_beside_it(build_bert, tmp_path, victim, name):
    folder = tmp_path / "model"
    formats.write_checkpoint(build_bert(), "pt", str(folder), options=SHARDED)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][next(iter(index["weight_map"]))] = name
    path.write_text(json.dumps(index))
    with pytest.raises(
        ValueError, match="which is no file beside it: it is damaged or"
    ):
        formats.read_checkpoint(str(folder))


def test_modules_name_folders_inside(build_bert, tmp_path):
    folder = tmp_path / "model"
    formats.write_checkpoint(build_bert(), "sentence_transformers", str(folder))
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    assert formats.read_checkpoint(str(folder)).parts
    modules[0]["path"] = "../elsewhere"
    path.write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"names '../elsewhere', which is no file"):
        formats.read_checkpoint(str(folder))


def test_state_file_names_a_checkpoint_of_its_folder(build_bert, tmp_path):
    for name in ("one", "other"):
        formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / name))
        for path in (tmp_path / name).glob("bert_model.ckpt*"):
            path.rename(str(path).replace("bert_model.ckpt", f"{name}-7"))
    state = tmp_path / "one" / "checkpoint"
    state.write_text('model_checkpoint_path: "one-7"\n')
    assert formats.read_checkpoint(str(tmp_path / "one")).source.endswith("one-7")
    state.write_text(f'model_checkpoint_path: "{tmp_path}/other/other-7"\n')
    with pytest.raises(
        ValueError, match="which is not in this folder: name that check"
    ):
        formats.read_checkpoint(str(tmp_path / "one"))
    # A folder that was moved: its file is here.
    shutil.copytree(tmp_path / "other", tmp_path / "moved")
    (tmp_path / "moved" / "checkpoint").write_text(
        f'model_checkpoint_path: "{tmp_path}/other/other-7"\n'
    )
    found = formats.read_checkpoint(str(tmp_path / "moved"))
    assert found.source.startswith(str(tmp_path / "moved"))


def test_preset_is_read_from_its_folder_whatever_its_name(
    build_bert, tmp_path, monkeypatch
):
    import keras_hub

    (name,) = [n for n in keras_hub.models.BertBackbone.presets if n == "bert_base_zh"]
    formats.write_checkpoint(build_bert(), "keras", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    assert os.listdir(".") == [name]
    assert formats.read_checkpoint(name).config.hidden_size == 12
