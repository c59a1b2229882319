"""Device, precision and engine of frozen backbones, training and scoring."""
