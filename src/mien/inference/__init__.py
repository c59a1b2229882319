"""From clips to scores with a trained model."""
