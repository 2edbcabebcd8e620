"""The HTTP service: one model behind a bounded queue."""
