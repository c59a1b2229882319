"""How good a model is: on a split, in subgroups, beside another; submissions."""
