"""README.md of the written folders."""

import json
import textwrap

import huggingface_hub
import pytest

from bert_cn.conversion import formats, model_card


@pytest.fixture
def training_folder(tmp_path):
    manifest = {
        "counts": {"documents": 1550, "sentences": 19940, "sequences": 1544},
        "masking": "wwm",
        "inputs": [{"path": "/data/someone/secret.txt"}],
        "vocab_sha256": "45bb",
    }
    (tmp_path / "data_manifest.json").write_text(json.dumps(manifest))
    settings = {
        "learning_rate": 2e-05,
        "optimizer": "lamb",
        "init_checkpoint": "/data/someone/bert",
        "data_sha256": "12",
    }
    (tmp_path / "fingerprint.json").write_text(json.dumps(settings))
    (tmp_path / "eval_results.txt").write_text("loss = 2.5\nmasked_lm_loss = 2.0\n")
    return tmp_path


def test_training_is_described_from_manifest_and_results(training_folder):
    notes = model_card.describe_training(str(training_folder), 100)

    assert notes.splitlines() == [
        "- Steps: 100",
        "- Data: 1,550 documents, 19,940 sentences",
        "- Sequences: 1,544 (masking=wwm)",
        "- Vocabulary: sha256 45bb",
        "- Recipe: --learning_rate=2e-05 --optimizer=lamb (started from another "
        "checkpoint)",
        "- Evaluation: loss = 2.5",
        "- Evaluation: masked_lm_loss = 2.0",
    ]
    # Paths of the machine that trained do not belong in a published folder.
    assert "someone" not in notes


def test_damaged_fingerprint_is_named(training_folder):
    (training_folder / "fingerprint.json").write_text("{")

    with pytest.raises(
        ValueError, match=r"fingerprint.json is not a JSON file .*repai"
    ):
        model_card.describe_training(str(training_folder), 100)


@pytest.mark.parametrize("output_format", ["tf1", "tf2", "keras"])
def test_notes_travel_from_card_to_card(output_format, build_bert, tmp_path):
    bert = build_bert()
    bert.training_notes = "- Steps: 7"
    bert.license_name = "apache-2.0"

    formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))

    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "Layers 2, hidden 12, heads 3, feed-forward 20" in card
    assert "Parameters: 3,516" in card
    assert "do_lower_case: false" in card
    back = formats.read_checkpoint(str(tmp_path / "out"))
    assert back.training_notes == "- Steps: 7"


def test_hub_reads_the_metadata(build_bert, tmp_path):
    bert = build_bert()
    bert.training_notes = (
        "- Evaluation: masked_lm_accuracy = 0.583712\n- Evaluation: loss = 2.5\n"
        "- Evaluation: perplexity = 9.87654321"
    )
    formats.write_checkpoint(bert, "pt", str(tmp_path / "out"))
    card = huggingface_hub.ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.language == "zh"
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "fill-mask"
    found = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert found == {"masked_lm_accuracy": 0.5837, "perplexity": 9.8765}
    assert (
        'pipeline("fill-mask", model="FOLDER")("中国的首都是[MASK]京。")' in card.text
    )


def test_example_of_the_card_runs_as_it_stands(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "pt", str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    begin = card.index("    from transformers import pipeline")
    code = textwrap.dedent(card[begin : card.index("\n\n", begin)])
    names: dict = {}
    exec(code.replace("FOLDER", str(tmp_path / "out")), names)
    assert "pipeline" in names


def test_foreign_card_gives_no_notes(tmp_path):
    (tmp_path / "README.md").write_text("# A model\nTrained somehow.\n")

    assert model_card.read_training_notes(str(tmp_path)) == ""


def test_xla_device_is_written_on_request_only(build_bert, tmp_path):
    for value in (None, False, True):
        bert = build_bert()
        bert.xla_device = value
        formats.write_checkpoint(bert, "tf2", str(tmp_path / str(value)))

        config = json.loads((tmp_path / str(value) / "config.json").read_text())
        assert config.get("xla_device") is value
        assert formats.read_checkpoint(str(tmp_path / str(value))).xla_device is None
