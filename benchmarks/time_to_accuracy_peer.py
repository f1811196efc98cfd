"""transformers' Trainer on the arrays of `time_to_accuracy`, in its own process.

    python -m benchmarks.time_to_accuracy_peer SETTINGS

SETTINGS is JSON; `time_to_accuracy.build_peer` says what it holds. This process never
imports TensorFlow, so no second pool of threads takes the cores.
"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import transformers

SEED = 12345
# Sequences in a batch of an evaluation, which gradients leave room for.
EVAL_BATCH = 64


def compute_masked_lm_loss(model, hidden, labels):
    """Return the loss of the masked positions, with no logits of the others.

    transformers 5.23 has this in ModernBERT (`sparse_prediction`), not in BERT.

    Args:
        model: one with `cls.predictions`.
        hidden: float [batch, length, hidden size].
        labels: int64 [batch, length]; -100 where nothing is to be predicted.
    """
    is_masked = labels != -100
    logits = model.cls.predictions(hidden[is_masked])  # [masked, vocabulary]
    return torch.nn.functional.cross_entropy(logits, labels[is_masked])


class GatheredMaskedLM(transformers.BertForMaskedLM):
    """BertForMaskedLM whose logits are those of the masked positions alone."""

    def forward(self, input_ids, attention_mask, token_type_ids, labels):
        """Return the loss; all arguments are int64 [batch, length]."""
        hidden = self.bert(
            input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )[0]
        return {"loss": compute_masked_lm_loss(self, hidden, labels)}


class GatheredPreTraining(transformers.BertForPreTraining):
    """BertForPreTraining whose logits are those of the masked positions alone."""

    def forward(
        self, input_ids, attention_mask, token_type_ids, labels, next_sentence_label
    ):
        """Return the loss; arguments are int64 [batch, length], the last [batch]."""
        hidden, pooled = self.bert(
            input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )[:2]
        sentence_loss = torch.nn.functional.cross_entropy(
            self.cls.seq_relationship(pooled), next_sentence_label
        )
        return {"loss": compute_masked_lm_loss(self, hidden, labels) + sentence_loss}


# (with next sentences, gathered) -> class
MODELS = {
    (False, False): transformers.BertForMaskedLM,
    (False, True): GatheredMaskedLM,
    (True, False): transformers.BertForPreTraining,
    (True, True): GatheredPreTraining,
}


class Sequences(torch.utils.data.Dataset):
    """The training sequences, unmasked; items are for the collator.

    Args:
        data: the arrays of `time_to_accuracy.export_data`.
        special_ids: tokens that are never masked.
        with_labels: whether an item has the label of its sentences.
    """

    def __init__(self, data, special_ids: list[int], with_labels: bool):
        is_special = np.isin(data["train_input_ids"], special_ids)
        columns = {
            "input_ids": data["train_input_ids"],
            "attention_mask": data["train_input_mask"],
            "token_type_ids": data["train_segment_ids"],
            # Otherwise the collator searches each sequence for special tokens.
            "special_tokens_mask": is_special,
        }
        if with_labels:
            columns["next_sentence_label"] = data["train_next_sentence_labels"][:, 0]
        self._columns = {
            name: torch.from_numpy(column).long() for name, column in columns.items()
        }

    def __len__(self) -> int:
        return len(self._columns["input_ids"])

    def __getitem__(self, index):
        return {name: column[index] for name, column in self._columns.items()}


class Curve(transformers.TrainerCallback):
    """Measures the model every few steps, outside of the training time.

    Args:
        model: what is trained, not compiled.
        data: the arrays of `time_to_accuracy.export_data`.
        settings: see `main`.

    Attributes:
        result: "steps", "minutes" and "accuracy" lists.
    """

    def __init__(self, model, data, settings):
        self._model, self._settings = model, settings
        limit = settings["max_eval_steps"] * settings["batch"] or None
        self._data = {
            name: torch.from_numpy(data[name][:limit])
            for name in (
                "input_ids",
                "input_mask",
                "segment_ids",
                "masked_lm_positions",
                "masked_lm_ids",
                "masked_lm_weights",
            )
        }
        self.result = {"steps": [], "minutes": [], "accuracy": []}

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock."""
        self._begin = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        """Measure the model if it is time; the clock stands still meanwhile."""
        now = time.monotonic()
        minutes = (now - self._begin) / 60
        most_minutes = self._settings["most_minutes"]
        if most_minutes and minutes >= most_minutes:
            control.should_training_stop = True
        ends = control.should_training_stop or state.global_step == args.max_steps
        if state.global_step % self._settings["eval_every_steps"] and not ends:
            return
        self.result["steps"].append(state.global_step)
        self.result["minutes"].append(minutes)
        self.result["accuracy"].append(self._measure())
        print(
            f"step {state.global_step}, {minutes:.2f} minutes: masked_lm_accuracy "
            f"{self.result['accuracy'][-1]:.4f}",
            flush=True,
        )
        self._begin += time.monotonic() - now

    @torch.no_grad()
    def _measure(self) -> float:
        """Return the accuracy on the masked tokens of the held-out sequences."""
        self._model.eval()
        right = total = 0
        for first in range(0, len(self._data["input_ids"]), EVAL_BATCH):
            batch = {
                name: column[first : first + EVAL_BATCH]
                for name, column in self._data.items()
            }
            counts = batch["masked_lm_weights"] > 0
            is_right = self._predict(batch) == batch["masked_lm_ids"]
            right += int((is_right & counts).sum())
            total += int(counts.sum())
        self._model.train()
        self.result["masked_tokens"] = total
        return right / total

    def _predict(self, batch) -> torch.Tensor:
        """Return the likeliest token ids at the masked positions, [batch, masked]."""
        bf16 = self._settings["precision"] == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, bf16):
            hidden = self._model.bert(
                batch["input_ids"],
                attention_mask=batch["input_mask"],
                token_type_ids=batch["segment_ids"],
            )[0]
            positions = batch["masked_lm_positions"].long().unsqueeze(-1)
            rows = hidden.gather(1, positions.expand(-1, -1, hidden.shape[-1]))
            return self._model.cls.predictions(rows).argmax(-1)


