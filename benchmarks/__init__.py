"""Side by side with the tools people use now: ``python -m benchmarks`` prints one table."""
