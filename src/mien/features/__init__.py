"""Features of clips from frozen backbones, and the store that keeps them."""
