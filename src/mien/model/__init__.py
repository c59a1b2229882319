"""The trained part of the model: encoders with their fusion head, losses, model folders, cards, intervals."""
