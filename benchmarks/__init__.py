"""Speed and accuracy studies; each module is one command, `python -m benchmarks.<name>`."""
