"""The onnx folder in ONNX Runtime."""

import importlib.util

import numpy as np
import pytest

from bert_cn.conversion import formats, onnx_model
from bert_cn.conversion.weight_map import Part

OURS = {
    "last_hidden_state": "sequence_output",
    "pooler_output": "pooled_output",
    "prediction_logits": "mlm_logits",
    "seq_relationship_logits": "nsp_logits",
}


@pytest.fixture
def run_onnx():
    """Run a folder's model; returns output name -> array."""
    for name in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(name, reason="pip install 'bert_cn[onnx]'")
    onnxruntime = pytest.importorskip(
        "onnxruntime", reason="pip install 'bert_cn[onnx]'"
    )

    def run(folder, token_ids, mask, segment_ids):
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        feed = {
            "input_ids": token_ids.astype(np.int64),
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": segment_ids.astype(np.int64),
        }
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, feed), strict=True))

    return run


def test_onnxruntime_gives_our_outputs(
    run_onnx, build_bert, compute_outputs, model_input, assert_close, tmp_path
):
    bert = build_bert()
    formats.write_checkpoint(bert, "onnx", str(tmp_path / "out"))

    theirs = run_onnx(
        tmp_path / "out",
        model_input.token_ids,
        model_input.mask,
        model_input.segment_ids,
    )

    assert list(theirs) == list(OURS)
    ours = compute_outputs(bert)
    assert_close(ours, {OURS[name]: array for name, array in theirs.items()})
    # Another batch and length than those of the export; nothing is padded here.
    for rows, length in ((1, 16), (1, 1), (5, 3)):
        ids = np.tile(model_input.token_ids[:1, :length], (rows, 1))
        outputs = run_onnx(tmp_path / "out", ids, np.ones_like(ids), np.zeros_like(ids))
        assert outputs["prediction_logits"].shape == (rows, length, 42)
        assert np.ptp(outputs["pooler_output"], axis=0).max() <= 1e-5
    assert not (tmp_path / "out" / "model.onnx.data").exists()


def test_encoder_alone_with_weights_beside_the_graph(
    run_onnx,
    build_bert,
    compute_outputs,
    model_input,
    assert_close,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(onnx_model, "_MOST_BYTES_INSIDE", 0)
    bert = build_bert(hidden_act="gelu_erf")
    bert.keep_parts((Part.ENCODER, Part.POOLER))
    formats.write_checkpoint(bert, "onnx", str(tmp_path / "out"))

    theirs = run_onnx(tmp_path / "out", *vars(model_input).values())

    assert list(theirs) == ["last_hidden_state", "pooler_output"]
    ours = compute_outputs(build_bert(hidden_act="gelu_erf"))
    assert_close(ours, {OURS[name]: array for name, array in theirs.items()})
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 10_000
    with pytest.raises(
        ValueError, match="No checkpoint is recognised at .*it holds RE"
    ):
        formats.read_checkpoint(str(tmp_path / "out"))


def test_missing_packages_are_said_before_anything_is_read(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("onnx", "onnxscript") else find_spec(name),
    )

    with pytest.raises(
        ValueError, match=r"needs onnx, onnxscript: pip install 'bert_cn"
    ):
        formats.check_output("onnx", "out", overwrite=False)
