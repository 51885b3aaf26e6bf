# The base interpreter; with a ROS 2 sourced, the one it was built for.
PYTHON ?= python3
# The ROS to install from Python wheels where none is sourced: jazzy or kilted.
export ROS_WHEELS ?= jazzy
VENV := .venv$(patsubst %,-%,$(filter-out jazzy,$(ROS_WHEELS)))
VENV_PYTHON := $(VENV)/bin/python
OUT ?= out

# Plugins of a sourced ROS hook into pytest and lag behind its versions; only these two are ours.
ifdef ROS_DISTRO
export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
endif
# Tests run in one process a core; ARGS='-n0 --pdb' runs them in one, to debug. They start hundreds
# of processes, which compile the package only once.
PYTEST := PYTHONDONTWRITEBYTECODE= $(VENV_PYTHON) -m pytest -p timeout -p xdist -n auto --dist worksteal

.PHONY: fuzz help setup demo test test-full lint docs bench bench-env bench-node soak convert-env tensorrt-env serve-env fleet-check gpu-check engine-builds tensorrt-names clean
.DEFAULT_GOAL := help

help:
	@echo "make setup    make .venv: ROS 2 from Python wheels (or the sourced one), messages, tools"
	@echo "make demo     run the nodes on the sample scene, or on SOURCE=file|folder|device|URL,"
	@echo "              into OUT=$(OUT), for DURATION=seconds; VIEW=1 shows it in a web page (pip install rerun-sdk)"
	@echo "make test     run the tests, for example with ARGS='test/test_faces.py -k empty'"
	@echo "make test-full  the same with all that tests can need but a GPU (9 GB): converters, TensorRT-RTX,"
	@echo "              Triton, OpenVINO, PyTorch, ros2 launch, cv_bridge"
	@echo "make lint     check formatting, imports and types"
	@echo "make docs     build the documentation site into out/site; a broken link fails"
	@echo "make bench    measure the speed and compare it with others (options: ARGS, FOUR_WAY_ARGS),"
	@echo "              and see whether the node's memory stays flat (options: MEMORY_ARGS)"
	@echo "make bench-env  only install those others, into .venv/bench (5 GB)"
	@echo "make bench-node  measure the node's latency, part by part, with real processes, 8 minutes"
	@echo "              (options: ARGS; ARGS=--quick takes a minute or two)"
	@echo "make fuzz     random and spoilt input for all that reads files and messages, 10 minutes"
	@echo "              (options: ARGS='--seconds 60 TARGET ...')"
	@echo "make soak     fault after fault against the node for 10 minutes (options: ARGS)"
	@echo "make convert-env  install TensorFlow and its like into .venv/convert, for convert_to_trt/"
	@echo "make tensorrt-env  install TensorRT-RTX into .venv/tensorrt, to build engines without a GPU"
	@echo "make serve-env  install NVIDIA Triton into .venv/serve, for mask-detector serve"
	@echo "make fleet-check  one server and three robots through faults and load, 2 minutes (options: ARGS)"
	@echo "make engine-builds  how large engines get and how long they take, in .venv/tensorrt (options: ARGS)"
	@echo "make gpu-check   on a machine with an NVIDIA GPU: compare with the CPU and time, 4 minutes (options: ARGS)"
	@echo "make tensorrt-names  update the list of names in NVIDIA's bindings, for the tests"
	@echo "make clean    remove .venv and everything that was made"
	@echo "All of them take PYTHON=python3.x, the interpreter to build on, and ROS_WHEELS=kilted,"
	@echo "which installs ROS 2 Kilted into .venv-kilted instead of Jazzy into .venv."

setup:
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) on the PATH; do: sudo apt-get install python3 python3-venv python3-dev g++" >&2; exit 1; }
	@$(PYTHON) underlay/setup_environment.py --venv "$(VENV)"

# Any letter may be in a password, also those that make and the shell give a meaning.
export DEMO_SOURCE := $(value SOURCE)

demo: setup
	@$(VENV_PYTHON) -m mask_detector_ros.ros.demo --out "$(OUT)" $${DEMO_SOURCE:+--source "$$DEMO_SOURCE"} $(if $(DURATION),--duration "$(DURATION)") $(if $(VIEW),--view)

test: setup
	$(PYTEST) $(ARGS)

test-full: convert-env tensorrt-env serve-env
	@$(PYTHON) underlay/setup_environment.py --venv "$(VENV)" --full
	$(PYTEST) $(ARGS)

lint: setup
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

docs: setup
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict --quiet
	@echo "built: out/site/index.html"

bench: bench-env
	$(VENV_PYTHON) -m mask_detector_ros.cli benchmark -o "$(OUT)/benchmark" $(ARGS)
	$(VENV_PYTHON) -m mask_detector_ros.cli benchmark --four-way -o "$(OUT)/four_way" $(FOUR_WAY_ARGS)
	$(VENV_PYTHON) -m benchmark.memory $(MEMORY_ARGS)

bench-env: setup
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check "openvino>=2024.0"
	@$(VENV_PYTHON) -m mask_detector_ros.speed.peer_environments

bench-node: setup
	$(VENV_PYTHON) -m benchmark.node_latency --out "$(OUT)/node_latency.json" $(ARGS)

fuzz: setup
	$(VENV_PYTHON) -m fuzz $(ARGS)

soak: setup
	$(VENV_PYTHON) -m benchmark.soak $(ARGS)

convert-env: setup
	@$(VENV_PYTHON) -m convert_to_trt.converter_environments

tensorrt-env: setup
	@$(VENV_PYTHON) -m convert_to_trt.converter_environments tensorrt

serve-env: setup
	@$(VENV_PYTHON) -m mask_detector_ros.serving.triton_environment

fleet-check: serve-env
	@$(VENV_PYTHON) -m benchmark.fleet $(ARGS)

gpu-check: setup
	@$(VENV_PYTHON) -m benchmark.gpu_check $(ARGS)

engine-builds: tensorrt-env
	@$(VENV_PYTHON) -m benchmark.engine_builds $(ARGS)

tensorrt-names:
	@$(PYTHON) test/support/tensorrt_names/write_names.py

clean:
	rm -rf .venv .venv-* build install log out dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
