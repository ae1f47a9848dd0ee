# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(CURDIR)/.cache
VENV := $(CACHE)/venv
PY := $(VENV)/bin/python
NOX := $(PY) -m nox
PYTEST := $(PY) -m pytest
LAB := PYTHONPATH=$(CURDIR)/tests $(PY) -m lab
# Virtual environments hold their own path, so a moved checkout needs new ones.
READY := $(VENV)/.ready$(subst /,-,$(CURDIR))
# Linux under TCG sometimes stops replying. Only for that a test runs once more, with guests that boot, and is reported.
STALLED := --reruns 1 --only-rerun "the guest's shell did not answer" --only-rerun "the guest agent has not replied" -rR
# These tests wait for guests half of the time, so four processes keep two cores busy.
WAITING := 4
COLLECTION := $(CACHE)/collections/ansible_collections/kvm/hotplug

export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_HOME := $(CACHE)/ansible
export ANSIBLE_COLLECTIONS_PATH := $(CACHE)/collections
export HYPOTHESIS_STORAGE_DIRECTORY := $(CACHE)/hypothesis

.PHONY: help demo test lint site sanity unit real molecule browser events bench scale fleets endurance matrix matrix-real coverage shipped format clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(READY) ## Boot a guest here, plug and unplug its vCPUs by playbook, draw the result
	@$(PY) tests/demo.py

test: $(READY) ## Run lint, sanity, unit, real and molecule, whatever fails, and sum up
	@$(PY) tests/suite.py lint+sanity unit real molecule

lint: $(READY) ## Check style, types, licences, docs, the built artifact and the playbooks
	@$(NOX)

site: $(READY) ## Build the documentation site in .cache/site/html; fails on any warning
	@$(NOX) --session site

sanity: $(READY) ## Run ansible-test sanity with no ignore file; with CORE=ansible-core~=2.18.0, with that ansible-core
	@$(NOX) --session sanity $(if $(CORE),-- "$(CORE)")

unit: $(READY) ## Run the tests that need no guest: units, properties, recorded conversations
	@$(PYTEST) --numprocesses auto tests/unit

real: $(READY) ## Run the tests against real QEMU and a real Linux guest
	@$(LAB) prepare --ppc64 --libvirt
	@$(PYTEST) --numprocesses $(WAITING) --dist worksteal --timeout 300 $(STALLED) tests/real

molecule: $(READY) ## Run the molecule scenarios, on guests of QEMU's and of libvirt's
	@$(LAB) prepare --libvirt
	@$(PY) tests/scenarios.py

browser: $(READY) ## Open the page about an audit in Chromium, and draw the picture of the README
	@$(LAB) prepare-browser
	@$(PYTEST) --timeout 300 tests/browser
	@$(PY) tests/browser/screenshot.py

events: $(READY) ## Run the rulebooks with ansible-rulebook, which needs Java, on guests that restart and that are scaled
	@$(LAB) prepare --libvirt
	@sh tests/rulebooks/bootstrap.sh $(CACHE)/rulebooks
	@$(PYTEST) --timeout 600 tests/rulebooks

bench: $(READY) ## Measure the modules against ansible.builtin.ping, raw QMP and virsh
	@$(LAB) prepare --libvirt
	@$(PY) tests/bench

scale: $(READY) ## Measure rollouts by the number of simulated hypervisors, for a release; takes long (HYPERVISORS, GUESTS)
	@$(PY) tests/scale

fleets: $(READY) ## Measure batches, vcpu_info and the inventory by the number of guests, for a release; takes long (GUESTS, MANY)
	@$(LAB) prepare --libvirt
	@$(PY) tests/fleets

endurance: $(READY) ## Disturb hundreds of runs by kills, races, faults and fuzzed inputs; takes 20 minutes (SEED, KILLS, PLAYBOOKS, RACES, FAULTS, FUZZ, ROUND)
	@$(LAB) prepare --libvirt
	@$(PY) tests/endurance

matrix: $(READY) ## Run the unit tests on each Python 3.9 to 3.13 found, and the playbooks with the newest ansible-core
	@$(LAB) prepare --libvirt
	@$(NOX) --session matrix newest

matrix-real: $(READY) ## Run the tests of hotplug with QEMU 7.2, 10.0 and the newest, by QMP and each libvirt, and other architectures; takes 20 minutes
	@$(LAB) prepare --ppc64 --libvirt --newest --architectures
	@$(PY) tests/matrix.py

coverage: $(READY) ## Print the branch coverage of plugins/ by the unit tests and by the real tests
	@$(LAB) prepare --ppc64 --libvirt
	@$(PY) tests/measure.py unit --numprocesses auto tests/unit
	@$(PY) tests/measure.py real --numprocesses auto --dist worksteal tests/real

shipped: $(READY) ## Show how many files and bytes Ansible ships for each module
	@$(PY) tests/shipped.py

format: $(READY) ## Rewrite the Python files in the project's style
	@$(NOX) --session ruff -- --fix

clean: ## Remove everything that make has made
	rm -rf $(CACHE)

$(READY): tests/bootstrap.sh requirements.txt tests/requirements.txt tests/unit/requirements.txt
	rm -rf $(CACHE)/nox $(CACHE)/ansible-test
	sh tests/bootstrap.sh $(VENV)
	mkdir -p $(dir $(COLLECTION))
	ln -sfn ../../../.. $(COLLECTION)
	touch $@
