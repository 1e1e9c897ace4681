# Every job of this repository under one name. The work is done by what is called: scripts in hack/, Python modules.
# `make help` (or `make` alone) lists the targets; each has its line there from the `##` comment beside it.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The interpreter that makes .venv; a cluster instance's name and number of nodes (1: pods run, 0: control plane alone);
# the number of resources of `make test-more`.
PYTHON ?= python3
NAME ?= speechless
NODES ?= 1
SIZE ?= 300
# Of `make quickstart`: the folder in which everything is made, and where the model is served. MODEL and DATASET, PROBLEMS and
# TEXT are a path, a URI (s3://, gs://, az://, oci://, hf://) or a hub's org/name; for `make demo` no path.
OUT ?= build/quickstart
PORT ?= 5001
GPU_PYTHON ?= python3
export PYTHON

cluster := hack/ensure-python.sh && PYTHONPATH=hack exec $(PYTHON) -m cluster

##@ Begin here
.PHONY: quickstart
quickstart: ## The whole chain on this machine, without a cluster, as this user (OUT=, MODEL=, DATASET=, PORT=)
	@hack/setup.sh library
	@exec .venv-library/bin/python -m speechless.quickstart --out '$(OUT)' --port '$(PORT)' \
		$(if $(MODEL),--model '$(MODEL)') $(if $(DATASET),--dataset '$(DATASET)') \
		$(if $(PROBLEMS),--problems '$(PROBLEMS)') $(if $(TEXT),--text '$(TEXT)')

##@ Your own model, on this machine
# An exported variable and one that is given after `make` both count.
MODELS_ROOT_DIR ?= /opt/local/llm_models/huggingface.co
TEST_MODEL_PATH ?=
HUMANEVAL_OUTPUT_DIR ?= eval_results/human_eval/$(notdir $(patsubst %/,%,$(TEST_MODEL_PATH)))
export TEST_MODEL_PATH HUMANEVAL_OUTPUT_DIR MODELS_ROOT_DIR

# Without PYTHON, which names the interpreter that makes environments: a task directory runs on the one that started it.
python := exec env -u PYTHON .venv-library/bin/python -m
the-model = $${TEST_MODEL_PATH:?name the model (a path, a URI, or org/name of a hub): make $@ TEST_MODEL_PATH=...}
finetune = $(python) speechless.finetune run $(if $(DRY_RUN),--dry-run) --task_name

.PHONY: humaneval humaneval_chatlm humaneval_show_results api_server finetune_mistral_7b finetune_34b merge_peft_adapters
humaneval: ## Score TEST_MODEL_PATH on HumanEval: generate, run, show
	@: "$(the-model)"; hack/setup.sh library
	@$(python) speechless.eval.humaneval --model "$$TEST_MODEL_PATH" --output_dir "$$HUMANEVAL_OUTPUT_DIR"

humaneval_chatlm: ## The same, asked as a chat in ChatML
	@: "$(the-model)"; hack/setup.sh library
	@$(python) speechless.eval.humaneval --model "$$TEST_MODEL_PATH" --output_dir "$$HUMANEVAL_OUTPUT_DIR" --prompt_type chatlm

humaneval_show_results: ## Show the scores of TEST_MODEL_PATH
	@: "$(the-model)"; hack/setup.sh library
	@$(python) speechless.eval.humaneval --show_results --model "$$TEST_MODEL_PATH" --output_dir "$$HUMANEVAL_OUTPUT_DIR"

api_server: ## Serve TEST_MODEL_PATH with OpenAI's routes (PORT=5001)
	@: "$(the-model)"; hack/setup.sh library
	@$(python) speechless.api.server start --model "$$TEST_MODEL_PATH" --port '$(PORT)'

