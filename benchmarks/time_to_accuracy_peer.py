"""transformers' Trainer on the arrays of `time_to_accuracy`, in its own process."""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import transformers

# The most masked tokens of a sequence that are predicted: of 128 tokens with 15 %
# masked, 28 are three and a half standard deviations above the mean.
PREDICTIONS = 28


class GatheredBert(transformers.BertForMaskedLM):
    """BertForMaskedLM whose logits are those of the masked positions alone."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        """Return the loss; the arguments are int64 [batch, length]."""
        hidden = self.bert(input_ids, attention_mask=attention_mask)[0]
        # Masked positions first, in a fixed number of places.
        order = torch.argsort(labels == -100, dim=1, stable=True)[:, :PREDICTIONS]
        rows = order.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        logits = self.cls(hidden.gather(1, rows))
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.gather(1, order).flatten()
        )
        return {"loss": loss}


class Sequences(torch.utils.data.Dataset):
    """The training sequences, unmasked."""

    def __init__(self, input_ids, input_mask):
        self._input_ids = torch.from_numpy(input_ids).long()
        self._input_mask = torch.from_numpy(input_mask).long()

    def __len__(self) -> int:
        return len(self._input_ids)

    def __getitem__(self, index):
        return {
            "input_ids": self._input_ids[index],
            "attention_mask": self._input_mask[index],
        }


class Curve(transformers.TrainerCallback):
    """Measures the model every few steps, outside of the training time."""

    def __init__(self, model, data, settings):
        self._model, self._data, self._settings = model, data, settings
        self.result = {"steps": [], "minutes": [], "accuracy": []}

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock."""
        self._begin = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        """Measure the model if it is time; the clock stands still meanwhile."""
        every = self._settings["eval_every_steps"]
        if state.global_step % every and state.global_step != args.max_steps:
            return
        now = time.monotonic()
        self.result["steps"].append(state.global_step)
        self.result["minutes"].append((now - self._begin) / 60)
        self.result["accuracy"].append(self._measure())
        print(state.global_step, self.result["accuracy"][-1], flush=True)
        self._begin += time.monotonic() - now

    @torch.no_grad()
    def _measure(self) -> float:
        model, data, size = self._model, self._data, 64
        model.eval()
        right = total = 0
        limit = self._settings["max_eval_steps"] * 32 or len(data["input_ids"])
        for first in range(0, min(limit, len(data["input_ids"])), size):
            batch = {
                name: torch.from_numpy(data[name][first : first + size]).long()
                for name in ("input_ids", "input_mask", "segment_ids")
            }
            positions = torch.from_numpy(
                data["masked_lm_positions"][first : first + size]
            ).long()
            labels = torch.from_numpy(data["masked_lm_ids"][first : first + size])
            weights = data["masked_lm_weights"][first : first + size] > 0
            with torch.autocast("cpu", torch.bfloat16, self._settings["bf16"]):
                hidden = model.bert(
                    batch["input_ids"],
                    attention_mask=batch["input_mask"],
                    token_type_ids=batch["segment_ids"],
                )[0]
                rows = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
                predicted = model.cls(hidden.gather(1, rows)).argmax(-1)
            right += int(((predicted == labels).numpy() & weights).sum())
            total += int(weights.sum())
        model.train()
        return right / total


def main() -> None:
    settings = json.loads(sys.argv[1])
    data = dict(np.load(settings["data"]))
    config = transformers.BertConfig.from_json_file(settings["config"])
    config.hidden_dropout_prob = settings["dropout"]
    config.attention_probs_dropout_prob = settings["dropout"]
    transformers.set_seed(12345)
    model = GatheredBert(config)
    tokenizer = transformers.BertTokenizerFast(
        str(data.pop("vocab_file")), do_lower_case=False
    )
    curve = Curve(model, data, settings)
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=settings["result"] + ".work",
            max_steps=settings["steps"],
            per_device_train_batch_size=32,
            learning_rate=settings["rate"],
            warmup_steps=300,
            lr_scheduler_type="linear",
            weight_decay=0.01,
            bf16=settings["bf16"],
            torch_compile=settings["compile"],
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        data_collator=transformers.DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=0.15
        ),
        train_dataset=Sequences(
            data.pop("train_input_ids"), data.pop("train_input_mask")
        ),
        callbacks=[curve],
    )
    trainer.train()
    pathlib.Path(settings["result"]).write_text(json.dumps(curve.result))


if __name__ == "__main__":
    main()
