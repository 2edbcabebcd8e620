"""Runs exported models, with ONNX Runtime, or with PyTorch those that were exported for it."""
