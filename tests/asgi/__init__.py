"""The server inside other people's servers and frameworks: real processes, the official client."""
