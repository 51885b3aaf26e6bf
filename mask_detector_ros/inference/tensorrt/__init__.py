"""TensorRT: sessions, engines, their builder, cache and parity check, and CUDA memory."""
