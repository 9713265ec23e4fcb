# make demo    set up all that it needs and run the main job
# make test    set up and run the tests
# make check   format, lint, types, import contracts
# make bench   measure beside a peer; prints ratios
# make fuzz SECONDS=n   feed parsers what upsets them, n seconds each
# make conformance      judge ../shared/vectors; writes docs/conformance.md
.PHONY: demo test check bench fuzz conformance setup boot-files clean

BOOT ?= build/boot
TESTFLAGS ?=
SECONDS ?= 20

setup:
	@tools/setup

boot-files: setup
	@tools/boot-files $(BOOT)

demo: boot-files
	@.venv/bin/shype demo --boot $(BOOT) $(DEMOFLAGS)

test: boot-files
	@SHYPE_BOOT=$(abspath $(BOOT)) .venv/bin/pytest $(TESTFLAGS)

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: boot-files
	@.venv/bin/python -m tests.bench

fuzz: setup
	@.venv/bin/python -m tests.fuzz --seconds $(SECONDS)

conformance: setup
	@.venv/bin/python -m tools.conformance

clean:
	rm -rf .venv build
