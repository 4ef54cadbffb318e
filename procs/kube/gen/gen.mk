# The schema as C: kube_types.h for all, kube_schema_ids.h for procs/kube,
# kube_tables.c into the library.

KUBE_SCHEMA := procs/kube/schema/types.txt procs/kube/schema/resources.tsv
KUBEGEN     := $(B)/gen/kubegen
GENERATED   += $(B)/gen/kube_types.h $(B)/gen/kube_schema_ids.h
LIB_OBJ     += $(B)/gen/kube_tables.o $(B)/gen/kube_protobuf.o

$(KUBEGEN): $(wildcard procs/kube/gen/*.c procs/kube/gen/*.h) include/weft/schema.h
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CSTD) $(WARN) -O1 -g -Iinclude -I. -D_GNU_SOURCE -o $@ $(filter %.c,$^)

$(B)/gen/kube_types.h: $(KUBEGEN) $(KUBE_SCHEMA)
	$(call say,GEN)
	$(Q)$(KUBEGEN) types $(KUBE_SCHEMA) >$@.tmp && mv $@.tmp $@

$(B)/gen/kube_schema_ids.h: $(KUBEGEN) $(KUBE_SCHEMA)
	$(call say,GEN)
	$(Q)$(KUBEGEN) ids $(KUBE_SCHEMA) >$@.tmp && mv $@.tmp $@

$(B)/gen/kube_tables.c: $(KUBEGEN) $(KUBE_SCHEMA)
	$(call say,GEN)
	$(Q)$(KUBEGEN) tables $(KUBE_SCHEMA) >$@.tmp && mv $@.tmp $@

$(B)/gen/kube_tables.o: $(B)/gen/kube_tables.c $(B)/gen/kube_types.h
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/gen/kube_protobuf.c: $(KUBEGEN) procs/kube/schema/protobuf.txt
	$(call say,GEN)
	$(Q)$(KUBEGEN) protobuf procs/kube/schema/protobuf.txt >$@.tmp && mv $@.tmp $@

$(B)/gen/kube_protobuf.o: $(B)/gen/kube_protobuf.c procs/kube/protobuf.h
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
