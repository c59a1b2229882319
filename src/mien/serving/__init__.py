"""Where ``mien.scores`` and ``mien.inference`` were before; only what the documentation named is still here."""
