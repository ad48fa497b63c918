"""Who may ask what: keys, certificates, and files of them that are read again when they change."""
