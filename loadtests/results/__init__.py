"""What came of a load test: records, their summary, the report."""
