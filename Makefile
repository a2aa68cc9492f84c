# SPDX-License-Identifier: Apache-2.0
#
#   make demo    search real SIFT descriptors, from nothing
#   make test    every test: C++, sanitizers, fuzzers, Arm, Python (parts: scripts/test.sh <part>...)
#   make bench   the micro-benchmarks
#   make clean   removes build/
#
# Each installs what is missing first (scripts/setup.sh). Everything that is built lies in build/; CMake presets do the work.
.PHONY: demo test bench clean

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CONFIGURE := mkdir -p build/logs; cmake --preset release >build/logs/configure.log 2>&1 || { cat build/logs/configure.log; exit 1; }
BUILD := cmake --build build/release -j $(JOBS)

demo:
	@scripts/setup.sh demo
	@$(CONFIGURE)
	@$(BUILD) --target example_demo
	@build/release/examples/demo

test:
	@scripts/test.sh

bench:
	@scripts/setup.sh bench
	@$(CONFIGURE)
	@$(BUILD) --target kith_bench
	@set -e; for program in build/release/bench/bench_*; do echo "== $$program"; $$program; done

clean:
	rm -rf build
