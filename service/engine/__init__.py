"""Engines: what runs servables. `interface.py` says what an engine is; `local.py` runs TensorFlow in this process."""
