"""Pages about runs, studies and scores: data first (``blocks``), pictures (``charts``), then HTML (``render``)."""
