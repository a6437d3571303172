"""What strangers may do to a server: each threat of docs/threat-model.md, acted out against running servers."""
