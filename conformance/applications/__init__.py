"""The application of ``APPLICATION.md``, once for each server that the suite is run against in this repository."""
