# moelab: make help lists the targets.
#
# A folder of src/ is a layer (below: what each may include) and becomes one archive; a file's name
# is its registration: gen/op.inc, gen/arch.inc, gen/cmd.inc and gen/table.inc are X-macro lists of
# the files in src/op, src/arch, src/cmd and src/report/table.
# Variants, each in a build folder of its own: SAN=1 (sanitizers), CUDA=1 (GPU kernels),
# STATIC=1 (third-party libraries linked in), WERROR=1, MARCH=x86-64-v3.

SAN     ?= 0
CUDA    ?= 0
STATIC  ?= 0
WERROR  ?= 0
MARCH   ?= native
CUDA_ARCH ?= 90
BUILD   ?= build/$(if $(filter 1,$(CUDA)),cuda,cpu)$(if $(filter 1,$(SAN)),-san)$(if $(filter 1,$(STATIC)),-static)

LAYERS := base tensor op graph nn spec arch data store report run cmd
may_include_base   :=
may_include_tensor := base
may_include_op     := tensor
may_include_graph  := op
may_include_nn     := graph
may_include_spec   := base
may_include_arch   := nn spec
may_include_data   := base
may_include_store  := base
may_include_report := store
may_include_run    := arch data store
may_include_cmd    := run report
# A layer with all it may include, itself first: the link order of its archives.
closure = $(1) $(foreach l,$(may_include_$(1)),$(call closure,$(l)))
layers_of = $(call uniq_last,$(call closure,$(1)))
# Keep the last of equal words, so that a layer stands behind all that use it.
uniq_last = $(if $1,$(if $(filter $(firstword $1),$(wordlist 2,$(words $1),$1)),,$(firstword $1)) $(call uniq_last,$(wordlist 2,$(words $1),$1)))

CC      := gcc
BLAS    := /usr/lib/x86_64-linux-gnu/openblas-openmp
CFLAGS  := -std=c11 -D_GNU_SOURCE -O3 -march=$(MARCH) -ffp-contract=fast -fno-math-errno -fopenmp -g \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Isrc -I$(BUILD)/gen -I/usr/include/x86_64-linux-gnu/openblas-openmp
LDFLAGS := -fopenmp -L$(BLAS) -Wl,-rpath,$(BLAS)
LIBS    := -lopenblas -lyaml -lsqlite3 -ljansson -lxxhash -lz -lpcre2-8 -lm -lpthread
ifeq ($(WERROR),1)
CFLAGS  += -Werror
endif
ifeq ($(SAN),1)
CFLAGS  := $(filter-out -O3,$(CFLAGS)) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(STATIC),1)
LIBS    := -Wl,-Bstatic -lopenblas -lyaml -lsqlite3 -ljansson -lxxhash -lz -lpcre2-8 -Wl,-Bdynamic -lm -lpthread -ldl
endif
ifeq ($(CUDA),1)
CUDA_HOME := $(dir $(patsubst %/bin/,%,$(dir $(realpath $(shell command -v nvcc)))))x
NVCC    := nvcc
NVFLAGS := -O3 -std=c++17 -gencode=arch=compute_$(CUDA_ARCH),code=sm_$(CUDA_ARCH) -Isrc -I$(BUILD)/gen -Xcompiler -Wall --expt-relaxed-constexpr
CFLAGS  += -DWITH_CUDA
LIBS    += -lcudart -lstdc++
endif

src      = $(wildcard src/$(1)/*.c src/$(1)/*/*.c) $(if $(filter 1,$(CUDA)),$(wildcard src/$(1)/*.cu))
objects  = $(patsubst %,$(BUILD)/%.o,$(call src,$(1)))
archive  = $(BUILD)/lib$(1).a
ARCHIVES = $(foreach l,$(1),$(call archive,$(l)))
names    = $(sort $(basename $(notdir $(wildcard $(1)/*.c))))

.PHONY: all
all: $(BUILD)/moelab
	@ln -sfn $(BUILD)/moelab moelab

# --- lists made from folders -------------------------------------------------------------------
GEN := $(BUILD)/gen/op.inc $(BUILD)/gen/arch.inc $(BUILD)/gen/cmd.inc $(BUILD)/gen/table.inc $(BUILD)/gen/plot.inc
$(BUILD)/gen/op.inc:    NAMES = $(filter-out op gemm act_fn vec,$(call names,src/op))
$(BUILD)/gen/arch.inc:  NAMES = $(filter-out arch check fields run_spec,$(call names,src/arch))
$(BUILD)/gen/cmd.inc:   NAMES = $(filter-out cmd,$(call names,src/cmd))
$(BUILD)/gen/table.inc: NAMES = $(call names,src/report/table)
$(BUILD)/gen/plot.inc:  NAMES = $(call names,src/report/plot)
.PHONY: force
$(GEN): force
	@mkdir -p $(@D); for n in $(NAMES); do echo "X($$n)"; done >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# --- compiling ---------------------------------------------------------------------------------
# The stamp holds the flags: a changed flag rebuilds what it touches.
$(BUILD)/flags: force
	@mkdir -p $(@D); echo '$(CC) $(CFLAGS) $(LDFLAGS) $(LIBS)' >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/%.c.o: %.c $(BUILD)/flags | $(GEN)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/%.cu.o: %.cu $(BUILD)/flags | $(GEN)
	@mkdir -p $(@D)
	$(NVCC) $(NVFLAGS) -MMD -MP -c $< -o $@

define archive_rule
$(call archive,$(1)): $(call objects,$(1))
	@rm -f $$@; ar crs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive_rule,$(l))))

$(BUILD)/moelab: $(BUILD)/src/main.c.o $(call ARCHIVES,$(call layers_of,cmd))
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

# --- tests: tests/LAYER/test_X.c links LAYER and what it may include ---------------------------
TESTS := $(wildcard tests/*/test_*.c)
test_program = $(patsubst tests/%.c,$(BUILD)/tests/%,$(1))
define test_rule
$(call test_program,$(1)): $(BUILD)/$(1).o $(call ARCHIVES,$(call layers_of,$(patsubst tests/%/,%,$(dir $(1)))))
	$(CC) $(LDFLAGS) $$^ -lcmocka $(LIBS) -o $$@
endef
$(foreach t,$(TESTS),$(eval $(call test_rule,$(t))))

.PHONY: check-%
check-%: force
	@$(MAKE) --no-print-directory $(call test_program,$(wildcard tests/$*/test_*.c))
	@for t in $(call test_program,$(wildcard tests/$*/test_*.c)); do echo "== $$t"; $$t || exit 1; done

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
