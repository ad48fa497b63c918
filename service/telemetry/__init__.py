"""What a service tells about itself: logs, metrics, timings, traces."""
