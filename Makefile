# SPDX-License-Identifier: GPL-2.0
# The front door.  "make help" lists what there is.

BASE ?= 6.12
export BASE KDIR TARBALL VERSION OFFLINE

S := tools/series
L := tools/lab
# The tree that is built: of the base, or a copy of the user's.
TREE := $(if $(KDIR),kdir,$(if $(TARBALL),tarball,$(BASE)))

# Where all that is made goes.
override BUILD := $(if $(BUILD),$(abspath $(BUILD)),$(CURDIR)/build)
export BUILD

# What works on the base alone says so, and not something of another tree.
refuse = echo 'make $@ is for the base alone; $(1) is for make and make apply and deb and deb-try and refresh, TARBALL= for make check too' >&2; exit 2
base_only = $(if $(KDIR)$(TARBALL),@$(call refuse,KDIR= or TARBALL=))
# What makes tables takes these; 0 is off, as with on() in lib.sh.
tables = $(if $(filter-out 0,$(FRESH)),--fresh) $(if $(filter-out 0,$(README)),--readme)

# Each target is a step of its own with progress of its own; nothing here may
# run beside another, and "make" must not pass its own flags on to kernel make.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
unexport MAKEFLAGS MFLAGS

.PHONY: all
all: ## packages, source, series, kernel, boot, and a demonstration of guard regions
	@echo "[1/5] packages" >&2; $(S)/packages --install
	@echo "[2/5] source of $(if $(KDIR),$(KDIR),$(if $(TARBALL),$(TARBALL),$(BASE)))" >&2; $(if $(KDIR)$(TARBALL),:,test -f "$(BUILD)/$(BASE)/linux/.git/guard/unpacked" || $(S)/fetch $(BASE) >/dev/null)
	@echo "[3/5] series" >&2; $(S)/apply $(BASE) >/dev/null
	@echo "[4/5] kernel" >&2; $(L)/build $(TREE) fast >/dev/null
	@echo "[5/5] demonstration" >&2; $(L)/demo $(TREE)

.PHONY: fetch
fetch: ## all that make and make check get from outside; OFFLINE=1 then asks for nothing
	$(base_only)
	@$(S)/packages --install
	@$(S)/fetch --all $(BASE)

.PHONY: apply
apply: ## the series on the source, as git branch "series" in build/BASE/linux
	@$(S)/packages --install
	@$(S)/apply $(BASE)

.PHONY: export
export: ## the branch "series" back to patches/BASE and the files it adds
	$(base_only)
	@$(S)/export $(BASE)

.PHONY: check
check: ## everything that must hold (ONLY="10 30" picks some), one summary, build/check.xml
	$(if $(KDIR),@$(call refuse,KDIR=))
	@$(S)/packages --install
	@$(if $(TARBALL),$(S)/fetch --from "$(TARBALL)" $(BASE) >/dev/null)
	@tools/check $(ONLY)

.PHONY: selftests
selftests: ## the user-space tests, static, into build/selftests/mm; no kernel tree needed
	@tools/testing/selftests/build

.PHONY: run-selftests
run-selftests: selftests ## ... and run them on the kernel that is running
	@tools/run-selftests

.PHONY: kselftest-tar
kselftest-tar: ## ... or as a tar with a runner (KTAP, JUnit), for machines without a compiler
	@tools/testing/selftests/tar

.PHONY: guardctl
guardctl: ## shows where a process has guard regions, static: build/guardctl/guardctl
	@tools/guardctl/build

.PHONY: check-full
check-full: ## ... and what takes longer: sanitizers, i386, arm64, riscv64, the base's own tests, the fuzzer
	$(base_only)
	@$(S)/packages --install --cross
	@CHECK_TIMEOUT=14400 CHECKS="$(CURDIR)/tools/check-full.d" tools/check $(ONLY)

.PHONY: matrix
matrix: ## each test program on each kernel, a table with reasons (KERNELS="..." FRESH=1 README=1)
	$(base_only)
	@$(S)/packages --install
	@$(L)/matrix $(tables) $(KERNELS)

.PHONY: bench
bench: ## the cost of guards in instructions, table and plots (KERNELS="..." FRESH=1 README=1)
	$(base_only)
	@$(S)/packages --install
	@$(L)/bench $(tables) $(KERNELS)

.PHONY: report
report: ## what was last checked and measured, as one page: build/report.html (runs nothing)
	@$(L)/report

.PHONY: mutants
mutants: ## small wrong edits of the series, which the tests must find (ONLY="name...")
	$(base_only)
	@$(S)/packages --install
	@$(S)/apply $(BASE) >/dev/null
	@$(L)/mutants $(BASE) $(ONLY)

