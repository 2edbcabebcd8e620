#!/bin/sh
# usage: tools/test_portable.sh PYTHON JOBS [arguments of pytest]
# Runs the tests as on other processors: with the kernels that PyTorch, oneDNN, MKL and OpenBLAS have for narrower vectors
# (elsewhere than on x86-64 only PyTorch obeys), each time with another number of threads. The exit code is 1 if a run failed.
set -u
python=$1 jobs=$2 status=0
shift 2
for setting in \
  "1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem" \
  "2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell" \
  4; do
  threads=${setting%% *}
  variables=${setting#"$threads"}
  each=$((jobs / threads))
  echo "== $threads threads, ${variables:-the instructions of this machine}"
  # shellcheck disable=SC2086 # several variables
  env $variables OMP_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads" \
    "$python" -m pytest -q -n "$((each > 0 ? each : 1))" --dist loadscope -m "not slow" "$@"
  case $? in 0 | 5) ;; *) status=1 ;; esac  # 5: nothing was chosen
done
exit "$status"
