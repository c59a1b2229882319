"""Which clips there are, and what their raters said: manifests, splits and the stand-in corpus. No torch."""
