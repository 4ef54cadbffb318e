# weft: build, test, run.  `make help` lists the targets.
#
# All sources of a folder are built: a new .c file needs no line here.
# Options: B=DIR (build folder), CC=clang, SAN=-fsanitize=..., LTO= (links faster, runs
# slower), PREFIX, DESTDIR.

B       ?= build
PREFIX  ?= /usr/local
CC      ?= cc
PKGS    := msgpack yaml-0.1 lmdb gnutls libnghttp2 libxxhash yajl liburcu
CSTD    := -std=gnu11
WARN    := -Wall -Wextra -Wno-unused-parameter
OPT     ?= -O2 -g
SAN     ?=
# Much of the cache is small functions that other files call.  Objects have ordinary code
# as well, for the tests, which are many and are linked without.
ifeq ($(SAN)$(findstring clang,$(shell $(CC) --version)),)
LTO     ?= -flto=auto -ffat-lto-objects
endif
CPPFLAGS += -Iinclude -I. -I$(B)/gen -D_GNU_SOURCE -D_LGPL_SOURCE $(DEFS)
CFLAGS  += $(CSTD) $(WARN) $(OPT) $(SAN) $(LTO) -fno-strict-aliasing -pthread $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS  += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -ldl
LDFLAGS += $(SAN) -pthread -Wl,--build-id -rdynamic

LIB_SRC  := $(filter-out procs/main.c procs/kube/gen/%,$(shell find shm ipc procs -name '*.c'))
TEST_SRC := $(wildcard tests/unit/test_*.c)
BENCH_SRC := $(wildcard bench/bench_*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o)
TESTS    := $(TEST_SRC:tests/unit/%.c=$(B)/tests/%)
BENCHES  := $(BENCH_SRC:bench/%.c=$(B)/bench/%)

# V=1 shows whole commands.
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)  $@")

all: $(B)/weft

include $(wildcard procs/kube/gen/gen.mk)

$(B)/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libweft.a: $(LIB_OBJ)
	$(call say,AR)
	@rm -f $@
	$(Q)ar rcs $@ $^

# All objects, not the archive: the processes' mains are weak references, which
# take nothing out of an archive.
$(B)/weft: $(B)/procs/main.o $(LIB_OBJ)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(OPT) $(LTO) -o $@ $^ $(LDLIBS)

$(B)/tests/%: $(B)/tests/unit/%.o $(B)/libweft.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -fno-lto -o $@ $^ $(shell pkg-config --libs check) $(LDLIBS)

$(B)/bench/%: $(B)/bench/%.o $(B)/libweft.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(OPT) $(LTO) -o $@ $^ $(LDLIBS)

# What fault tests do to a cluster from outside.
$(B)/fault/%: $(B)/tests/fault/%.o $(B)/libweft.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The load generator: all of its folder.
LOAD_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard bench/load/*.c))

$(B)/bench/load/load: $(LOAD_OBJ) $(B)/libweft.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(OPT) $(LTO) -o $@ $^ $(LDLIBS)

# weft with a process that puts load on the store through the rings.
RINGS_OBJ := $(addprefix $(B)/bench/,rings/rings.o load/hist.o load/meter.o load/common.o)

$(B)/bench/weft: $(B)/procs/main.o $(LIB_OBJ) $(RINGS_OBJ)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(OPT) $(LTO) -o $@ $^ $(LDLIBS)

# etcd's client, where its library is.
$(B)/bench/etcd_load: $(B)/bench/etcd_load.o $(B)/libweft.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(OPT) $(LTO) -o $@ $^ $(LDLIBS)

# The peer that it is compared with.
$(B)/bench/bench_lookup: LDLIBS += -lurcu-cds

# What the fuzzers feed: everything that has no process in it; clang only.
FUZZ_OBJ := $(filter $(B)/shm/% $(B)/ipc/% $(B)/procs/kube/% $(B)/gen/%,$(LIB_OBJ))

$(B)/fuzz/%: $(B)/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

$(B)/tests/test_hist: $(B)/bench/load/hist.o

tests: $(TESTS)
benches: $(BENCHES) $(B)/bench/load/load $(B)/bench/weft $(B)/bench/etcd_load

## up: install what is missing, build, run a cluster with 3 nodes and roll out an example
up: deps
	@$(MAKE) --no-print-directory all
	@WEFT=$(B)/weft examples/up

## check: install what is missing, build, run all tests
check: deps
	@$(MAKE) --no-print-directory all tests
	@B=$(B) tests/run lint unit asan tsan fuzz e2e fault

## check-faults: random harm for SECONDS=900, hours if you like
check-faults: deps
	@$(MAKE) --no-print-directory all
	@B=$(B) FAULT_SECONDS=$(or $(SECONDS),900) tests/run faults

## check-quick: lint and unit tests
check-quick: all tests
	@B=$(B) tests/run lint unit

## bench: every benchmark: figure, target, machine
bench:
	@packaging/deps bench
	@$(MAKE) --no-print-directory all benches
	@B=$(B) bench/run

## profile: a flame graph of PROCESS=store (or another) under LOAD= with FLAGS=, as OUT=store.svg
PROCESS ?= store
PROFILE_B := build-profile
profile:
	@packaging/deps bench
	@$(MAKE) --no-print-directory B=$(PROFILE_B) OPT="-O2 -g -fno-omit-frame-pointer" all $(PROFILE_B)/bench/load/load
	@B=$(PROFILE_B) bench/profile $(PROCESS) $(if $(LOAD),--load $(LOAD)) $(if $(FLAGS),--flags "$(FLAGS)") $(if $(OUT),--out $(OUT))

## asan, tsan: unit tests under the sanitizers (tsan: the shared-memory code as threads)
asan tsan: deps
	@B=$(B) tests/run $@

## lint: layering of includes, labels of memory orders, text that does not belong
lint:
	@tests/run lint

## format: clang-format over all sources
format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

## deps: install missing Debian packages
deps:
	@packaging/deps

## install, uninstall: weft, its documentation and examples (PREFIX, DESTDIR)
install: all
	install -D -m 755 $(B)/weft $(DESTDIR)$(PREFIX)/bin/weft
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed "s,/usr/local,$(PREFIX)," packaging/weft.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/weft.service
	install -d $(DESTDIR)$(PREFIX)/share/doc/weft/docs/decisions $(DESTDIR)$(PREFIX)/share/doc/weft/examples
	install -m 644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/weft
	install -m 644 docs/*.md docs/*.svg $(DESTDIR)$(PREFIX)/share/doc/weft/docs
	install -m 644 docs/decisions/*.md $(DESTDIR)$(PREFIX)/share/doc/weft/docs/decisions
	install -m 644 examples/*.yaml $(DESTDIR)$(PREFIX)/share/doc/weft/examples

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/weft $(DESTDIR)$(PREFIX)/lib/systemd/system/weft.service
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/weft

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

# One unit test by name: make unit-ring
unit-%: $(B)/tests/test_%
	$<

## fuzz: every decoder under libFuzzer, SECONDS=10 each
fuzz:
	tests/fuzz/run $(or $(SECONDS),10)

## clean: remove what was built
clean:
	rm -rf $(B) build-*

.PHONY: all tests benches up check check-quick check-faults bench profile asan tsan lint format deps install uninstall help fuzz clean
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
