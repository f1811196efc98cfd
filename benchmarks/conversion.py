"""Seconds and peak memory of converting a model of random weights between formats.

    python benchmarks/conversion.py base
    python benchmarks/conversion.py giant --work_dir=/large/disk

Each conversion is one `python -m bert_cn.convert_checkpoint`. Seconds are those of the
whole command with its imports. Memory is the largest resident size (`ru_maxrss`), also
as a multiple of the weights' size. All output is written below a temporary folder of
--work_dir and deleted after it was read.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# (from, to): every format is written from tf1 and read into tf1.
CONVERSIONS = (
    ("training", "tf1"),
    ("tf1", "tf1"),
    ("tf1", "tf2"),
    ("tf2", "tf1"),
    ("tf1", "model_garden"),
    ("model_garden", "tf1"),
    ("tf1", "keras"),
    ("keras", "tf1"),
    ("tf1", "pt"),
    ("pt", "tf1"),
    ("tf1", "sentence_transformers"),
    ("tf1", "onnx"),
    ("training", "keras"),
)
# It runs in a process of its own, because Linux counts the parent's memory at the fork
# in the child's ru_maxrss: this process must stay small.
MAKE_CHECKPOINT = """
import shutil, sys
import tensorflow as tf
from bert_cn.model import config, pretraining_model
config_file, vocab_file, folder = sys.argv[1:]
model = pretraining_model.build_pretraining_model(config.load_config(config_file))
checkpoint = tf.train.Checkpoint(model=model)
tf.train.CheckpointManager(checkpoint, folder, 1, checkpoint_name="ckpt").save(1)
shutil.copy(config_file, folder + "/bert_config.json")
shutil.copy(vocab_file, folder + "/vocab.txt")
print(sum(variable.value.numpy().nbytes for variable in model.trainable_variables))
"""


def main() -> None:
    """Make a checkpoint, convert it from format to format, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a name in configs/models: base, giant, ...")
    parser.add_argument("--work_dir", help="a folder with room for six times the model")
    parser.add_argument("--only", help="formats with commas between; all without it")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else None
    with tempfile.TemporaryDirectory(dir=arguments.work_dir) as folder:
        size = make_checkpoint(arguments.model, folder)
        print(f"{arguments.model}: {size / 1e9:.2f} GB of float32\n")
        print("| from | to | seconds | peak memory | times the weights |")
        print("|---|---|---|---|---|")
        for source, target in CONVERSIONS:
            if only is None or {source, target} & set(only):
                measure(folder, source, target, size)


def make_checkpoint(model: str, folder: str) -> int:
    """Write a training folder of random weights; returns their bytes."""
    config = REPOSITORY / "configs" / "models" / f"bert_{model}_cn.json"
    vocab_file = os.path.join(folder, "vocab.txt")
    # 21,128 tokens, as the configurations say.
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [chr(0x4E00 + number) for number in range(21128 - len(tokens))]
    pathlib.Path(vocab_file).write_text("\n".join(tokens) + "\n", encoding="utf-8")
    command = [sys.executable, "-c", MAKE_CHECKPOINT, str(config), vocab_file]
    command.append(os.path.join(folder, "training"))
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    return int(done.stdout.splitlines()[-1])


def measure(folder: str, source: str, target: str, size: int) -> None:
    """Convert and print one row; make the input first if it does not exist."""
    if not os.path.isdir(os.path.join(folder, source)):
        convert(folder, source="tf1" if source != "tf1" else "training", target=source)
    seconds, peak = convert(folder, source, target)
    print(
        f"| {source} | {target} | {seconds:.0f} | {peak / 1e9:.2f} GB | "
        f"{peak / size:.1f} |",
        flush=True,
    )
    if source not in ("training", "tf1"):
        shutil.rmtree(os.path.join(folder, source))


def convert(folder: str, source: str, target: str) -> tuple[float, int]:
    """Run the command; returns seconds and the peak of resident bytes."""
    output = os.path.join(folder, target)
    if source == target:
        output += "_again"
    command = [sys.executable, "-m", "bert_cn.convert_checkpoint", "--overwrite"]
    command += [f"--input={os.path.join(folder, source)}", f"--output_dir={output}"]
    command += [f"--output_format={target}", "--do_lower_case"]
    log = os.path.join(folder, "log.txt")
    started = time.monotonic()
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        sys.exit(pathlib.Path(log).read_text())
    if output.endswith("_again"):
        shutil.rmtree(output)
    return seconds, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
