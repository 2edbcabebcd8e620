"""Exports networks as ONNX programs that run without their code, also for Triton."""
