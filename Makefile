# The set-up that a fresh Debian or Ubuntu host needs, and the commands that use it. As root, or through sudo
# where it asks for no password.

MACHINES ?= 3
# Debian's suite of the images, which INVOKE_BUILD_SUITE tells Argosy: bookworm, trixie or forky. This host's when empty.
SUITE ?=
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n -H)
INV := $(strip $(SUDO) $(if $(SUITE),env INVOKE_BUILD_SUITE=$(SUITE)) .venv/bin/inv)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test

help: ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Packages, Docker engine, base image, virtual environment
	@SUITE=$(SUITE) scripts/bootstrap all

demo: setup ## A healthy cluster of three machines on this host (MACHINES=1 to 5, SUITE=trixie)
	@$(INV) local.start $(MACHINES)
	@printf '%s\n' '' 'Try next:' \
	    '  $(INV) cluster.status' \
	    '  $(INV) cluster.logs -f' \
	    '  $(INV) cluster.ssh air-01' \
	    '  $(INV) local.stop           # stop it; make demo starts it again' \
	    '  make demo-down              # remove every trace'

demo-down: ## Remove every trace of the demo (installed packages stay)
	@if [ -x .venv/bin/inv ]; then $(INV) local.stop --all || \
	    echo 'local.stop failed: what it could not say goodbye to is removed all the same' >&2; fi
	@scripts/bootstrap down

test: setup ## Lint, types, unit, simulation, integration and e2e tests
	@scripts/bootstrap test-packages
	@$(INV) test
