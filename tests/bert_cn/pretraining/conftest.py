"""Checked record files, and runs over them on the default strategy."""

import dataclasses
import pathlib

import pytest
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import record_files as record_files_lib
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining import train_loop, train_step
from bert_cn.training import stop_request
from tests.bert_cn.records import LENGTH, PREDICTIONS


@pytest.fixture(scope="session")
def check_files():
    """Returns a function: paths -> `RecordFiles`, all of one group."""

    def check(
        paths, length: int | None = LENGTH, predictions: int | None = PREDICTIONS
    ) -> record_files_lib.RecordFiles:
        group = record_files_lib.FileGroup(tuple(map(str, paths)))
        return record_files_lib.check_files((group,), length, predictions)

    return check


@pytest.fixture(scope="session")
def files(check_files, record_files) -> record_files_lib.RecordFiles:
    """The 40 records of `record_files`."""
    return check_files(record_files)


@dataclasses.dataclass
class StartedRun:
    """A run that was built as run_pretraining builds it, and may be trained."""

    trainer: train_step.Trainer
    checkpoints: checkpoints_lib.TrainingCheckpoints
    parts: train_loop.Run

    def train(self) -> bool:
        with stop_request.StopRequest() as stop_requested:
            return train_loop.run_updates(self.parts, stop_requested)

    def weights(self):
        return [variable.numpy() for variable in self.trainer.model.variables]


@pytest.fixture
def start_run(small_config, files, tmp_path):
    """Returns a function: folder, settings -> a run that restored its checkpoint."""

    def start(
        folder: pathlib.Path = tmp_path,
        config: config_lib.BertConfig = small_config,
        **settings,
    ) -> StartedRun:
        defaults = {
            "train_batch_size": 8,
            "learning_rate": 0.01,
            "num_train_steps": 12,
            "num_warmup_steps": 2,
            "save_checkpoints_steps": 5,
            "log_steps": 6,
            "iterations_per_loop": 4,
            "random_seed": 3,
        }
        args = settings_lib.PretrainingArgs(**(defaults | settings))
        records = records_lib.Records(files, files, None, None, "nsp")
        trainer = train_step.build_trainer(
            args,
            config,
            tf.distribute.get_strategy(),
            teacher_config=config if args.teacher_checkpoint else None,
        )
        checkpoints = checkpoints_lib.TrainingCheckpoints(
            trainer.model,
            trainer.optimizer,
            str(folder),
            max_to_keep=2,
            time_budget=trainer.time_budget,
        )
        if not checkpoints.restore_latest():
            trainer.optimizer.remember_start(trainer.model.trainable_variables)
        parts = train_loop.build_run(
            args, trainer, records, checkpoints, lambda: None, str(folder)
        )
        return StartedRun(trainer, checkpoints, parts)

    return start
