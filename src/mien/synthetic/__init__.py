"""The stand-in corpus: synthetic clips with known causes, and the best possible answers to them.

labels.py       labels with the published statistics, from latent causes
media.py        labels → signals → clips: words, voice, acting, drawing, one mp4 each
features.py     labels → feature sequences, without any media
oracle.py       the best possible predictions for those features, and their Pearson r
corpus.py       both kinds on disk, resumable, and their check
"""