finetune_mistral_7b finetune_34b: export BASE_MODEL_PATH ?= $(MODELS_ROOT_DIR)/$(base-of-$@)
base-of-finetune_mistral_7b := mistralai/Mistral-7B-v0.2-hf
base-of-finetune_34b := codellama/CodeLlama-34b-hf
finetune_mistral_7b: ## Fine-tune BASE_MODEL_PATH (Mistral 7B) on DATASET in the task directory TASK_NAME (mistral_7b; DRY_RUN=1: its plan)
	@hack/setup.sh library
	@.venv-library/bin/python -m speechless.finetune init --task_name "$${TASK_NAME:-mistral_7b}"
	@$(finetune) "$${TASK_NAME:-mistral_7b}"

finetune_34b: ## The same with CodeLlama 34B, in the task directory TASK_NAME (34b)
	@hack/setup.sh library
	@.venv-library/bin/python -m speechless.finetune init --task_name "$${TASK_NAME:-34b}"
	@$(finetune) "$${TASK_NAME:-34b}"

merge_peft_adapters: ## Merge the adapter in CHECKPOINT_DIR into BASE_MODEL_PATH, as TEST_MODEL_PATH
	@: "$(the-model)" "$${CHECKPOINT_DIR:?name the folder of the adapter}" "$${BASE_MODEL_PATH:?name the base model}"
	@hack/setup.sh library
	@$(python) speechless.finetune.merge_peft_adapters --base_model_name_or_path "$$BASE_MODEL_PATH" \
		--lora_model_path "$$CHECKPOINT_DIR" --merged_model_name_or_path "$$TEST_MODEL_PATH"

##@ Work on the code
.PHONY: help setup format lint docs docs-serve lock clean
help: ## List every target
	@hack/help.sh
	@echo
	@echo "The cluster targets take NAME=<instance> (now: $(NAME)), cluster-up also NODES=0|1 (now: $(NODES))."

setup: ## Make .venv with the locked tools and this checkout installed (fast when nothing changed)
	@hack/setup.sh

format: setup ## Format the Python code and apply the fixes that ruff can make
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format .

lint: setup ## Check format, style, types and layering
	@.venv/bin/python hack/lint.py

docs: setup ## Build the documentation into site/; a warning is an error
	@hack/docs.sh build
	@echo "docs: site/index.html"

docs-serve: setup ## Show the documentation on a local port, rebuilt as files change
	@hack/docs.sh serve

lock: setup ## Pin requirements/*.in to requirements/*.txt and poetry.lock, with hashes
	@hack/lock.sh

clean: ## Remove what builds and tests left here (not .venv, not a cluster)
	@hack/clean.sh

##@ Test
.PHONY: test test-unit test-apiserver test-cluster test-library test-store test-chain test-e2e test-more test-gpu bench-operator
test: ## Run every test, with a table of times at the end (SKIP=images,library,chain: minutes)
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py $(if $(SKIP),--skip '$(SKIP)')

test-unit: ## Run the unit tests: minutes, no cluster
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,unit

test-apiserver: ## Run the tests against a real API server without nodes
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,prepare,apiserver

test-e2e: ## Run the tests on a one-node cluster where pods really run
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,prepare,e2e

test-cluster: ## Run the tests of the cluster program: kill -9, interrupted, damaged
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,prepare,cluster

test-library: ## Run the tests of real training, scoring and quantizing: minutes, with torch
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,prepare,images,library

test-store: ## Run the tests of buckets, each against a real server here: minutes
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,prepare,store

test-chain: ## Run the tests of the whole chain, the demo first: a quarter of an hour or more
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/test_all.py --only setup,prepare,images,chain

test-more: setup ## Run heavy tests: those marked so, and the benchmarks from end to end, small (SIZE=300 resources)
	@hack/test_library.sh -m heavy
	@.venv/bin/pytest tests/store -n 2 -m heavy
	@.venv/bin/python -m benchmarks.operator --resources '$(SIZE)' --rounds 1 --seconds 20

