# make demo, make test: each does all of its own set-up in .venv; all it needs is Python >= 3.11 and make.
PYTHON ?= python3
SCHEDULES ?= 1000000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# More than there are processors: most tests wait for processes and sockets.
WORKERS ?= 3

.PHONY: demo test check unit bench soak clean

demo: $(READY)
	$(BIN)/python docs/examples/demo.py

test: check unit

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A busy machine may starve a real process. What fails among others gets one more turn, alone; both turns are printed.
unit: $(READY)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal || { [ $$? -eq 1 ] && \
	echo "What failed, once more and alone:" && $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

bench: $(READY)
	$(BIN)/python tests/benchmarks/raw_channels.py
	$(BIN)/python tests/benchmarks/clients.py
	$(BIN)/python tests/benchmarks/inprocess.py
	$(BIN)/python tests/benchmarks/bridge.py
	$(BIN)/python tests/benchmarks/relay.py
	$(BIN)/python tests/benchmarks/link.py

soak: $(READY)
	$(BIN)/python tests/simulation/soak.py --cuts
	$(BIN)/python tests/simulation/soak.py --count $(SCHEDULES)
	$(BIN)/python tests/integration/soak_link.py
	$(BIN)/python tests/integration/soak_relay.py
	$(BIN)/python tests/conformance/soak.py

$(READY): pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("kernelwire needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	$(BIN)/python -m pip install --quiet --editable ./plugins/kernelwire-recorder
	@touch $(READY)

clean:
	rm -rf $(VENV) dist build
