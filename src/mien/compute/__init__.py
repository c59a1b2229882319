"""What frozen backbones, training and scoring run on."""
