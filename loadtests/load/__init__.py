"""The load: users, their pace, and the processes that generate it."""
