# Thin names for commands that the README spells out.
PYTHON ?= python3
RUN ?=
MODEL ?= reference/mobilenet_v2
BIN := .venv/bin
STEEL := $(BIN)/steel
IN_RUN := $(if $(RUN),--run $(RUN))
UPLOADS := {'websocket_max_message_size': 536870912}

# The recipe of the model that ships, and its copies that have never seen one class.
RECIPE := -p MODEL mobilenet_v2 -p SIZE 200 -p FLAT_FIELD True -p CORRUPTION 1 -p HEAD False \
  -p LEARNING_RATE 2e-3 -p FREEZE_BATCH_NORM False -p MOSAICS 0.3 -p MAP_WEIGHT 1 -p HEAD_EPOCHS 40 \
  -p TTA_VIEWS 1
CLASSES := crazing inclusion patches pitted_surface rolled-in_scale scratches
EMPTY :=
COMMA := $(EMPTY),
HELD_OUT_MODELS := $(subst $(EMPTY) ,$(COMMA),$(CLASSES:%=without_%))

.PHONY: setup pipeline comparison robustness open_set inspection bench reference results test lab \
  demo streamlit lint lock
setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: name one, as in 'make setup PYTHON=python3.12'"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

pipeline: setup
	$(STEEL) run $(IN_RUN) $(ARGS)

comparison: setup
	$(STEEL) run $(IN_RUN) --only 01,06 $(ARGS)

robustness: setup
	$(STEEL) run $(IN_RUN) --only 01,07 $(ARGS)

open_set: setup
	$(STEEL) run $(IN_RUN) --only 01
	for class in $(CLASSES); do \
	  $(STEEL) run $(IN_RUN) --only 02 $(RECIPE) -p EPOCHS 8 -p HEAD_EPOCHS 0 -p NAME without_$$class \
	    -p HELD_OUT_CLASS $$class || exit 1; \
	done
	$(STEEL) run $(IN_RUN) --only 08 -p HELD_OUT_MODELS $(HELD_OUT_MODELS) $(ARGS)

inspection: setup
	$(STEEL) run $(IN_RUN) --only 01,09 $(ARGS)

bench: setup
	$(STEEL) bench $(MODEL) $(ARGS)

reference: setup
	$(STEEL) run --run reference --only 01
	@test ! -e outputs/reference/SYNTHETIC.txt || \
	  { echo "the models that ship are trained on NEU-DET, which is not here"; exit 1; }
	$(STEEL) run --run reference --only 02 -p NAME custom_cnn_1 -p SEED 1
	$(STEEL) run --run reference --only 02 -p NAME custom_cnn_2 -p SEED 2
	$(MAKE) open_set RUN=reference
	$(STEEL) run --run reference --only 02,03,04,05
	$(STEEL) run --run reference --only 02,03,04,05 $(RECIPE) -p EPOCHS 60 -p PATIENCE 80
	$(STEEL) export reference/custom_cnn --run reference
	$(STEEL) export reference/mobilenet_v2 --run reference
	$(STEEL) bench reference/mobilenet_v2 --run reference
	$(STEEL) run --run reference --only 06 -p CNN_MODELS custom_cnn,custom_cnn_1,custom_cnn_2 \
	  -p N_REPEATS 10 -p TRAIN_SIZES 5,10,20,50,100,240
	$(STEEL) run --run reference --only 07 -p IMAGES_PER_CLASS 0
	$(STEEL) run --run reference --only 09 -p N_BATCHES 200
	$(MAKE) results

# Links lead out of notebooks/; the page lies one folder deeper.
results: setup
	$(BIN)/jupyter nbconvert --log-level ERROR --execute --to markdown --no-input \
	  --output-dir outputs/reference --output page.md notebooks/reference_results.ipynb
	sed 's#](\.\./#](../../#g' outputs/reference/page.md | cat -s > outputs/reference/RESULTS.md
	rm outputs/reference/page.md

test: setup
	$(BIN)/pytest $(or $(ARGS),--cov)

lab: setup
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
	  --ServerApp.tornado_settings="$(UPLOADS)" $(ARGS)

demo: setup
	$(STEEL) demo --model $(MODEL) $(ARGS)

streamlit: setup
	$(BIN)/streamlit run nbutils/apps/streamlit_app.py --server.address 127.0.0.1 \
	  --browser.gatherUsageStats false $(ARGS) -- --model $(MODEL)

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

lock: setup
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --output-file requirements.lock
