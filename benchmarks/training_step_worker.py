"""One contender of `training_step.py`: runs as many steps as each line of input says.

    python -m benchmarks.training_step_worker KIND SIZE PRECISION

For each line with a number of steps on standard input, prints [wall seconds, CPU
seconds] of these steps.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.training_step import LENGTH, PREDICTIONS, SIZES, VOCABULARY


def main() -> None:
    kind, size, precision = sys.argv[1:]
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Libraries print to standard output, too.
    run_steps = BUILDERS[kind](SIZES[size], precision)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run_steps(int(line))
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        output.write(json.dumps(seconds) + "\n")
        output.flush()


def make_batch(size) -> dict:
    """Return NumPy arrays of a batch without padding."""
    import numpy as np

    rng = np.random.default_rng(0)
    tokens, masked = (size.batch, LENGTH), (size.batch, PREDICTIONS)
    positions = rng.random(tokens).argsort(axis=1)[:, :PREDICTIONS]
    return {
        "input_ids": rng.integers(0, VOCABULARY, tokens),
        "input_mask": np.ones(tokens, int),
        "segment_ids": rng.integers(0, 2, tokens),
        "masked_lm_positions": np.sort(positions, axis=1),
        "masked_lm_ids": rng.integers(0, VOCABULARY, masked),
        "masked_lm_weights": np.ones(masked),
        "next_sentence_labels": rng.integers(0, 2, (size.batch, 1)),
    }


def build_ours(size, precision: str):
    import tensorflow as tf

    from bert_cn.model import config as config_lib
    from bert_cn.model import fused_ops
    from bert_cn.pretraining import settings as settings_lib
    from bert_cn.pretraining import train_step
    from data_prep.records import schema

    config = config_lib.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
    )
    args = settings_lib.PretrainingArgs(
        learning_rate=1e-4,
        precision="mixed_bfloat16" if precision == "bfloat16" else "float32",
    )
    trainer = train_step.build_trainer(
        args, config, tf.distribute.get_strategy(), training_ops=fused_ops.CPU
    )
    batch = {
        name: tf.constant(
            value, tf.float32 if name in schema.FLOAT_FEATURES else tf.int32
        )
        for name, value in make_batch(size).items()
    }
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda steps: trainer.train_steps(iterator, tf.constant(steps))


def build_gemm(_, precision: str):
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((4096, 4096)), precision)

    @tf.function
    def multiply(matrix):
        return tf.matmul(matrix, matrix)[0, 0]

    return lambda steps: [multiply(matrix).numpy() for _ in range(steps)]


def build_torch(size, precision: str, gathered: bool, compiled: bool):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        hidden_act="gelu_new",
    )
    model = transformers.BertForPreTraining(config).train()
    batch = {name: torch.from_numpy(value) for name, value in make_batch(size).items()}
    positions = batch["masked_lm_positions"]
    labels = torch.full((size.batch, LENGTH), -100).scatter(
        1, positions, batch["masked_lm_ids"]
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.01)
    cross_entropy = torch.nn.functional.cross_entropy

    def compute_loss():
        inputs = {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["input_mask"],
            "token_type_ids": batch["segment_ids"],
        }
        sentence_labels = batch["next_sentence_labels"][:, 0]
        if not gathered:
            return model(
                **inputs, labels=labels, next_sentence_label=sentence_labels
            ).loss
        hidden, pooled = model.bert(**inputs)[:2]
        index = positions[..., None].expand(-1, -1, size.hidden)
        logits = model.cls.predictions(hidden.gather(1, index)).float()
        return cross_entropy(
            logits.flatten(0, 1), batch["masked_lm_ids"].flatten()
        ) + cross_entropy(model.cls.seq_relationship(pooled).float(), sentence_labels)

    if compiled:
        compute_loss = torch.compile(compute_loss)

    def run_steps(steps: int):
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, precision == "bfloat16"):
                loss = compute_loss()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        loss.item()

    return run_steps


def build_model_garden(size, precision: str):
    import tensorflow as tf

    from benchmarks import model_garden_step

    config = {
        "vocab_size": VOCABULARY,
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.hidden,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    step = model_garden_step.build_step(config, policy)
    names = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}
    batch = {
        names.get(name, name): tf.constant(
            value, tf.float32 if name == "masked_lm_weights" else tf.int32
        )
        for name, value in make_batch(size).items()
    }
    compiled = tf.function(step)
    return lambda steps: [compiled(batch) for _ in range(steps)]


BUILDERS = {
    "ours": build_ours,
    "gemm": build_gemm,
    "torch-full": lambda *a: build_torch(*a, gathered=False, compiled=False),
    "torch-gathered": lambda *a: build_torch(*a, gathered=True, compiled=False),
    "torch-compiled": lambda *a: build_torch(*a, gathered=True, compiled=True),
    "model-garden": build_model_garden,
}

if __name__ == "__main__":
    main()
