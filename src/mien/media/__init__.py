"""Decoding, face tracks and speech: one file of video or audio → ``mien.schema.Media``."""
