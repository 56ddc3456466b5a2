# understudy: everything is built and run from here. `make help` lists what there is.
#
# build/musl/include  build/musl/lib    the libraries, static, for what is shipped; build/musl/bin/musl-cc compiles with them
# build/asan/include  build/asan/lib    the same with clang, AddressSanitizer and UBSan, for unit tests and fuzzing
#     <uv.h> <mbedtls/...> <psa/...> <lz4.h> <xxhash.h> <cjson/cJSON.h> <llhttp.h> <n-dhcp4.h>
#     -luv -lmbedtls (TLS, X.509 and crypto in one) -llz4 -lcjson -lllhttp -lndhcp4
# build/obj           objects of the release build         build/asan/obj   of the instrumented one (-DUNDERSTUDY_FAULTS)
# build/unit  build/fuzz  build/bench   test programs      build/understudy  build/understudy.debug  the program
# build/qemu/qemu-system-x86_64  build/qemu/firmware       the hypervisor
# build/guest/vmlinux  build/guest/initramfs.gz  build/guest/redis.gz     the test guest; the same with redis-server
# build/guest/postgres.ext4                                the test guest's disk, with PostgreSQL
#
# Source files are found by wildcard; a new file needs no change here. To build a part of a tree in which another part does
# not compile just now: make build/unit/test_delta SOURCE_DIRS='appliance/base replica'.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all

# Run as many compilers as there are processors, unless told otherwise.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),:,printf '  %-6s %s\n' $(1) $(2))

PYTHON := /usr/bin/python3
CLANG := clang

# Where there is ccache (the tests' prerequisites have it), nothing is compiled twice, in whatever directory the tree is.
CACHED := $(if $(shell command -v ccache),CCACHE_DIR="$${XDG_CACHE_HOME:-$$HOME/.cache}/understudy/ccache" CCACHE_MAXSIZE=1G \
	CCACHE_BASEDIR=$(CURDIR) CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK='%compiler% --version' ccache)
SECONDS := 2

# ---- what there is -----------------------------------------------------------------------------------------------

