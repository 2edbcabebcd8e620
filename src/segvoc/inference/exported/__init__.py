"""Runs exported models with ONNX Runtime."""
