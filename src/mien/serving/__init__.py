"""Former package of ``mien.scores`` and ``mien.inference``; documented names still work here."""
