"""The HTTP interface. Each file has one router; ``app`` puts them together. Nothing here imports torch."""
