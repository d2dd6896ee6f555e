"""The networks in torch, as they are run and exported; only imported where one is built."""
