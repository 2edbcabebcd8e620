"""Makes and checks `tiny`, the embedded model: run `python -m tools.tiny.make_tiny` or `... .cross_validate`."""
