"""HTTP/1.1's messages as bytes (RFC 9112): heads and bodies read, answers written. Nothing here knows a socket."""
