"""Published archives whose files hold many images each."""
