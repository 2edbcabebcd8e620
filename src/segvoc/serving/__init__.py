"""The HTTP service: a model behind a bounded queue."""
