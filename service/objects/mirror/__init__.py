"""The copy of a store on this host, and what keeps it in step with its bucket.

`configs.py` says what a service wants of which bucket and where the copies lie, `view.py` is what the buckets hold now
and since when, `work.py` works out what of it is to be fetched and what may go (by the rule in `plan.py`), `cache.py`
is the copy, `fetching.py` fills it, and `mirror.py` does one look after the other. `process.py` runs that beside a
service; `engines.py` reads what the service has loaded, `told.py` and `metrics.py` show how it goes.
"""
