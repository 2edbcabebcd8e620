"""Opens process groups one after the other; `torchrun` starts it."""

from segvoc.distributed import join_processes

for _ in range(3):
    with join_processes("gloo") as processes:
        assert processes.gather(processes.rank) == [0, 1]
