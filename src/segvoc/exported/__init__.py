"""Runs exported models with ONNX Runtime; nothing here needs PyTorch."""
