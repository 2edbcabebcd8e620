"""Networks of the papers beside their published scores: which data is there, training, our scores, the report."""
