"""A table of how people export SavedModels: what writes each, what it is asked, and what is expected of a service.

`table.py` is the table; `python -m loadtests.exports FOLDER` writes its models, requests and right answers.
"""
