"""Exports networks as programs that run without segvoc's network code: ONNX files, or `torch.export` archives."""
