# Thin names for commands that the README spells out.
PYTHON ?= python3
RUN ?= custom_cnn
MODEL ?= mobilenet_v2
ROBUST := -p MODEL mobilenet_v2 -p SIZE 200 -p EVEN_LIGHT True -p CORRUPTION 1 -p BOXES 0.3 \
  -p LEARNING_RATE 1e-3
BACKBONES := lbp_svm,mobilenet_v2,efficientnet_lite0,both
CLASSES := crazing inclusion patches pitted_surface rolled-in_scale scratches
empty :=
COMMA := $(empty),
WITHOUT := $(subst $(empty) ,$(COMMA),$(CLASSES:%=without_%))
BIN := .venv/bin

.PHONY: setup pipeline comparison robustness novelty inspection bench reference test lab demo streamlit lint lock
setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: name one, as in 'make setup PYTHON=python3.12'"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

pipeline: setup
	$(BIN)/python -m nbutils.pipeline --run $(RUN) $(ARGS)

comparison: setup
	$(BIN)/python -m nbutils.pipeline --run comparison --only 01,06 $(ARGS)

robustness: setup
	$(BIN)/python -m nbutils.pipeline --run robustness --only 01,07 $(ARGS)

novelty: setup
	for class in $(CLASSES); do \
	  $(BIN)/python -m nbutils.pipeline --run without_$$class --only 01,02 $(ROBUST) -p EPOCHS 4 \
	    -p LEAVE_OUT $$class || exit 1; \
	done
	$(BIN)/python -m nbutils.pipeline --run novelty --only 01,09 -p WITHOUT $(WITHOUT) $(ARGS)

inspection: setup
	$(BIN)/python -m nbutils.pipeline --run inspection --only 01,08 $(ARGS)

bench: setup
	$(BIN)/python -m nbutils.bench $(MODEL) $(ARGS)

reference: setup
	$(BIN)/python -m nbutils.pipeline --run custom_cnn
	$(BIN)/python -m nbutils.pipeline --run custom_cnn_1 --only 01,02 -p SEED 1
	$(BIN)/python -m nbutils.pipeline --run custom_cnn_2 --only 01,02 -p SEED 2
	$(BIN)/python -m nbutils.pipeline --run mobilenet_v2 $(ROBUST) -p EPOCHS 30 -p PATIENCE 50
	$(BIN)/python -m nbutils.export custom_cnn
	$(BIN)/python -m nbutils.export mobilenet_v2
	$(BIN)/python -m nbutils.bench mobilenet_v2
	$(BIN)/python -m nbutils.pipeline --run comparison --only 01,06 \
	  -p CNN_RUNS custom_cnn,custom_cnn_1,custom_cnn_2 -p REPEATS 10 -p COUNTS 5,10,20,50,100,240 \
	  -p FIXED lbp_svm,custom_cnn,mobilenet_v2,efficientnet_lite0,both \
	  $(foreach protocol,BLOCKED HALVES CURVE,-p $(protocol) $(BACKBONES))
	$(MAKE) robustness ARGS="-p IMAGES 0"
	$(MAKE) novelty
	rm -rf outputs/inspection  # of other weights
	$(MAKE) inspection
	$(BIN)/python -m nbutils.reference

test: setup
	$(BIN)/pytest $(ARGS)

lab: setup
	$(BIN)/jupyter lab notebooks

demo: setup
	@mkdir -p outputs/demo
	$(BIN)/papermill --prepare-only notebooks/05_upload_demo.ipynb outputs/demo/upload_demo.ipynb \
	  -p RUN $(MODEL) -p STILL False
	$(BIN)/voila outputs/demo/upload_demo.ipynb --Voila.ip=127.0.0.1 --preheat_kernel=True $(ARGS)

streamlit: setup
	$(BIN)/streamlit run nbutils/streamlit_app.py --server.address 127.0.0.1 $(ARGS) -- --model $(MODEL)

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: setup
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --output-file requirements.lock
