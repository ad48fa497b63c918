"""The routes of TF Serving's REST protocol, and those about the service."""
