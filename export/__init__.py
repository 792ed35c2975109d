"""From PyTorch to files: the diffusion graphs as a verified bundle of ONNX files."""
