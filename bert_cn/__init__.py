"""Pretraining, conversion and fine-tuning of Chinese BERT.

`bert_cn.load`, `bert_cn.mask` and `bert_cn.dataset` are those of `bert_cn.api`.
"""

import os

from bert_cn.training import environment as _environment

# TensorFlow reads this when it is imported. Its start-up lines, among them an "error"
# for every missing GPU, would bury ours; real errors reach Python as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# --tpu needs other variables, which TensorFlow reads at the same time.
_environment.prepare_command()

__all__ = ["Bert", "dataset", "load", "mask"]


def __getattr__(name: str):
    """Import what the API offers when it is used first: TensorFlow takes seconds."""
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("bert_cn")
    if name in __all__:
        from bert_cn import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