.PHONY: litmus
litmus: ## the locking against the kernel's memory model, with herd7
	$(base_only)
	@$(S)/packages --install
	@$(S)/apply $(BASE) >/dev/null
	@$(L)/litmus

.PHONY: kunit
kunit: ## the KUnit tests, by the kernel's own kunit.py
	$(base_only)
	@$(S)/packages --install
	@$(S)/apply $(BASE) >/dev/null
	@cd "$(BUILD)/$(BASE)/linux" && PYTHONDONTWRITEBYTECODE=1 tools/testing/kunit/kunit.py run \
		--arch=x86_64 --kunitconfig=mm/tests --build_dir="$(BUILD)/$(BASE)/kunit" --jobs=$${JOBS:-$$(nproc)}

.PHONY: mbox
mbox: ## the patches and cover letters as one mailbox, build/series/guard-BASE.mbox
	$(base_only)
	@$(S)/mbox $(BASE)

.PHONY: quilt
quilt: ## the patches as a debian/patches folder, DEP-3 (INTO=package: put it in there)
	$(base_only)
	@$(S)/quilt $(BASE) $(if $(INTO),--into "$(INTO)")

.PHONY: reproduce
reproduce: ## build the kernel twice, in two folders: the same bytes? (CONFIG=fast)
	$(base_only)
	@$(S)/apply $(BASE) >/dev/null
	@$(L)/reproduce $(BASE) $(CONFIG)

.PHONY: deb
deb: ## kernel .debs with the series, build/BASE/deb (CONFIG=file or name, DEBUG_INFO=1)
	@$(S)/deb $(BASE)

.PHONY: deb-try
deb-try: ## ... installed into a minimal Debian, booted in QEMU and tested there (needs root)
	@$(S)/deb-try $(BASE) $(ONLY)

.PHONY: range-diff
range-diff: ## what changed in the patches since the last tag, or OLD=COMMIT
	$(base_only)
	@$(S)/apply $(BASE) >/dev/null
	@$(S)/range-diff $(BASE) $(OLD)

.PHONY: refresh
refresh: ## the series on a newer release, TARBALL=, KDIR= or VERSION=: merges, conflicts to resolve
	@$(S)/refresh $(BASE)

.PHONY: points
points: ## git am, patch -F0 and quilt on the base and on older point releases, Debian's too; ALL=1: each that Debian has
	$(base_only)
	@$(S)/points $(BASE)

.PHONY: audit
audit: ## checkpatch, subjects, W=1 and sparse of each patch (FULL=1: build each prefix)
	$(base_only)
	@$(S)/audit $(BASE)

# Those that go past the targets to what is in tools/, whose heads say more.
#= OFFLINE=1	fetch nothing: what is not there cannot be had (make fetch gets all before)
#= VERSION=6.12.85-1	make, apply, deb, points, refresh: of this version of the source package
#= DEBIAN_MIRROR=URL	instead of deb.debian.org/debian; DEBIAN_SECURITY_MIRROR=URL too, and
#= DEBIAN_KEYRING=FILE	with the keys that they are signed with
#= JOBS=4	how many jobs what builds kernels has (else one for each CPU)
#= FROM=3 TO=5	audit: these patches; FROM=last: all of them as one
#= ARCHS="arm64"	audit FULL=1: build and boot these (x86_64, i386, arm64, riscv64)
#= BUILDS=all	audit: build these too (tiny, nommu, no-thp ... in tools/lab/configs)
#= TOUCHED=1	audit BUILDS=: of each patch only what the series touches (add i386 arm64 riscv64)
#= DOCS=1	audit: kernel-doc and htmldocs too
#= BUILD=DIR	where all that is made goes, else build (no blank in its path)
#= LOCALVERSION=-x	deb: what uname -r ends with (else -guard)
#= KDEB_PKGVERSION=1	deb: the version of the packages
#= CC=gcc	selftests, kselftest-tar, guardctl: the compiler, with options (CFLAGS= too)
#= OUT=DIR	selftests, run-selftests: where the programs go. Those for another architecture:
#= 	make selftests CC=aarch64-linux-gnu-gcc OUT=build/selftests/mm-arm64
#= 	make kselftest-tar CC=aarch64-linux-gnu-gcc

.PHONY: help
help: ## this list
	@echo 'make TARGET [BASE=6.12] [KDIR=tree | TARBALL=file], with TARGET one of:'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1	\2/p' Makefile | \
		while IFS='	' read -r t d; do printf '  %-14s %s\n' "$$t" "$$d"; done
	@echo 'Variables, beside those:'
	@awk -F '\t' 'sub(/^#= /, "") { printf "  %-20s  %s\n", $$1, $$2 }' Makefile
