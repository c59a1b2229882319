"""The mean of unimodal predictions: late fusion with equal weights (``late.py``)."""

from mien.model.heads.late import Mean

HEAD = Mean
