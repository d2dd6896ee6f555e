"""How a model's network is run: in torch as it is, in half precision, compiled, or by ONNX Runtime."""
