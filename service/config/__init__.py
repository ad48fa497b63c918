"""What a service is told: settings, flags, which models to serve; parsed and checked, nothing started."""
