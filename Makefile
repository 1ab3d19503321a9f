# The commands a person repeats. `make figures` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
SIZE := $(if $(FULL),--full,)

.PHONY: figures photograph inpainting test slurm lint types benchmarks clean

figures: .venv/ready
	$(BIN)/python experiments/all_figures.py $(SIZE)

photograph: .venv/ready
	$(BIN)/python experiments/photograph.py

inpainting: .venv/ready
	$(BIN)/python experiments/inpainting.py

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

# For the tests on a real Slurm, which are skipped where it is missing: Debian, Ubuntu, as root.
slurm:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		slurmctld slurmd slurm-client munge

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/basedpyright

benchmarks: .venv/ready
	$(BIN)/python experiments/benchmarks/sensing.py
	$(BIN)/python experiments/benchmarks/robust.py
	$(BIN)/python experiments/benchmarks/completion.py
	$(BIN)/python experiments/benchmarks/calibration.py
	$(BIN)/python experiments/benchmarks/sweeps.py
	$(BIN)/python experiments/benchmarks/first_answer.py

# The environment: the versions in requirements.lock, then this checkout on top.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

clean:
	rm -rf .venv
