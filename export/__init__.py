"""torch -> ONNX -> TensorRT."""
