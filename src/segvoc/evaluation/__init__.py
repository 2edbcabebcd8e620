"""How well predictions agree with the truth: metrics, the loop over the images, and the report."""
