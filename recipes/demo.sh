#!/bin/sh
# The main job from end to end on the stand-in corpus: film, extract, train, judge, score a clip that was not trained on.
# Every step continues or reuses what is there, so that a second run is quick.
#   sh recipes/demo.sh FOLDER CLIPS
set -eu
folder=${1:-demo}
clips=${2:-160}

mien weights fetch small
mien synth "$folder/corpus" --clips "$clips" --test-clips 4
mien extract "$folder/corpus" --weights small --set media.vision_fps=2 --out "$folder/features"
echo
echo "What the real parts understood of the stand-in corpus:"
mien synth "$folder/corpus" --check --features "$folder/features"
mien train "$folder/corpus" --features "$folder/features" --out "$folder/run"
echo
echo "How good it is, on the validation clips:"
mien evaluate "$folder/run" "$folder/corpus" --features "$folder/features" --split valid
echo
echo "Scores of clips it has never seen (what was planted stands in $folder/corpus/test_answers.csv):"
mien predict "$folder/run" "$folder"/corpus/test_data/raw --out "$folder/scores.csv"
