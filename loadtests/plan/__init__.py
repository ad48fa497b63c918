"""What a load test should do: shapes of load, arrivals, the objective."""
