"""Calls between the processes of one service: tensors through memory that they share, a few bytes over a socket."""
