"""Exports networks as programs that run without their code: ONNX files, also for Triton, or `torch.export` archives."""
