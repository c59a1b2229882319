#!/bin/sh
# The whole pipeline on the stand-in corpus: generate, extract, train, evaluate, score unseen clips.
# Every step continues or reuses existing results, so a second run is fast.
#   sh recipes/demo.sh FOLDER CLIPS        $MIEN: the command to run, if mien is not on the PATH
set -eu
folder=${1:-demo}
clips=${2:-160}
mien=${MIEN:-mien}

step() {
    printf '\n%s\n' "$1"
}

echo "$clips clips: about 5 minutes on two cores, and the download, less on more. After Ctrl-C, run it again: it continues."
step "1/6 Pretrained weights: 0.3 GB, downloaded once"
$mien weights fetch small
step "2/6 Synthetic videos with planted labels, in $folder/corpus"
$mien synth "$folder/corpus" --clips "$clips" --test-clips 4
step "3/6 Features of every clip, in $folder/features"
$mien extract "$folder/corpus" --weights small --set media.vision_fps=2 --out "$folder/features"
step "    How much of the planted signals the features hold"
$mien synth "$folder/corpus" --check --features "$folder/features"
step "4/6 Training, in $folder/run"
$mien train "$folder/corpus" --features "$folder/features" --out "$folder/run"
step "5/6 Evaluation on the validation clips"
$mien evaluate "$folder/run" "$folder/corpus" --features "$folder/features" --split valid
step "6/6 Scores of unseen clips (their planted labels are in $folder/corpus/test_answers.csv)"
$mien predict "$folder/run" "$folder/corpus/test_data/raw" --windows 4s --hop 1s --out "$folder/scores.json"
cat <<END

Done. The model learned from drawn faces and a synthetic voice, so its scores of real people mean nothing. Next:
  $mien report '$folder/scores.json' --out '$folder/report.html'      # then open it in a browser
  $mien predict '$folder/run' MY-CLIPS --out scores.csv      # a folder of your own videos
  $mien extract RATED.csv --label-scale 100 --out features      # your own rated clips: docs/tutorials/own-data.md
END
