#!/bin/sh
# The whole pipeline on the stand-in corpus: generate, extract, train, evaluate, score unseen clips; and words-en beside it.
# Every step continues or reuses existing results, so a second run is fast.
#   sh recipes/demo.sh FOLDER CLIPS [CLIP]      CLIP: a video of your own; $MIEN: the command, if mien is not on the PATH
set -eu
folder=${1:-demo}
clips=${2:-160}
clip=${3:-}
mien=${MIEN:-mien}

step() {
    printf '\n%s\n' "$1"
}

echo "$clips clips: about 7 minutes on two cores, and the download, less on more. After Ctrl-C, run it again: it continues."
step "1/7 Pretrained weights: 0.3 GB, downloaded once"
$mien weights fetch small
step "2/7 Synthetic videos with planted labels, in $folder/corpus"
$mien synth "$folder/corpus" --clips "$clips" --test-clips 4
step "3/7 Features of every clip, in $folder/features"
$mien extract "$folder/corpus" --weights small --set media.vision_fps=2 --out "$folder/features"
step "    How much of the planted signals the features hold"
$mien synth "$folder/corpus" --check --features "$folder/features"
step "4/7 Training, in $folder/run"
$mien train "$folder/corpus" --features "$folder/features" --out "$folder/run"
step "5/7 Evaluation on the validation clips"
$mien evaluate "$folder/run" "$folder/corpus" --features "$folder/features" --split valid
step "6/7 Scores of unseen clips (their planted labels are in $folder/corpus/test_answers.csv)"
$mien predict "$folder/run" "$folder/corpus/test_data/raw" --windows 4s --hop 1s --out "$folder/scores.json"
if [ -z "$clip" ]; then
    clip=$(find "$folder/corpus/test_data/raw" -name '*.mp4' | sort | head -n 1)
    echo
    echo "No CLIP was given (make demo CLIP=my.mp4), so a synthetic one is scored: $clip"
fi
step "7/7 One clip, two models. First words-en: words alone, learned from people's ratings of written English"
$mien predict words-en "$clip" || echo "words-en scores nothing where nobody speaks English"
step "    And $folder/run: words, voice, face and movement, learned from drawn people: it says nothing of real ones"
$mien predict "$folder/run" "$clip"
cat <<END

Done. The demo's model learned from drawn faces and a synthetic voice, so its scores of real people mean nothing; words-en
learned from people, but from written words alone. Next:
  $mien report '$folder/scores.json' --out '$folder/report.html'      # then open it in a browser
  $mien predict words-en MY-CLIPS --out scores.csv      # a folder of your own videos
  $mien extract RATED.csv --label-scale 100 --out features      # your own rated clips: docs/tutorials/own-data.md
END
