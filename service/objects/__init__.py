"""A store in object storage (S3, Google Cloud Storage, Azure): mirrored into a folder, which is served as any store is.

`urls.py` names what lies there, `bucket.py` is the only file that reaches it, and loads its library only then.
`listing.py` reads a list of objects as models and versions. `mirror/` is the way from a bucket to a service;
`publishing.py`, `sketch.py` and `config_file.py` are the way of versions and configurations into a bucket.
"""
