"""The processes of a service: who starts them, what each puts together, how they end."""
