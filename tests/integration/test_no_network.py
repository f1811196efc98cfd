"""No command asks the network for anything, on the way from text to fine-tuning.

An audit hook (PEP 578) ends a command that opens a connection or looks up a name. It
sees what Python does; TensorFlow's own sockets are opened for gs:// and TPUs alone.
"""

import numpy as np
import pytest

SENTENCES = (
    "语言模型学习中国的语言。",
    "学习让模型知道下一个字是什么。",
    "今天天气好。",
)
WATCHED = """
import runpy, socket, sys

EVENTS = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "socket.sendto", "socket.bind",
}

def refuse(event, arguments):
    if event not in EVENTS:
        return
    if event in ("socket.connect", "socket.bind"):
        if arguments[0].family == socket.AF_UNIX:
            return
    print("NETWORK", event, arguments[1:] or arguments, file=sys.stderr, flush=True)
    raise SystemExit(99)

sys.addaudithook(refuse)
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def run(warm):
    """Returns a function: module, arguments -> standard output; refuses the network."""

    def run_watched(module: str, *arguments: str) -> str:
        done = warm.run(module, [module, *arguments], program=WATCHED)
        assert "NETWORK" not in done.stderr, done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_watched


def test_hook_sees_a_connection(warm):
    program = WATCHED.rpartition("module = ")[0] + (
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')"
    )
    done = warm.run("watched", [], program=program)
    assert done.returncode == 99
    assert "NETWORK" in done.stderr


@pytest.mark.slow
def test_no_command_reaches_the_network(run, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "\n\n".join("\n".join(SENTENCES) + "学" * i for i in range(40)) + "\n",
        encoding="utf-8",
    )
    (tmp_path / "config.json").write_text(
        '{"vocab_size": 60, "hidden_size": 12, "num_hidden_layers": 1, '
        '"num_attention_heads": 2, "intermediate_size": 16, '
        '"max_position_embeddings": 32}'
    )
    vocab = tmp_path / "vocab.txt"
    run(
        "data_prep.build_vocab",
        f"--input_file={text}",
        f"--output_file={vocab}",
        "--vocab_size=60",
    )
    tokens = vocab.read_text(encoding="utf-8").splitlines()
    tokens += [f"[unused{i}]" for i in range(60 - len(tokens))]
    vocab.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    run(
        "data_prep.create_pretraining_data",
        f"--input_file={text}",
        f"--output_file={tmp_path / 'r.tfrecord'}",
        f"--vocab_file={vocab}",
        *("--max_seq_length=16", "--max_predictions_per_seq=2", "--masking=wwm"),
    )
    run("data_prep.inspect_records", str(tmp_path / "r.tfrecord"))
    run(
        "bert_cn.run_pretraining",
        f"--bert_config_file={tmp_path / 'config.json'}",
        f"--input_file={tmp_path / 'r.tfrecord'}",
        f"--output_dir={tmp_path / 'run'}",
        *("--do_train", "--do_eval", "--num_train_steps=2", "--train_batch_size=4"),
        "--max_eval_steps=1",
    )
    for name in ("tf1", "tf2", "keras", "pt", "sentence_transformers", "model_garden"):
        made = tmp_path / name
        run(
            "bert_cn.convert_checkpoint",
            f"--input={tmp_path / 'run'}",
            f"--output_format={name}",
            f"--output_dir={made}",
        )
        if name != "sentence_transformers":  # It has no masked-LM head.
            run("bert_cn.fill_mask", f"--checkpoint={made}", "今天[MASK]气")
    rows = ["sentence1\tsentence2\tscore"]
    rows += [f"{SENTENCES[0]}\t{SENTENCES[i % 3]}\t{i % 5}" for i in range(12)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    run(
        "bert_cn.run_sentence_bert",
        "--task_name=tsv",
        f"--data_dir={tmp_path}",
        "--columns=text_a:sentence1,text_b:sentence2,label:score",
        f"--init_checkpoint={tmp_path / 'pt'}",
        f"--output_dir={tmp_path / 'sentences'}",
        *("--objective=cosent", "--do_train", "--do_eval", "--max_seq_length=16"),
        "--num_train_epochs=1",
    )
    run(
        "bert_cn.encode_sentences",
        f"--checkpoint={tmp_path / 'sentences' / 'best'}",
        f"--input_file={text}",
        f"--output_file={tmp_path / 'vectors.npy'}",
    )
    assert np.load(tmp_path / "vectors.npy").shape[1] == 12
