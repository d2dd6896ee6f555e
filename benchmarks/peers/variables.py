"""Environment variables by which the benchmark tells the peers' servers what to do."""

#: The exported graph: uint8 pictures (N, 224, 224, 3) to pooled features, float32 (N, 1280).
MODEL = "PEERS_MODEL"
#: Threads of one ONNX Runtime session.
THREADS = "PEERS_THREADS"
#: The port on loopback to serve.
PORT = "PEERS_PORT"
#: The Redis of the Celery template.
REDIS = "PEERS_REDIS"
