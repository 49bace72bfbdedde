# Each target does all of its own set-up, on a machine that has only Python, make and the package registries.
#   make demo    the robot (simulated), its relay and the web client; sign-in data is printed
#   make test    every check and every test
#   make lint    the checks alone
#   make model   the network that finds dogs (demo and test fetch it by themselves)
#   make screenshot  docs/screenshot.png
#   make bench-… measurements; JSON=1 for programs, CHECK=1 to fail where an aim is missed
#   make clean   removes what the others made, the demo's data included

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := contract bus hardware processes relay cli tests $(patsubst %/,%,$(sort $(dir $(wildcard bench/*.py))))
ARGS ?=
# Whole robots and relays under fire, which want the machine to themselves; the rest is run two at a time.
ALONE := tests/browser tests/chaos tests/cli/demo tests/integration
# libatomic1 is what the Node.js inside Playwright links to.
BROWSER := chromium libatomic1

.PHONY: demo test model lint clean drill bench-motion bench-detector bench-bus bench-main-path drill-bus drill-fuzz fuzz-relay drill-supervision drill-treats screenshot bench-frames bench-relay bench-relay-redis drill-relay drill-relay-load

demo: $(VENV)/.demo
	@$(BIN)/python scripts/fetch_model.py --optional
	@$(BIN)/python -m cli.main demo --with-parent $(ARGS)

test: lint
	@scripts/system-packages.sh $(BROWSER) nginx coturn alsa-utils
	@$(BIN)/python scripts/fetch_model.py
	@scripts/fetch-test-pictures.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile tests $(addprefix --ignore=,$(ALONE)) $(ARGS)
	$(BIN)/python -m pytest $(ALONE) $(ARGS)

model: $(VENV)/.demo
	@$(BIN)/python scripts/fetch_model.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo

bench-bus: $(VENV)/.dev
	@scripts/system-packages.sh mosquitto
	@$(BIN)/python -m bench.bus

bench-main-path: $(VENV)/.dev
	@scripts/system-packages.sh $(BROWSER)
	@$(BIN)/python -m bench.main_path

drill-bus: $(VENV)/.dev
	@$(BIN)/python -m bench.drill_bus

drill-fuzz: $(VENV)/.dev
	@$(BIN)/python -m bench.drill_fuzz

# The suite has it short; this is some minutes.
fuzz-relay: $(VENV)/.dev
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-150} $(BIN)/python -m pytest tests/relay/test_fuzz.py $(ARGS)

drill-supervision: $(VENV)/.dev
	@$(BIN)/python -m bench.drill_supervision

# Motion safety: about half an hour.
drill: $(VENV)/.dev
	@scripts/system-packages.sh faketime
	@$(BIN)/python -m bench.drill_motion

bench-motion: $(VENV)/.dev
	@$(BIN)/python -m bench.motion

drill-treats: $(VENV)/.dev
	@$(BIN)/python -m bench.drill_treats

bench-frames: $(VENV)/.dev
	@$(BIN)/python -m bench.frames

bench-detector: $(VENV)/.dev
	@$(BIN)/python scripts/fetch_model.py
	@$(BIN)/python -m bench.detector

# About five minutes; the peers are installed too.
bench-relay: $(VENV)/.bench
	@$(BIN)/python -m bench.relay

bench-relay-redis: $(VENV)/.dev
	@$(BIN)/python -m bench.relay_redis

# Needs root for its network namespaces.
drill-relay: $(VENV)/.dev
	@scripts/system-packages.sh nginx iproute2
	@$(BIN)/python -m bench.drill_relay

# MINUTES=10 for the long watch of memory.
drill-relay-load: $(VENV)/.dev
	@$(BIN)/python -m bench.drill_relay_load

screenshot: $(VENV)/.dev
	@scripts/system-packages.sh $(BROWSER)
	@$(BIN)/python -m bench.screenshot

clean:
	@scripts/clean.sh

# One stamp for each extra of setup.cfg; `bench` contains `dev`, which contains `demo`.
$(VENV)/.demo: setup.cfg pyproject.toml
	@scripts/setup-venv.sh "$(VENV)" demo "$(PYTHON)"
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml
	@scripts/setup-venv.sh "$(VENV)" dev "$(PYTHON)"
	@touch $(VENV)/.demo $@

$(VENV)/.bench: setup.cfg pyproject.toml
	@scripts/setup-venv.sh "$(VENV)" bench "$(PYTHON)"
	@touch $(VENV)/.demo $(VENV)/.dev $@
