# Kmesh Lab: `make` lists the targets. Debian 12 with GNU make, as root; all else is installed on the way.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
unexport PYTHONHOME PYTHONPATH JUPYTER_TOKEN JUPYTER_TOKEN_FILE
unexport PYTHONDONTWRITEBYTECODE # each kernel, pod and test would compile kmesh_lab anew: 0.1 s of CPU

NOTEBOOK ?= $(sort $(wildcard notebooks/[0-9]*.ipynb))
BPF_OBJECTS := $(addprefix build/,cgroup_sock.o sockops.o sendmsg.o sendmsg_proxy_v2.o cgroup_skb.o)
BPF_SOURCES = $(shell find bpf -name '*.[ch]')
BPF_FLAGS := -O2 -g -target bpf -mcpu=v2 -Wall -Werror -Ibpf/include -idirafter /usr/include/$(shell uname -m)-linux-gnu

.PHONY: help lab notebooks test lint lint-python fmt bpf bench html image-check hub-check kernel-check audit lock clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

lab: .venv/run.stamp ## install what is missing and open JupyterLab; HEADLESS=1 executes the notebooks instead
# What the machine lacks is said now, but the notebooks can be read without it. The check also compiles the programs, the
# one thing that takes long and can be kept: no notebook has to wait for it.
	@said=$$(.venv/bin/kmesh-lab check) || echo "$$said"
ifeq ($(HEADLESS),1)
	@for nb in $(NOTEBOOK); do echo "$$nb"; .venv/bin/kmesh-lab run "$$nb"; done
