"""Scores of clips: the document, export formats, and statistics for labs."""
