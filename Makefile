# Every target makes the environment it needs inside this clone; nothing is installed outside it.
#   make bench [PROFILE=smoke|laptop|paper] [ARTEFACTS="mbpo/figure2 …"] [BUDGET=1h]
#   make install | test | test-slow | lint | docs | report | lock | clean
SHELL := /bin/bash
PYTHON ?= python3
PROFILE ?= laptop
ARTEFACTS ?=
BUDGET ?= $(if $(filter laptop,$(PROFILE)),1h)
RESULTS ?= results
REPOSITORY ?=
JOBS ?= 2
BIN := .venv/bin
READY := .venv/.ready
PEERS := .venv/.peers
SITE := .venv/.site
comma := ,
define INSTALL
	if [ -x $(BIN)/uv ] && $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[$(1)]'; then true; \
	else $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(1)]'; fi
endef

.PHONY: install bench test test-slow lint docs report lock clean
.DELETE_ON_ERROR:

install: $(READY)

bench: $(READY)
	$(BIN)/mbrl bench $(ARTEFACTS) --profile $(PROFILE) --results $(RESULTS) $(if $(BUDGET),--budget $(BUDGET))

# Tests of one file stay in one process, so that they share compiled programs.
test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations=15

# With MuJoCo Warp, and with Stable-Baselines3, which brings PyTorch: some gigabytes.
test-slow: $(PEERS)
	$(BIN)/python -m pytest -m slow -n $(JOBS) --dist worksteal --durations=15

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Strict: a broken link or reference is an error. Needs no network once its packages are installed.
# REPOSITORY=https://github.com/OWNER/NAME gives the notebooks buttons that open them on a hosted machine.
docs: $(SITE)
	MBRL_REPOSITORY=$(REPOSITORY) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

report: $(READY)
	$(BIN)/mbrl report --results $(RESULTS)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mbrl_jax needs Python >= 3.11, this is " + sys.version.split()[0] + ": set PYTHON=python3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv || true
	$(call INSTALL,dev)
	touch $@

$(PEERS): $(READY)
	$(call INSTALL,dev$(comma)peers$(comma)warp)
	touch $@

$(SITE): $(READY)
	$(call INSTALL,dev$(comma)docs)
	touch $@

# Resolves every extra for Python 3.11, 3.12 and 3.13 at once; the file holds no index address.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header -q -o constraints.txt

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
