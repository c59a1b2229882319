"""Scores of clips: the document, tables and files made of it, statistics for labs."""
