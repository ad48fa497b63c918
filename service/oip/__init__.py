"""The Open Inference Protocol, version 2, without a transport: tensors, messages, and what a request means.

It is what Triton's and KServe's clients speak. HTTP's side of it is `gateway/oip_*.py`, gRPC's
`rpc/inference.py`.
"""