SOURCE_DIRS := appliance appliance/base net replica fs-watch
sources := $(foreach d,$(SOURCE_DIRS),$(wildcard $(d)/*.c))
headers := $(foreach d,$(SOURCE_DIRS),$(wildcard $(d)/*.h))
unit_sources := $(wildcard tests/unit/test_*.c)
fuzz_sources := $(wildcard tests/fuzz/fuzz_*.c)
bench_sources := $(wildcard tests/bench/bench_*.c)
# Helpers beside the tests (tests/unit/fixture.c, ...) are linked into every test program of their directory.
unit_helpers := $(filter-out $(unit_sources),$(wildcard tests/unit/*.c))
fuzz_helpers := $(filter-out $(fuzz_sources),$(wildcard tests/fuzz/*.c))
bench_helpers := $(filter-out $(bench_sources),$(wildcard tests/bench/*.c))
test_sources := $(unit_sources) $(fuzz_sources) $(bench_sources) $(unit_helpers) $(fuzz_helpers) $(bench_helpers)

objects := $(sources:%.c=build/obj/%.o)
asan_objects := $(sources:%.c=build/asan/obj/%.o)
unit_tests := $(unit_sources:tests/unit/%.c=build/unit/%)
fuzz_tests := $(fuzz_sources:tests/fuzz/%.c=build/fuzz/%)
bench_programs := $(bench_sources:tests/bench/%.c=build/bench/%)

# ---- flags -------------------------------------------------------------------------------------------------------

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Wundef -Werror
COMMON := -std=gnu11 -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -MMD -MP -ffile-prefix-map=$(CURDIR)=. $(WARNINGS)
LIBS := -luv -lmbedtls -llz4 -lcjson -lllhttp -lndhcp4

CC := build/musl/bin/musl-cc
CFLAGS := $(COMMON) -O2 -g -fstack-protector-strong -fstack-clash-protection -fno-strict-overflow -ffunction-sections -fdata-sections
LDFLAGS := -Wl,--gc-sections -Wl,--as-needed

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
ASAN_CFLAGS := $(COMMON) -isystem build/asan/include -O1 -g -fno-omit-frame-pointer $(SANITIZE) \
	-fsanitize=fuzzer-no-link -DUNDERSTUDY_FAULTS
ASAN_LIBS := $(LIBS) -lpthread -ldl -lm

# ---- the program -------------------------------------------------------------------------------------------------

all: build/understudy  ## build/understudy, the static executable (this is also what plain `make` does)
	@:

# The size is part of what is promised: 3 MiB.
build/understudy: build/understudy.debug
	@$(call say,STRIP,$@)
	$(Q)strip -o $@ $<
	@test $$(stat -c %s $@) -le 3145728 || { echo '$@ is larger than 3 MiB' >&2; exit 1; }

build/understudy.debug: $(objects)
	@$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

build/obj/%.o: %.c Makefile build/musl/libs | build/version.h
	@$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CACHED) $(CC) $(CFLAGS) -c $< -o $@

# UNDERSTUDY_VERSION, for the files that include "build/version.h"; written only when it changes.
build/version.h: FORCE
	@mkdir -p build
	@echo '#define UNDERSTUDY_VERSION "$(VERSION)"' | cmp -s - $@ || echo '#define UNDERSTUDY_VERSION "$(VERSION)"' >$@

# ---- what it is built from ---------------------------------------------------------------------------------------

deps: build/musl/ready build/asan/ready  ## the libraries from source (build/musl, build/asan; cached in ~/.cache/understudy)
	@:

fetching := image/apt.sh image/sources.sh image/deps.lock
deps_inputs := image/deps.sh $(fetching) image/mbedtls_config.h $(wildcard image/mbedtls-*.patch)
build/musl/ready: $(deps_inputs)
	@image/prerequisites.sh build
	@image/deps.sh musl
	@touch $@

# After musl, so that the counted lines of the two do not mix.
build/asan/ready: $(deps_inputs) | build/musl/ready
	@image/prerequisites.sh build test
	@image/deps.sh asan
	@touch $@

# Objects depend on this file, which deps.sh touches when it has really built a library.
build/musl/libs: build/musl/ready
	@test -e $@ || touch $@
build/asan/libs: build/asan/ready
	@test -e $@ || touch $@

relock: deps qemu guest  ## make the versions of this build the locked ones (image/deps.lock)
	@cat build/*.used >image/deps.lock

qemu: build/qemu.ready  ## the hypervisor from source (about 2.5 minutes, once; cached in ~/.cache/understudy)
	@:
build/qemu.ready: image/qemu.sh $(wildcard image/qemu-*.patch) $(fetching)
	@image/prerequisites.sh build qemu
	@image/qemu.sh

kernel: build/kernel/ready
build/kernel/ready: image/kernel.sh $(fetching)
	@image/kernel.sh

guest: build/guest/initramfs.gz  ## the kernel and initramfs of the test guest
	@:
build/guest/initramfs.gz: image/guest.sh image/modules.sh $(wildcard tests/guest/*) build/kernel/ready build/musl/libs
	@image/guest.sh

image: build/image/understudy.raw  ## the appliance: a bootable disk image (build/image); CONFIG=DIR bakes a configuration in
	@:
image_inputs := $(addprefix image/,image.sh modules.sh inspect.sh sbom.sh sources.sh packages.sh packages contents) LICENSE
build/image/understudy.raw: $(if $(CONFIG),FORCE) $(image_inputs) build/understudy build/qemu.ready build/kernel/ready build/musl/ready
	@image/prerequisites.sh image
	@image/image.sh $(CONFIG)

image-check: image  ## make program and image once more, elsewhere, and compare every byte (make test does so, too)
	@image/reproduce.sh

database: build/guest/database.ready
build/guest/database.ready: image/database.sh build/guest/initramfs.gz
	@image/database.sh
	@touch $@

# ---- tests -------------------------------------------------------------------------------------------------------

build/asan/obj/%.o: %.c Makefile build/asan/libs | build/version.h
	@$(call say,ASAN,$<)
	@mkdir -p $(@D)
	$(Q)$(CACHED) $(CLANG) $(ASAN_CFLAGS) -c $< -o $@

# Of what is linked to a test program, all but main(). With lld: there are many of these programs, and it takes a third of the time.
asan_linked := build/asan/libunderstudy.a
asan_link = $(CLANG) -fuse-ld=lld -o $@ $(SANITIZE) $^ -Lbuild/asan/lib

$(asan_linked): $(filter-out build/asan/obj/appliance/main.o,$(asan_objects))
	@$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcsT $@ $^

# The program itself, instrumented: `UNDERSTUDY=build/asan/understudy make test-system` finds what unit tests cannot.
build/asan/understudy: $(asan_objects)
	@$(call say,LINK,$@)
	$(Q)$(asan_link) $(ASAN_LIBS)

$(unit_tests): build/unit/%: build/asan/obj/tests/unit/%.o $(unit_helpers:%.c=build/asan/obj/%.o) $(asan_linked)
	@$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(asan_link) -lcmocka $(ASAN_LIBS)

# The decisions alone, without the rest of the program, and without what only a fuzzer needs to know: it would take two thirds more time.
sim_sources := $(wildcard tests/sim/*.c)
decisions := $(patsubst %,appliance/%.c,failover failover_state tenure doubt aftermath witness_judge)
sim_objects := $(patsubst %.c,build/sim/obj/%.o,$(sim_sources) $(decisions))
build/sim/obj/%.o: %.c Makefile build/asan/libs
	@$(call say,SIM,$<)
	@mkdir -p $(@D)
	$(Q)$(CACHED) $(CLANG) $(filter-out -fsanitize=fuzzer-no-link,$(ASAN_CFLAGS)) -c $< -o $@

build/sim/takeover: $(sim_objects)
	@$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(asan_link)

$(fuzz_tests): build/fuzz/%: build/asan/obj/tests/fuzz/%.o $(fuzz_helpers:%.c=build/asan/obj/%.o) $(asan_linked)
	@$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(asan_link) -fsanitize=fuzzer $(ASAN_LIBS)

$(bench_programs): build/bench/%: build/obj/tests/bench/%.o $(bench_helpers:%.c=build/obj/%.o) \
		$(filter-out build/obj/appliance/main.o,$(objects))
	@$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# (":" because make would say that there is nothing to be done.)
# Everything that tests/run.sh needs for the parts of these names. One after the other, so that the counted steps of the
# scripts and the compiler's lines do not mix; each uses all processors.
unit: $(unit_tests)
	@:
fuzz: $(fuzz_tests)  ## the fuzz targets (build/fuzz)
	@:
sim: build/sim/takeover
	@:
system:
	@$(MAKE) all
	@$(MAKE) qemu
	@$(MAKE) guest

prerequisites:
	@image/prerequisites.sh build test qemu

stock-qemu:
	@image/stock-qemu.sh

test: prerequisites  ## everything: unit tests, each fuzz target for a few seconds, simulation, model, system tests, lint
	@$(MAKE) deps
	@$(MAKE) unit fuzz sim
	@$(MAKE) system
	@$(MAKE) stock-qemu database image
	@SECONDS_PER_FUZZ=$(SECONDS) tests/run.sh unit fuzz sim model system lint

test-unit: unit  ## the unit tests, with AddressSanitizer and UBSan
	@tests/run.sh unit

test-system: system stock-qemu database image  ## the system tests against the real hypervisor
	@tests/run.sh system

fuzz-run: fuzz  ## run each fuzz target; SECONDS=2 says for how long
	@SECONDS_PER_FUZZ=$(SECONDS) tests/run.sh fuzz

lint:  ## clang-tidy, cppcheck, clang-format
	@image/prerequisites.sh build test
	@tests/run.sh lint

cppcheck_good := $${XDG_CACHE_HOME:-$$HOME/.cache}/understudy/cppcheck

# One stamp per file, renewed when the file's instrumented object is: that knows the headers.
c_files := $(sources) $(test_sources) $(wildcard tests/guest/*.c tests/sim/*.c)
lint-clang-tidy: $(c_files:%.c=build/lint/%.tidy)
	@good="$${XDG_CACHE_HOME:-$$HOME/.cache}/understudy/tidy" && mkdir -p "$$good" && find "$$good" -type f -mtime +30 -delete
build/lint/%.tidy: %.c build/asan/obj/%.o .clang-tidy tests/tidy.sh
	@mkdir -p $(@D)
	@tests/tidy.sh $< build/asan/obj/$*.d $(filter-out -MMD -MP -Werror -ffile-prefix-map=%,$(ASAN_CFLAGS))
	@touch $@

# What cppcheck has found in a file counts as long as that and all that it includes are the same, in whatever directory the tree is.
lint-cppcheck: build/musl/libs
	@mkdir -p build/lint "$(cppcheck_good)"
	@test -d build/lint/cppcheck || cp -r "$(cppcheck_good)" build/lint/cppcheck 2>/dev/null || mkdir -p build/lint/cppcheck # another clone puts it there
	@echo '#define cJSON_ArrayForEach(e, a) for (e = (a)->child; e; e = e->next)' >build/lint/cppcheck.h
	@cppcheck --quiet --std=c11 --language=c --enable=warning,portability,performance --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
		--cppcheck-build-dir=build/lint/cppcheck -j $$(nproc) -I. \
		--include=build/lint/cppcheck.h $(c_files)
	@new=$$(mktemp -d "$(cppcheck_good).XXXXXX") && cp build/lint/cppcheck/* "$$new" && rm -rf "$(cppcheck_good)" && mv -T "$$new" "$(cppcheck_good)"

lint-clang-format:
	@clang-format --dry-run --Werror $(c_files) $(headers) $(wildcard tests/*/*.h) image/mbedtls_config.h

format:  ## let clang-format rewrite what it would complain about
	$(Q)clang-format -i $(c_files) $(headers) $(wildcard tests/*/*.h) image/mbedtls_config.h

# ---- trying it out -----------------------------------------------------------------------------------------------

demo:  ## two sites, a guest, one is killed: the guest goes on at the other (writes build/demo.json)
	@image/prerequisites.sh build qemu demo
	@$(MAKE) system
	@tests/enter.sh $(PYTHON) tests/demo/demo.py

bench: prerequisites  ## the measurements of the README (writes build/bench.json)
	@$(MAKE) system bench-programs
	@tests/enter.sh $(PYTHON) tests/bench/bench.py

bench-programs: $(bench_programs)
	@:

sim-run: SCHEDULES ?= 1000000
sim-run: sim  ## the takeover decisions of both sites under SCHEDULES (1000000) seeded schedules of everything that can go wrong
	@SCHEDULES=$(SCHEDULES) tests/run.sh sim

model:  ## the model of the takeover protocol, searched by spin; MODEL=all: also the large searches, and without each rule
	@image/prerequisites.sh build test
	@MODEL=$(MODEL) tests/run.sh model

soak: SECONDS := 3600
soak: prerequisites  ## protect and kill over and over; SECONDS says for how long
	@$(MAKE) system
	@$(MAKE) database image
	@$(MAKE) sim-run
	@$(MAKE) model MODEL=all
	@tests/enter.sh $(PYTHON) tests/system/soak.py $(SECONDS)

# ---- housekeeping ------------------------------------------------------------------------------------------------

clean:  ## remove build/ (the caches in ~/.cache/understudy stay)
	rm -rf build

help:  ## this list
	@awk -F '##' '/^[a-z-]+:.*##/ { split($$1, t, ":"); printf "  %-14s%s\n", t[1], $$2 }' Makefile

FORCE:
.PHONY: all deps relock qemu image image-check kernel guest unit fuzz sim sim-run model system stock-qemu database prerequisites test test-unit test-system fuzz-run lint lint-clang-tidy \
	lint-cppcheck lint-clang-format format \
	demo bench bench-programs soak clean help FORCE

-include $(objects:.o=.d) $(test_sources:%.c=build/obj/%.d) $(c_files:%.c=build/asan/obj/%.d) $(sim_objects:.o=.d)
