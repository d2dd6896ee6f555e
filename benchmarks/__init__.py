"""One module a question: `python -m benchmarks.<name>` prints a table and writes its JSON to `out/`."""