test-gpu: ## Run the tests that need a GPU, with the Python that has its PyTorch: GPU_PYTHON=.venv/bin/python
	@'$(GPU_PYTHON)' -m pytest tests/gpu tests/library/test_train.py tests/library/test_qlora.py -o filterwarnings=default

bench-operator: setup ## Measure the operator at 1,000 to 10,000 resources: an hour or so; one table
	@.venv/bin/python -m benchmarks.operator

##@ The demo
.PHONY: demo demo-clean images images-push
# CLUSTER=current: the cluster that kubectl speaks to (KUBECONFIG), with the images of `make images-push REGISTRY=...`.
place = --instance '$(NAME)' $(if $(CLUSTER),--cluster '$(CLUSTER)')
demo: setup ## From this machine to an answer of the served model (CLUSTER=current REGISTRY=: on a cluster that is there; MODEL=, DATASET=: yours)
	@PYTHONPATH=hack exec .venv/bin/python -m demo run $(place) \
		$(if $(REGISTRY),--registry '$(REGISTRY)') $(if $(VERSION),--tag '$(VERSION)') \
		$(if $(MODEL),--model '$(MODEL)') $(if $(DATASET),--dataset '$(DATASET)') \
		$(if $(DATASET_CONFIG),--dataset_config '$(DATASET_CONFIG)') $(if $(DATASET_SPLIT),--dataset_split '$(DATASET_SPLIT)') \
		$(if $(PROBLEMS),--problems '$(PROBLEMS)') $(if $(TEXT),--text '$(TEXT)') \
		$(if $(SECRET),--secret '$(SECRET)') $(if $(STORAGE),--storage '$(STORAGE)') $(if $(MINUTES),--minutes '$(MINUTES)')

demo-clean: setup ## Delete the demo's resources and its operator; the cluster stays (CLUSTER=current)
	@PYTHONPATH=hack exec .venv/bin/python -m demo clean $(place)

images: setup ## Build all images into the cluster NAME, starting it if it is not up
	@.venv/bin/python hack/images.py --up --instance '$(NAME)'

images-push: ## Build all images with Docker, podman or buildah, and push them (REGISTRY=, ENGINE=, VERSION=, PLATFORMS=, PUSH=0, PRINT=1)
	@hack/ensure-python.sh
	@exec $(PYTHON) hack/push.py $(if $(REGISTRY),'$(REGISTRY)') $(if $(ENGINE),--engine '$(ENGINE)' --instance '$(NAME)') \
		$(if $(VERSION),--version '$(VERSION)') $(if $(PLATFORMS),--platform '$(PLATFORMS)') $(if $(PRINT),--print) \
		$(if $(filter 0,$(PUSH)),--no-push)

##@ A Kubernetes cluster on this machine
.PHONY: cluster-up cluster-down cluster-status cluster-shell cluster-reset cluster-list
cluster-up: ## Build what is missing and start the cluster, or repair the one that runs
	@$(cluster) up '$(NAME)' --nodes '$(NODES)'

cluster-down: ## Stop the cluster and keep its state for the next cluster-up
	@$(cluster) down '$(NAME)'

cluster-status: ## Show what of the cluster runs and how to reach it
	@$(cluster) status '$(NAME)'

cluster-shell: ## Open a shell with KUBECONFIG set, kubectl and helm on the PATH
	@$(cluster) shell '$(NAME)'

cluster-reset: ## Stop the cluster and delete its state
	@$(cluster) reset '$(NAME)'

cluster-list: ## List the cluster instances of this machine
	@$(cluster) list

# A name that is no target. A folder's name needs a rule of its own: make would find the folder and be content.
folders := $(filter-out docs images,$(patsubst %/,%,$(wildcard */)))
no-target = @echo "make: there is no target '$@'; 'make help' lists the targets" >&2; exit 2
.PHONY: $(folders)
$(folders):
	$(no-target)
.DEFAULT:
	$(no-target)
