#!/bin/sh
# The best class of each picture in a folder, in one line of shell: best.sh MODEL FOLDER
legonet infer --model "$1" --json "$2" | jq -r '[.source, .classes[0].label, .classes[0].score] | @tsv'
