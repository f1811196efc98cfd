import pytest

from data_prep.runner import outputs


def test_one_shard_keeps_its_name():
    planned = outputs.plan_outputs("out/train.tfrecord", 1)
    assert planned.shards == ("out/train.tfrecord",)
    assert planned.manifest == "out/train.manifest.json"
    assert planned.vocabulary == "out/train.vocab.txt"
    assert planned.work_folder == "out/train.work"


def test_several_shards_are_numbered():
    planned = outputs.plan_outputs("out/train.tfrecord", 2)
    assert planned.shards == (
        "out/train-00000-of-00002.tfrecord",
        "out/train-00001-of-00002.tfrecord",
    )


def test_a_comma_list_is_one_shard_each():
    planned = outputs.plan_outputs("out/a.tfrecord,out/b.tfrecord", 1)
    assert planned.shards == ("out/a.tfrecord", "out/b.tfrecord")
    assert planned.manifest == "out/a.manifest.json"


def test_work_for_an_object_store_is_done_locally():
    planned = outputs.plan_outputs("gs://bucket/train.tfrecord", 1)
    assert planned.work_folder.endswith(".work")
    assert "://" not in planned.work_folder


@pytest.mark.parametrize(
    ("output_file", "num_shards", "message"),
    [
        ("", 1, "--output_file is empty"),
        ("out/", 1, "is a folder"),
        ("a", 0, "--num_shards=0 cannot work"),
        ("a,b", 3, "lists 2 files but --num_shards=3"),
        ("a,a", 1, "lists a file twice"),
        ("x/a,y/b", 1, "files in 2 folders"),
    ],
)
def test_bad_outputs_are_refused(output_file, num_shards, message):
    with pytest.raises(ValueError, match=message):
        outputs.plan_outputs(output_file, num_shards)


def test_record_file_named_as_one_beside_it_is_refused():
    with pytest.raises(ValueError, match=r"names 'o/a.manifest.json', which is a file"):
        outputs.plan_outputs("o/a.tfrecord,o/a.manifest.json", 1)
