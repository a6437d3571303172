"""The load generator: a C program of one thread, compiled when first needed, driven over two pipes."""
