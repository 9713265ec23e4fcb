# make demo    set up all that it needs and run the main job
# make test    set up and run the tests
# make check   format, lint, types, import contracts
# make bench   measure beside a peer; prints ratios
# make fuzz SECONDS=n   feed parsers what upsets them, n seconds each
# make lab     boot a real Xen in QEMU, predict it, verify it from outside
# make lab-smoke      the three boots of it that CI runs
# make lab-shell CMD=…   a command, or a prompt, in the lab's dom0
# make conformance      judge ../shared/vectors; writes docs/conformance.md
.PHONY: demo test check bench fuzz conformance lab lab-smoke lab-shell lab-setup setup boot-files clean

BOOT ?= build/boot
TESTFLAGS ?=
SECONDS ?= 20
TEST_PACKAGES = binutils cryptsetup-bin osslsigncode
LAB_PACKAGES = bc binutils bison busybox-static checkpolicy cryptsetup-bin dosfstools dpkg-dev e2fsprogs flex \
  git grub-efi-amd64-bin kmod m4 make mtools osslsigncode ovmf qemu-system-x86 swtpm swtpm-tools xz-utils

setup:
	@tools/setup

boot-files: setup
	@tools/boot-files $(BOOT)

demo: boot-files
	@.venv/bin/shype demo --boot $(BOOT) $(DEMOFLAGS)

test: boot-files
	@tools/setup $(TEST_PACKAGES)
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

lab-setup:
	@tools/setup $(LAB_PACKAGES)

lab: lab-setup
	@.venv/bin/python -m tests.lab run

lab-smoke: lab-setup
	@.venv/bin/python -m tests.lab smoke

lab-shell: lab-setup
	@.venv/bin/python -m tests.lab shell "$(CMD)"

clean:
	rm -rf .venv build
