# weft: build, test, run.  `make help` lists the targets.
#
# All sources of a folder are built: a new .c file needs no line here.

B       ?= build
PREFIX  ?= /usr/local
CC      ?= cc
PKGS    := msgpack yaml-0.1 lmdb libmicrohttpd gnutls libxxhash libzstd yajl liburcu libprotobuf-c
CSTD    := -std=gnu11
WARN    := -Wall -Wextra -Wno-unused-parameter
OPT     ?= -O2 -g
SAN     ?=
CPPFLAGS += -Iinclude -I. -I$(B)/gen -D_GNU_SOURCE -D_LGPL_SOURCE $(DEFS)
CFLAGS  += $(CSTD) $(WARN) $(OPT) $(SAN) -fno-strict-aliasing -pthread $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS  += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -ldl
LDFLAGS += $(SAN) -pthread -Wl,--build-id -rdynamic

LIB_SRC  := $(filter-out procs/main.c procs/kube/gen/%,$(shell find shm ipc procs -name '*.c'))
TEST_SRC := $(wildcard tests/unit/test_*.c)
BENCH_SRC := $(wildcard bench/bench_*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o)
TESTS    := $(TEST_SRC:tests/unit/%.c=$(B)/tests/%)
BENCHES  := $(BENCH_SRC:bench/%.c=$(B)/bench/%)

all: $(B)/weft

include $(wildcard procs/kube/gen/gen.mk)

$(B)/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libweft.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

# All objects, not the archive: the processes' mains are weak references, which
# take nothing out of an archive.
$(B)/weft: $(B)/procs/main.o $(LIB_OBJ)
	$(CC) $(LDFLAGS) -Wl,--unresolved-symbols=ignore-all -o $@ $^ $(LDLIBS)

$(B)/tests/%: $(B)/tests/unit/%.o $(B)/libweft.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs check) $(LDLIBS)

$(B)/bench/%: $(B)/bench/%.o $(B)/libweft.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The peer that it is compared with.
$(B)/bench/bench_lookup: LDLIBS += -lurcu-cds

# The decoders that the fuzzers feed need no more than these; clang only.
FUZZ_OBJ := $(B)/shm/base.o $(filter $(B)/ipc/%,$(LIB_OBJ))

$(B)/fuzz/%: $(B)/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

tests: $(TESTS)
benches: $(BENCHES)

# One unit test by name: make unit-ring
unit-%: $(B)/tests/test_%
	$<

# Every decoder under libFuzzer, SECONDS each: make fuzz SECONDS=600
fuzz:
	tests/fuzz/run $(or $(SECONDS),10)

clean:
	rm -rf $(B)

.PHONY: all tests benches fuzz clean
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
