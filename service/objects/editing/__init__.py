"""A store in a bucket as commands see it: drawn (`sketch.py`), its configuration changed (`config_file.py`)."""