else
# Of a notebook that nobody here has run or signed, JupyterLab would not show the pictures.
	@.venv/bin/jupyter trust notebooks/*.ipynb >/dev/null
# An own configuration folder: whatever ~/.jupyter says, there is a token, and it is new at every start. The container
# reads deploy/jupyterlab, too: JupyterLab neither asks a network for anything nor a learner whether it may.
	@JUPYTER_CONFIG_DIR="$(CURDIR)/.venv/etc/kmesh-lab" JUPYTER_CONFIG_PATH="$(CURDIR)/deploy/jupyterlab" \
		.venv/bin/jupyter lab --allow-root --ip=127.0.0.1 \
		$(if $(DISPLAY)$(WAYLAND_DISPLAY),,--no-browser) --ServerApp.root_dir="$(CURDIR)" \
		--LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb
endif

notebooks: .venv/run.stamp ## execute the notebooks and keep their outputs; NOTEBOOK=path for one
	@for nb in $(NOTEBOOK); do echo "$$nb"; .venv/bin/kmesh-lab run --save "$$nb"; done

# While apt still installs compilers and a browser, the Python packages come and the Python is checked.
test: ## lint, plain BPF build, every test
	@$(MAKE) --jobs=2 lint bpf
	@rc=0; .venv/bin/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --reruns 2 --junitxml build/pytest.xml || rc=$$?; \
	grep -om1 'skipped="[0-9]*"' build/pytest.xml | tr -d '"'; exit $$rc

lint: lint-python | apt-test ## style, types, direction of imports
	@echo 'clang-format --dry-run bpf' && clang-format --dry-run -Werror $(BPF_SOURCES)
lint-python: .venv/dev.stamp
	.venv/bin/ruff check --quiet
	.venv/bin/ruff format --check --quiet
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

fmt: .venv/dev.stamp | apt-test ## format Python, notebooks and C
	@.venv/bin/ruff check --quiet --fix --exit-zero
	@.venv/bin/ruff format
	@clang-format -i $(BPF_SOURCES)

bpf: $(BPF_OBJECTS) ## plain clang build of the programs into build/
build/%.o: bpf/%.c | apt-test
	@mkdir -p build
	clang $(BPF_FLAGS) -MMD -MP -c $< -o $@
build/sendmsg_proxy_v2.o: bpf/sendmsg.c | apt-test # for waypoints that are stock Envoys
	@mkdir -p build
	clang $(BPF_FLAGS) -DKL_PROXY_V2 -MMD -MP -c $< -o $@
-include $(BPF_OBJECTS:.o=.d)

bench: .venv/dev.stamp | apt-test ## the README's numbers
	@.venv/bin/python -m benchmarks

html: .venv/run.stamp ## the notebooks with their outputs as HTML that needs no network, and slides, in build/html
	@.venv/bin/python docs/export/export.py build/html

image-check: ## build the container image and try it: check, kernel tests, every notebook, JupyterLab
	@docker info >/dev/null 2>&1 || $(MAKE) apt-image-check
	@/usr/bin/python3 tests/image_check.py

hub-check: build/hub.stamp ## start a JupyterHub, and let three users run notebooks at the same time
	@build/hub/bin/python tests/hub_check.py

kernel-check: .venv/dev.stamp | apt-test apt-kernel-check ## boot Debian 12's own kernel in QEMU, run every notebook on it
	@/usr/bin/python3 tests/kernel_check.py

# --strict: a package that could not be looked up is a failure, not a silence.
audit: .venv/dev.stamp ## ask the advisory database of PyPI about every pinned Python package
	@.venv/bin/uv tool run pip-audit --strict --disable-pip --require-hashes \
		-r requirements.lock -r requirements-dev.lock -r deploy/jupyterhub/requirements.txt

# Keeps what is pinned as far as pyproject.toml allows; `make lock UPGRADE=--upgrade` takes the newest of everything.
lock: .venv/dev.stamp ## pin the Python packages anew: requirements.lock (running), requirements-dev.lock (everything)
	@$(UV_COMPILE) $(PROJECT) --output-file requirements.lock
	@$(UV_COMPILE) $(PROJECT) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(UV_COMPILE) $(HUB)/requirements.in --constraint requirements.lock --output-file $(HUB)/requirements.txt
UV_COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' $(UPGRADE)
PROJECT = pyproject.toml --group build
HUB = deploy/jupyterhub

clean: ## remove what labs left on this machine, the venv, build/ and all caches
	@[ ! -x .venv/bin/kmesh-lab ] || .venv/bin/kmesh-lab clean || true
	@find . \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -prune -exec rm -rf {} +
	@rm -rf build .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

apt-test: | apt-run # one apt-get at a time
# The packages of one part of apt.txt; apt is called only when dpkg misses one. No `grep -q` behind apt-cache: it stops
# reading at the first match, and with pipefail the apt-cache that still writes would count as "there is no such package".
apt-%:
	@missing=; for p in $$(awk '/^# ---/ {part = $$3} !/^#/ && part == "$*" {print $$1}' apt.txt); do \
		(dpkg-query -Wf '$${db:Status-Status}\n' $${p//|/ } 2>/dev/null || :) | grep -qx installed || missing+=" $$p"; done; \
	[ -n "$$missing" ] || exit 0; echo "apt-get install$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update; chosen=; for p in $$missing; do for each in $${p//|/ }; do \
		[ $$each = $${p##*|} ] || apt-cache -qq policy $$each | grep 'Candidate: [^(]' >/dev/null && break; done; chosen+=" $$each"; done; \
	apt-get -qqy install --no-install-recommends $$chosen </dev/null >/dev/null

# .venv: on the system's Python, isolated, but for one link to the distribution's bcc, which is pure Python (ctypes).
# Two locks, because testing adds 330 MB to 410 MB: a learner needs only the first.
# uv, pinned in the larger of the two, does in ten seconds what takes pip a minute, and goes when it is done. pip comes in
# where uv is not to be had or does not get through: it knows the mirrors of a pip.conf.
define install_python
@echo "Python packages of $< into .venv"
@/usr/bin/python3 -m venv .venv
@ln -sfn /usr/lib/python3/dist-packages/bcc .venv/lib/python3.*/site-packages/
@{ .venv/bin/python -I -m pip install -qq --require-hashes --target .venv/uv \
		-r <(awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements-dev.lock) && \
	.venv/uv/bin/uv pip install --quiet --python .venv --compile-bytecode --require-hashes -r $<; } || \
	.venv/bin/python -I -m pip install -qq --require-hashes -r $<
@.venv/bin/python -I -m pip install -qq --no-deps --no-build-isolation --editable .
@rm -rf .venv/uv
@touch $@
endef
.venv/run.stamp: requirements.lock pyproject.toml | apt-run
	$(install_python)
.venv/dev.stamp: requirements-dev.lock pyproject.toml | apt-run
	$(install_python)
# A venv of its own for the hub, because nothing else here needs it.
build/hub.stamp: requirements.lock deploy/jupyterhub/requirements.txt | apt-run
	@echo "JupyterHub into build/hub"
	@mkdir -p build && /usr/bin/python3 -m venv build/hub
	@ln -sfn /usr/lib/python3/dist-packages/bcc build/hub/lib/python3.*/site-packages/
	@build/hub/bin/python -I -m pip install -qq --require-hashes -r requirements.lock -r deploy/jupyterhub/requirements.txt
	@build/hub/bin/python -I -m pip install -qq --no-deps --no-build-isolation --editable .
	@command -v npm >/dev/null || $(MAKE) apt-hub-check
	@npm install --silent --no-save --prefix build/hub configurable-http-proxy@5 >/dev/null
	@touch $@
