#!/bin/sh
# The whole pipeline on the stand-in corpus: generate, extract, train, evaluate, score unseen clips.
# Every step continues or reuses existing results, so a second run is fast.
#   sh recipes/demo.sh FOLDER CLIPS
set -eu
folder=${1:-demo}
clips=${2:-160}

mien weights fetch small
mien synth "$folder/corpus" --clips "$clips" --test-clips 4
mien extract "$folder/corpus" --weights small --set media.vision_fps=2 --out "$folder/features"
echo
echo "What the real components extract from the stand-in corpus:"
mien synth "$folder/corpus" --check --features "$folder/features"
mien train "$folder/corpus" --features "$folder/features" --out "$folder/run"
echo
echo "Evaluation on the validation clips:"
mien evaluate "$folder/run" "$folder/corpus" --features "$folder/features" --split valid
echo
echo "Scores of unseen clips (the planted labels are in $folder/corpus/test_answers.csv):"
mien predict "$folder/run" "$folder"/corpus/test_data/raw --out "$folder/scores.csv"
