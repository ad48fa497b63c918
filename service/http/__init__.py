"""HTTP's side of a worker: connections, requests, answers."""
