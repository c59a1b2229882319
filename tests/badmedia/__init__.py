"""Hundreds of files that are damaged, absurd or hostile, made on the spot, and what mien must make of them."""
