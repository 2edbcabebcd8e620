"""How well label maps agree with the truth: confusion, metrics, the loop over pictures, and the report."""
