"""Speed (``python -m benchmarks``) and precision (``python -m benchmarks.precision``), one table each."""
