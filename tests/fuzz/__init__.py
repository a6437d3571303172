"""Coverage-guided fuzzing of everything that reads what a peer sent; what it found is kept as tests."""
