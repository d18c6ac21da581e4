#!/bin/sh
# On a machine with a GPU: the CUDA scan against its references, under compute-sanitizer, and timed.
#   tests/gpu_check.sh FOLDER	FOLDER holds test_ops and gpu_scan, built by
#   make CUDA=1 STATIC=1 MARCH=x86-64-v3 gpu-programs
set -e
dir=$1
export LD_LIBRARY_PATH="$dir:$LD_LIBRARY_PATH" MOELAB_DEVICE=cuda_scan MOELAB_OP=scan
nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader
"$dir/test_ops"
"$dir/gpu_scan" check
for tool in memcheck racecheck initcheck synccheck; do
	echo "== $tool"
	compute-sanitizer --tool $tool --error-exitcode 9 "$dir/gpu_scan" check small
done
"$dir/gpu_scan" time
echo "all passed"