def main() -> None:
    settings = json.loads(sys.argv[1])
    data = dict(np.load(settings["data"]))
    transformers.set_seed(SEED)
    model = build_model(settings)
    # It tokenizes nothing: the collator takes ids of special tokens from it.
    tokenizer = transformers.BertTokenizerFast(
        str(data["vocab_file"]), do_lower_case=False
    )
    curve = Curve(model, data, settings)
    trainer = transformers.Trainer(
        model,
        build_arguments(settings),
        data_collator=transformers.DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=0.15
        ),
        train_dataset=Sequences(
            data, tokenizer.all_special_ids, settings["next_sentence"]
        ),
        callbacks=[curve],
    )
    trainer.train()
    pathlib.Path(settings["result"]).write_text(json.dumps(curve.result))


def build_model(settings: dict) -> transformers.PreTrainedModel:
    """Build the model with random weights.

    Its GELU is exact, as `hidden_act` says and torch has a kernel for; ours is the tanh
    approximation, which transformers calls gelu_new and computes in six operations.
    """
    config = transformers.BertConfig.from_json_file(settings["config"])
    config.hidden_dropout_prob = settings["dropout"]
    config.attention_probs_dropout_prob = settings["dropout"]
    return MODELS[settings["next_sentence"], settings["gathers_masked"]](config)


def build_arguments(settings: dict) -> transformers.TrainingArguments:
    """Return the Trainer's settings; what is not named here is its default.

    Among the defaults are fused AdamW (betas 0.9 and 0.999) and clipping to norm 1.
    """
    return transformers.TrainingArguments(
        output_dir=settings["work_dir"],
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch"],
        learning_rate=settings["rate"],
        warmup_steps=settings["warmup_steps"],
        lr_scheduler_type="linear",
        weight_decay=0.01,
        bf16=settings["precision"] == "bfloat16",
        torch_compile=settings["compile"],
        use_cpu=True,
        seed=SEED,
        # A last batch of another shape would be compiled again.
        dataloader_drop_last=True,
        # It would drop special_tokens_mask before the collator sees it.
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
