"""The commands on RoBERTa and XLM-R, judged by transformers and its friends."""

import json

import numpy as np
import pytest
import torch
import transformers

from tests.bert_cn import roberta_folders

pytestmark = pytest.mark.slow
LENGTH = "--max_seq_length=32"


@pytest.fixture(scope="module", params=roberta_folders.MODEL_TYPES)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("roberta")
    roberta_folders.write(path / "start", request.param)
    roberta_folders.write(path / "lm", request.param, "ForMaskedLM")
    pairs = ["one\ttwo\tlabel"]
    pairs += [f"{x[:9]}\t{y[:9]}\t{int(x == y)}" for x in TEXTS for y in TEXTS] * 2
    for name in ("train", "dev", "test"):
        (path / f"{name}.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
        tags = "\n\n".join("We B-X\ngo O\npark B-X\n今 O" for _ in range(4))
        (path / f"{name}.txt").write_text(tags + "\n", encoding="utf-8")
    context = "我们今天去公园。 The park is good today."
    answers = [{"text": "good", "answer_start": context.index("good")}]
    question = {"id": "q", "question": "How is the park?", "answers": answers}
    paragraph = {"context": context, "qas": [question]}
    data = {"version": "1.1", "data": [{"title": "", "paragraphs": [paragraph]}]}
    (path / "squad.json").write_text(json.dumps(data), encoding="utf-8")
    return path


TEXTS = roberta_folders.TEXTS[:3]


@pytest.fixture
def run(run_command, folder):
    def run(module: str, *arguments: str) -> str:
        arguments = [each.format(folder) for each in arguments]
        done = run_command(f"bert_cn.{module}", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_classifier_is_transformers_own(run, folder):
    run(
        "run_classifier",
        *("--task=tsv", "--columns=text_a:one,text_b:two,label:label", LENGTH),
        *("--data_dir={0}", "--init_checkpoint={0}/start", "--output_dir={0}/classes"),
        *("--do_train", "--do_eval", "--do_predict", "--num_train_epochs=1"),
    )
    best = folder / "classes" / "best"
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        best, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(best)
    rows = (folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    firsts, seconds, _ = zip(*(row.split("\t") for row in rows), strict=True)
    batch = tokenizer(list(firsts), list(seconds), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.eval()(**batch).logits.softmax(-1).numpy()
    table = (folder / "classes" / "test_results.tsv").read_text().splitlines()
    got = np.array([row.split("\t")[-2:] for row in table[-len(rows) :]], float)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_tagger_is_transformers_own(run, folder):
    run(
        "run_ner",
        *("--data_dir={0}", "--init_checkpoint={0}/start", "--output_dir={0}/tags"),
        *("--do_train", "--do_eval", LENGTH, "--num_train_epochs=1"),
    )
    _, info = transformers.AutoModelForTokenClassification.from_pretrained(
        folder / "tags" / "best", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_reader_finds_places_in_the_text(run, folder):
    run(
        "run_squad",
        *("--train_file={0}/squad.json", "--predict_file={0}/squad.json", LENGTH),
        *("--init_checkpoint={0}/start", "--output_dir={0}/answers", "--do_train"),
        *("--do_eval", "--do_predict", "--num_train_epochs=30", "--doc_stride=8"),
        *("--max_query_length=8", "--learning_rate=3e-3"),
    )
    found = json.loads((folder / "answers" / "predictions.json").read_text())
    # Without the space before it, which is part of the token.
    assert found["q"].startswith("good")
    _, info = transformers.AutoModelForQuestionAnswering.from_pretrained(
        folder / "answers" / "best", output_loading_info=True
    )
    assert not info["missing_keys"]


def test_sentence_transformer_makes_the_same_embeddings(run, folder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    run(
        "run_sentence_bert",
        *("--task=tsv", "--columns=text_a:one,text_b:two,label:label", LENGTH),
        *("--data_dir={0}", "--init_checkpoint={0}/start", "--output_dir={0}/pairs"),
        *("--do_train", "--do_eval", "--num_train_epochs=1", "--max_score=1"),
    )
    best = folder / "pairs" / "best"
    (folder / "lines.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    run(
        "encode_sentences",
        *("--checkpoint={0}/pairs/best", "--input_file={0}/lines.txt"),
        "--output_file={0}/vectors.npy",
    )
    expected = sentence_transformers.SentenceTransformer(str(best)).encode(TEXTS)
    np.testing.assert_allclose(np.load(folder / "vectors.npy"), expected, atol=1e-4)


def test_masks_are_filled_and_parameters_counted(run, folder):
    text = "We go to the [MASK] today."
    assert "  -> We go to the" in run("fill_mask", "--checkpoint={0}/lm", text)
    assert "encoder and pooler" in run("count_params", "--checkpoint={0}/start")


def test_pretraining_refuses_them(run_command, folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("今天天气很好。\n" * 20, encoding="utf-8")
    done = run_command(
        "bert_cn.plan_further_pretraining",
        f"--init_checkpoint={folder}/lm",
        f"--input_file={text}",
        f"--output_dir={tmp_path}/out",
    )
    assert done.returncode == 1
    assert "and pretraining is for BERT, whose WordPiece records" in done.stderr


def test_conversion_refuses_what_only_bert_has(run_command, folder, tmp_path):
    done = run_command(
        "bert_cn.convert_checkpoint",
        *(f"--input={folder}/lm", "--output_format=pt", f"--output_dir={tmp_path}/o"),
        "--resize_positions=1024",
    )
    assert done.returncode == 1
    assert "--resize_positions is for BERT, and" in done.stderr
