import shutil

import h5py
import numpy as np
import pytest

from bert_cn.conversion import formats


def replace(path, kind: str, secret) -> None:
    """Replace one dataset of a file by something that leads out of it."""
    names = []
    with h5py.File(path, "r+") as file:
        file.visititems(
            lambda name, item: (
                names.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
        name = names[0]
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        if kind == "external":
            size = int(np.prod(shape)) * dtype.itemsize
            file.create_dataset(name, shape, dtype, external=[(str(secret), 0, size)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(secret), "data", shape)
            file.create_virtual_dataset(name, layout)
        elif kind == "soft":
            file[name] = h5py.SoftLink(f"/{names[1]}")
        else:
            file[name] = h5py.ExternalLink(str(secret), "/data")


@pytest.mark.parametrize("kind", ["external", "virtual", "soft", "link"])
@pytest.mark.parametrize(
    ("name", "file"), [("tf2", "tf_model.h5"), ("keras", "heads.weights.h5")]
)
def test_what_leads_out_of_a_file_is_refused(build_bert, tmp_path, name, file, kind):
    folder, secret = tmp_path / "model", tmp_path / "secret"
    formats.write_checkpoint(build_bert(), name, str(folder))
    secret.write_bytes(b"s" * 1_000_000)
    replace(folder / file, kind, secret)
    with pytest.raises(ValueError, match=f"{file}: '.*' is .*name another checkpoint"):
        formats.read_checkpoint(str(folder))


def test_weights_of_a_preset_are_looked_at_before_keras_loads_them(
    build_bert, tmp_path
):
    folder, secret = tmp_path / "model", tmp_path / "secret"
    formats.write_checkpoint(build_bert(), "keras", str(folder))
    secret.write_bytes(b"s" * 1_000_000)
    replace(folder / "model.weights.h5", "external", secret)
    with pytest.raises(ValueError, match=r"model\.weights\.h5: .* in another file"):
        formats.read_checkpoint(str(folder))


def test_group_that_holds_itself_is_looked_at_once(build_bert, tmp_path):
    folder = tmp_path / "model"
    formats.write_checkpoint(build_bert(), "tf2", str(folder))
    shutil.copy(folder / "tf_model.h5", tmp_path / "whole.h5")
    with h5py.File(folder / "tf_model.h5", "r+") as file:
        file["bert/again"] = file["bert"]
    back = formats.read_checkpoint(str(folder))
    assert back.weights.keys() == build_bert().weights.keys()
