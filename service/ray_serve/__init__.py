"""Replicas of the engine under Ray Serve, which has one gRPC port for all of them: `signpost-serving[ray]`.

`app.py` is what `serve.yaml` names; a gateway in front reaches it as any other engine, by `--engine HOST:9000`.
"""
