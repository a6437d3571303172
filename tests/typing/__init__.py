"""What type checkers say of an application."""
