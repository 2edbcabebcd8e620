"""Published weights on the benchmarks of their papers: which data is there, our scores beside theirs, the report."""
