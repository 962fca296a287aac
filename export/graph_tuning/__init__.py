"""Float32 graphs tuned for a processor: each layer in the form that onnxruntime runs fastest there."""
