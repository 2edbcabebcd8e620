"""`python -m rehearsal.small_command` is `segvoc` with the small networks and benchmarks; `torchrun` may start it."""

from rehearsal.networks import use_small_networks
from segvoc.cli import main

if __name__ == "__main__":
    use_small_networks()
    main()
