"""What runs the rest: arrays of any library, processor and GPU, threads, processes, progress."""
