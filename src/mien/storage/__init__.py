"""Atomic files, checksums, bounded readers and locks."""
