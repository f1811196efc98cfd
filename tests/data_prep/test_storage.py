import hashlib

import pytest

from data_prep import storage


@pytest.mark.parametrize("folder", ["local", "ram://storage_test"])
@pytest.mark.parametrize("data", ["使用\n", b"\xe4\xbd\xbf\n"])
def test_write_whole_replaces_a_file_and_leaves_nothing_beside(folder, data, tmp_path):
    folder = str(tmp_path) if folder == "local" else folder
    storage.makedirs(folder)
    path = f"{folder}/file.txt"
    storage.write_whole(path, "before")

    storage.write_whole(path, data)

    expected = data.encode() if isinstance(data, str) else data
    assert storage.read_bytes(path) == expected
    assert storage.listdir(folder) == ["file.txt"]


def test_write_whole_keeps_the_earlier_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("before")

    class FullDisk:
        def __enter__(self):
            (tmp_path / "began").touch()
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "open", lambda path, mode: FullDisk())
    with pytest.raises(OSError, match="No space left"):
        storage.write_whole(str(path), "after")
    assert path.read_text() == "before"


@pytest.mark.parametrize("folder", ["local", "ram://storage_hash_test"])
def test_hash_is_that_of_all_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_HASH_BYTES", 4)
    folder = str(tmp_path) if folder == "local" else folder
    storage.makedirs(folder)
    storage.write_whole(f"{folder}/a", "abcdefghi")
    expected = hashlib.sha256(b"abcdefghi").hexdigest()
    assert storage.hash_file(f"{folder}/a") == expected
