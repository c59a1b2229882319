"""Pages about runs, studies and scores: data first (``blocks``), charts (``charts``), then HTML (``render``)."""
