#!/bin/sh
# usage: tools/jobs.sh [ROOT]
# Prints how many processes of the tests fit this machine: one more than cores, since they wait for the programs that
# their tests start; and each has 3 GB of the free memory (2 for itself, 1 for these programs). What a container or a
# batch system allows counts, not what the machine has. Where the memory allows fewer, a line on standard error says so.
# ROOT stands for / where a test describes a machine.
set -eu
root=${1:-}

# OMP_NUM_THREADS, which nproc obeys, is about the threads of a process.
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)
if [ -r "$root/proc/meminfo" ]; then
  megabytes=$(awk '/^MemAvailable:/ { print int($2 * 1.024e-3) }' "$root/proc/meminfo")
else
  megabytes=$(sysctl -n hw.memsize 2>/dev/null | awk '{ print int($1 / 1e6) }')
fi
megabytes=${megabytes:-3000}

# least A B: the smaller of two whole numbers; B may be missing or "max"
least() { if [ "${2:-max}" != max ] && [ "$2" -lt "$1" ]; then echo "$2"; else echo "$1"; fi; }

# Limits of control groups (version 2): those of this process's group and of all groups that it is in.
group=$(sed -n 's/^0:://p' "$root/proc/self/cgroup" 2>/dev/null || true)
while :; do
  folder=$root/sys/fs/cgroup${group%/}
  if [ -r "$folder/cpu.max" ]; then
    cores=$(least "$cores" "$(awk '$1 != "max" { print int(($1 + $2 - 1) / $2) }' "$folder/cpu.max")")
  fi
  if [ -r "$folder/memory.max" ]; then
    megabytes=$(least "$megabytes" "$(awk '$1 != "max" { print int($1 / 1e6) }' "$folder/memory.max")")
  fi
  [ -n "${group%/}" ] || break
  group=${group%/*}
done

jobs=$(least $((cores + 1)) $((megabytes / 3000)))
jobs=$((jobs > 0 ? jobs : 1))
if [ "$jobs" -le "$cores" ]; then
  echo "only $jobs of $((cores + 1)) test processes fit into $((megabytes / 1000)) GB of free memory, at 3 GB each" >&2
fi
echo "$jobs"
